"""Writes and their outcomes, item by item: what each connector's `write` needs, whatever its shapes are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from connectors.protocol import (
    Ambiguous,
    ConnectorError,
    NotSent,
    RateLimited,
    Receipt,
    Rejected,
    Transient,
    Write,
)


def rejected(write: Write, reason: str, *, field: str | None = None, status: int | None = None) -> Receipt:
    """The system refused this one record."""
    return Receipt(write.ref, "rejected", source_id=write.source_id, field=field, reason=reason[:500], status=status)


def unknown(write: Write, reason: str, *, status: int | None = None) -> Receipt:
    """Nobody can say whether it was done: look before doing it again."""
    return Receipt(write.ref, "unknown", source_id=write.source_id, reason=reason[:500], status=status)


def unasked(record_id: str | None) -> Receipt:
    """The answer speaks of a record that was not written: somebody should look (RELIABILITY P11)."""
    return Receipt("", "unknown", source_id=record_id, reason="the answer speaks of a record that was not written")


def retry(write: Write, error: ConnectorError) -> Receipt:
    """Surely not done, and worth another try."""
    wait = error.wait_seconds if isinstance(error, Transient) else None
    return Receipt(
        write.ref,
        "retry",
        source_id=write.source_id,
        reason=str(error)[:500],
        status=error.status,
        wait_seconds=wait,
        is_counted=not isinstance(error, RateLimited | NotSent),
    )


def one_by_one(writes: Sequence[Write], send: Callable[[Write], Receipt]) -> list[Receipt]:
    """Each write in a request of its own. An error before anything was done is raised; later ones become receipts."""
    receipts: list[Receipt] = []
    for position, write in enumerate(writes):
        try:
            receipts.append(send(write))
        except Rejected as refused:
            receipts.append(rejected(write, refused.reason, field=refused.field, status=refused.status))
        except Ambiguous as unclear:
            receipts.append(unknown(write, str(unclear), status=unclear.status))
        except ConnectorError as error:
            if position == 0:
                raise
            receipts.extend(retry(left, error) for left in writes[position:])
            break
    return receipts


def in_key_order(writes: Sequence[Write], send: Callable[[Sequence[Write]], Sequence[Receipt]]) -> Sequence[Receipt]:
    """Send a batch in the order of its keys and give the receipts in the order asked: the same writes, claimed in
    another order, are the same bytes under the same idempotency key."""
    given = send(sorted(writes, key=lambda write: write.key))
    receipts = {receipt.ref: receipt for receipt in given}
    return [*(receipts[write.ref] for write in writes), *(receipt for receipt in given if not receipt.ref)]


def batch_key(writes: Sequence[Write]) -> str:
    """One idempotency key for a batch: the same writes, in any order, always give the same key."""
    if len(writes) == 1:
        return writes[0].key
    return hashlib.sha256("\n".join(sorted(write.key for write in writes)).encode()).hexdigest()
