"""Look: find a create's twin in the target before it is sent, and what became of a write whose answer was lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import orjson
import polars as pl

from canonical.landscape import Target as TargetDeclaration
from connectors.protocol import (
    ConnectorError,
    Receipt,
    SourceRecord,
    Target,
)
from staging import crosswalk, delivery, holds, locks, queues
from staging.engine import Connection
from tasks.settle import Answer, Delivered, Row, moved, note, receipt_of, settle
from tasks.world import World


def _find_by(world: World, row: Row) -> tuple[tuple[str, str], ...]:
    integration = world.landscape.integrations.get(row["integration"])
    targets: Sequence[TargetDeclaration] = integration.to if integration else ()
    for target in targets:
        if (target.system, target.stream) == (row["system"], row["stream"]):
            return target.find_by
    return ()


def _twins(world: World, target: Target, row: Row) -> Sequence[SourceRecord] | None:
    """Live records of the target that are this create's twin; None where the landscape does not say how to look."""
    asked: Mapping[str, str | None] = orjson.loads(row["asked"])
    wanted = {path: asked.get(path) for path, _ in _find_by(world, row)}
    by = {path: value for path, value in wanted.items() if value}
    if not by or len(by) < len(wanted):
        return None
    return [r for r in target.find(row["stream"], by) if not r.deleted]


def look_first(world: World, target: Target, rows: list[Row], done: Delivered) -> list[Row]:
    """Creates whose twin stands in the target already are linked instead; gives what is left to be sent."""
    if rows[0]["op"] != "create" or not _find_by(world, rows[0]):
        return rows
    try:
        with ThreadPoolExecutor(max(1, target.limits.concurrency), thread_name_prefix="look") as pool:
            found = list(pool.map(lambda row: _twins(world, target, row), rows))
    except ConnectorError as error:
        answers = [Answer(row, receipt_of(error, row, row["system"], done)) for row in rows]
        # nothing was sent yet: also an ambiguous look is a plain retry
        plain = [Answer(a.row, _as_retry(a.receipt)) for a in answers]
        with world.transaction() as conn:
            note(conn, plain)
            delivery.settle(conn, moved(plain), worker=rows[0]["claimed_by"])
        done.troubled.setdefault(rows[0]["system"], str(error))
        return []
    left: list[Row] = []
    for row, twins in zip(rows, found, strict=True):
        if twins:
            _link_twin(world, row, twins, done)
        else:
            left.append(row)
    return left


def _as_retry(receipt: Receipt) -> Receipt:
    if receipt.outcome == "retry":
        return receipt
    return Receipt(receipt.ref, "retry", reason=receipt.reason, wait_seconds=30.0)


def _link_twin(world: World, row: Row, twins: Sequence[SourceRecord], done: Delivered) -> None:
    """One twin that is nobody else's: it is linked and planned again as an update. Else a person must say which."""
    with world.transaction() as conn:
        locks.gate(conn, f"resolve:{row['entity']}")
        if len(twins) == 1 and _is_ours(conn, row, twins[0]):
            links = pl.DataFrame(
                {
                    "system": [row["system"]],
                    "stream": [row["stream"]],
                    "source_id": [twins[0].id],
                    "canonical_id": [row["canonical_id"]],
                    "is_primary": [True],
                    "because": ["found in the target before it was created"],
                    "score": [1.0],
                }
            )
            crosswalk.link_new(conn, row["entity"], links, by="concord")
            delivery.again(conn, [int(row["id"])], "the record was found in the target: linked, not created")
            done.found += 1
            return
        listed = ", ".join(t.id for t in twins[:5])
        reason = f"{len(twins)} records in the target look like it: {listed}"
        owner = world.owner_of_system(row["system"])
        hold_id = holds.open_hold(
            conn,
            kind="duplicate",
            integration=row["integration"],
            entity=row["entity"],
            system=row["system"],
            stream=row["stream"],
            op=row["op"],
            reason=reason,
            writes=1,
            owner=owner,
        )
        delivery.park(conn, int(row["id"]), reason, hold_id)
        queues.open_findings(conn, _twin_finding(row, listed), owner)


def _is_ours(conn: Connection, row: Row, twin: SourceRecord) -> bool:
    """Whether a record found in the target is free, or linked to this very golden record."""
    holder = crosswalk.holder(conn, row["entity"], row["system"], row["stream"], twin.id)
    return holder in (None, row["canonical_id"])


def _twin_finding(row: Row, listed: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "kind": ["target_duplicate"],
            "entity": [row["entity"]],
            "canonical_id": [row["canonical_id"]],
            "system": [row["system"]],
            "stream": [row["stream"]],
            "source_id": [None],
            "field": [None],
            "ours": [None],
            "theirs": [listed],
            "action": ["ask"],
            "because": ["a create found records in the target that it may not be told apart from"],
        },
        schema_overrides=dict.fromkeys(("source_id", "field", "ours"), pl.String),
    )


def look_up(world: World, target: Target, rows: list[Row], worker: str, done: Delivered) -> None:
    """Settles unknown writes by looking: found is done, not found is sent again with the same key (P5)."""
    for row in rows:
        facts = target.facts(row["stream"])
        try:
            if row["op"] == "create":
                twins = _twins(world, target, row)
            else:
                found = target.get(row["stream"], [str(row["source_id"])]) if hasattr(target, "get") else []
                twins = None if found else []
        except ConnectorError as error:
            done.unknown += 1
            done.troubled.setdefault(row["system"], str(error))
            continue
        if twins and len(twins) == 1 and _may_settle(world, row, twins[0]):
            receipt = Receipt(str(row["id"]), "done", source_id=twins[0].id, record=twins[0].payload, reason="found")
            settle(world, target, [Answer(row, receipt)], worker, done)
        elif twins:
            _link_twin(world, row, twins, done)
        elif row["op"] != "create" or facts.write_class == "A" or (twins is not None and facts.write_class == "B"):
            # updates are absolute values; class A resends under its key; class B looked and found nothing
            wait = facts.index_lag_seconds if row["op"] == "create" else 1.0
            again = Receipt(str(row["id"]), "retry", reason="not found there: sent again", wait_seconds=wait)
            settle(world, target, [Answer(row, again)], worker, done)
        else:
            done.unknown += 1
            with world.transaction() as conn:
                queues.open_findings(conn, _ambiguous(row), world.owner_of_system(row["system"]))


def _may_settle(world: World, row: Row, twin: SourceRecord) -> bool:
    """Whether what was found may be what this create made: never a record of somebody else's."""
    with world.transaction() as conn:
        return _is_ours(conn, row, twin)


def _ambiguous(row: Row) -> pl.DataFrame:
    finding = _twin_finding(row, "")
    return finding.with_columns(
        pl.lit("ambiguous_create").alias("kind"),
        pl.lit("the answer to this create was lost and the target cannot be searched: look there").alias("because"),
    )
