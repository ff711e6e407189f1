"""The audit: who decided what and what was sent, one row a decision or batch, append-only and chained (DESIGN 9.22).

append     adds a row in the caller's transaction, by preference as its last statement: until the transaction ends,
           nobody else can add one
verify     works the chain out anew and names the first row that is not as it was
search     who, what, about what, when

Values of records never enter it: subjects are ids, details are ids, names of fields, counts, states and digests. What a
person said (`reason`) is kept beside it, so that it can be erased; its salted digest is chained. Number, time and chain
are made by the database itself (`staging.tables.guards`), which lets nobody change a row.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import orjson
from sqlalchemy import Connection, text

from staging.tables.guards import FIRST

ACTIONS: Final[Mapping[str, str]] = {
    "declaration.activated": "a version of the declarations is worked with from now on",
    "batch.sent": "a batch of writes was sent to a target, and what it answered",
    "hold.approved": "held writes may go",
    "hold.rejected": "held writes are dropped",
    "hold.overridden": "held writes go although something else would stop them",
    "brake.lifted": "the brake of an integration holds nothing until a time",
    "brake.restored": "the brake of an integration holds again",
    "quarantine.decided": "a quarantined record was discarded, edited or tried again",
    "letter.replayed": "a refused write is tried again",
    "letter.discarded": "a refused write is given up",
    "letter.edited": "the payload of a refused write was put right by hand",
    "review.answered": "two records are one, or are two",
    "finding.accepted": "a difference stays",
    "finding.corrected": "a difference is put right",
    "record.merged": "two golden records became one",
    "record.unmerged": "a merge of golden records was taken back",
    "target.live": "a target is written to from now on",
    "target.observed": "a target is only observed again",
    "paused": "writes to a system, or of an integration, rest",
    "resumed": "a pause was ended",
    "plan.applied": "a saved plan became writes",
    "run.undone": "what a sync wrote is set back",
    "incident.closed": "an incident was closed by a person",
    "token.authorised": "Concord was let into a system",
    "subject.forgotten": "everything about one subject was erased",
    "retention.done": "what was kept long enough was removed",
    "backup.made": "the database was copied",
    "backup.restored": "the database was set back to a copy",
}
"""Action → what it means. Whoever needs another adds a line."""
CHUNK = 5_000


def append(
    conn: Connection,
    actor: str,
    action: str,
    subject: str,
    detail: Mapping[str, Any] | None = None,
    *,
    reason: str | None = None,
) -> None:
    """Adds a row. `actor`: a declared role, an account (`ann@host`) or `concord`; `subject`: what it is about as
    KIND:ID (`hold:12`, `system:crm`); `detail`: JSON without a value of any record. Raises KeyError for an unknown
    action."""
    ACTIONS[action]
    salt = secrets.token_hex(16) if reason else ""
    conn.execute(
        text(
            "with kept as (insert into ops.audit (actor, action, subject, detail, reason_digest)"
            " values (:actor, :action, :subject, cast(:detail as json), :digest) returning id)"
            " insert into ops.audit_reason (audit_id, salt, reason)"
            " select id, :salt, cast(:reason as text) from kept where cast(:reason as text) is not null"
        ),
        {
            "actor": actor,
            "action": action,
            "subject": subject,
            "detail": orjson.dumps(dict(detail or {}), option=orjson.OPT_SORT_KEYS, default=str).decode(),
            "digest": _salted(salt, reason) if reason else "",
            "salt": salt,
            "reason": reason or None,
        },
    )


def _salted(salt: str, reason: str) -> str:
    return hashlib.sha256(f"{salt}:{reason}".encode()).hexdigest()


# ------------------------------------------------------------------------------------------------ batches of writes


@dataclass(frozen=True, slots=True)
class Batch:
    """What the audit keeps of a batch of writes: the attempts' numbers and one digest over all their shares. A share is
    keyed with a salt that stands with its attempt, so that one can be erased and the others still be proved."""

    name: str
    salts: tuple[str, ...]
    detail: Mapping[str, Any]


Item = tuple[int, int, str, int | None, str]
"""Of an attempt: outbox id, number, outcome, status, the payload as it was sent."""


def batch_of(items: Iterable[Item]) -> Batch:
    """The audit's view of a batch whose items are about to be stored as attempts, in this order."""
    listed = list(items)
    name, salts = f"b_{secrets.token_hex(8)}", tuple(secrets.token_hex(16) for _ in listed)
    leaves = [leaf(salt, item) for salt, item in zip(salts, listed, strict=True)]
    detail = {"batch": name, "writes": len(listed), "outbox": spans(i[0] for i in listed), "digest": over(leaves)}
    return Batch(name, salts, detail)


def leaf(salt: str, item: Item) -> str:
    """One attempt's share in the digest of its batch."""
    return hashlib.sha256("\n".join([salt, *(str(part) for part in item)]).encode()).hexdigest()


def over(leaves: Iterable[str]) -> str:
    """The digest of a batch, whatever the order of its attempts."""
    return hashlib.sha256("".join(sorted(leaves)).encode()).hexdigest()


def spans(numbers: Iterable[int]) -> str:
    """Numbers as people write them: `3-7,9`."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


# -------------------------------------------------------------------------------------------------------- verifying


@dataclass(frozen=True, slots=True)
class Anchor:
    """The end of the chain at some moment, kept outside the database: what was there then must be there ever after."""

    id: int
    digest: str
    at: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The first row that is not as it was added."""

    id: int
    kind: Literal["changed", "removed", "inserted", "truncated", "reason"]
    because: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verifying found. `broken` None: every row follows from the one before."""

    rows: int
    head: Anchor | None
    broken: Broken | None
    anchors: int = 0
    """Anchors that agree."""


_AT = """to_char(a.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_ROWS = text(
    f"select a.id, {_AT} as at, a.actor, a.action, a.subject, a.detail::text as detail, a.reason_digest, a.previous,"
    " a.digest, r.salt, r.reason from ops.audit a left join ops.audit_reason r on r.audit_id = a.id"
    " where a.id > :after order by a.id limit :chunk"
)


def head(conn: Connection) -> Anchor | None:
    """The end of the chain; None: nothing was ever added."""
    row = conn.execute(text(f"select id, digest, {_AT} as at from ops.audit a order by id desc limit 1")).one_or_none()
    return Anchor(int(row.id), str(row.digest), str(row.at)) if row else None


def verify(conn: Connection, anchors: Sequence[Anchor] = ()) -> Verdict:
    """Every row anew: its number, its digest, what it follows, what was said; and each anchor's row."""
    previous, count = Anchor(0, FIRST, ""), 0
    wanted = {anchor.id: anchor for anchor in anchors}
    for row in _rows(conn):
        if broken := _compared(row, previous, wanted.pop(int(row.id), None)):
            return Verdict(count, head(conn), broken)
        previous, count = Anchor(int(row.id), str(row.digest), str(row.at)), count + 1
    end = previous if count else None
    if wanted:
        lost = wanted[min(wanted)]
        because = f"the chain ends at row {previous.id}; row {lost.id} of {lost.at} was there when it was anchored"
        return Verdict(count, end, Broken(previous.id + 1, "truncated", because))
    said = conn.execute(text("select max(audit_id) from ops.audit_reason")).scalar_one()
    if said is not None and said > previous.id:
        because = f"the chain ends at row {previous.id}; what was said with row {said} is there still"
        return Verdict(count, end, Broken(previous.id + 1, "truncated", because))
    return Verdict(count, end, None, len(anchors))


def _rows(conn: Connection) -> Iterator[Any]:
    after = -(2**63)
    while rows := conn.execute(_ROWS, {"after": after, "chunk": CHUNK}).all():
        yield from rows
        after = int(rows[-1].id)


def _compared(row: Any, previous: Anchor, anchor: Anchor | None) -> Broken | None:
    """What is wrong with a row, given the one before it."""
    number = int(row.id)
    if number <= 0:
        return Broken(number, "inserted", f"row {number} stands before the first")
    if number != previous.id + 1:
        gone = f"row {previous.id + 1}" if number == previous.id + 2 else f"rows {previous.id + 1} to {number - 1}"
        return Broken(previous.id + 1, "removed", f"{gone} missing before row {number} of {row.at}")
    if row.digest != digest_of(row):
        return Broken(number, "changed", f"row {number} ({row.action} of {row.subject}, {row.at}) was changed")
    if row.previous != previous.digest:
        because = f"row {number} does not follow row {previous.id} as it stands now: one of them was put there later"
        return Broken(number, "inserted", because)
    if anchor is not None and anchor.digest != row.digest:
        return Broken(number, "changed", f"row {number} is another than the one that was anchored")
    if row.reason is not None and _salted(str(row.salt), str(row.reason)) != row.reason_digest:
        return Broken(number, "reason", f"what was said with row {number} ({row.action} of {row.subject}) was changed")
    return None


def digest_of(row: Any) -> str:
    """The digest that a row should have: SHA-256 over its parts as netstrings (`staging.tables.guards`)."""
    parts = (
        str(row.id), row.at, row.actor, row.action, row.subject, row.detail, row.reason_digest, row.previous,
    )  # fmt: skip
    told = b"".join(b"%d:%s," % (len(data), data) for data in (str(part).encode() for part in parts))
    return hashlib.sha256(told).hexdigest()


# -------------------------------------------------------------------------------------------------------- searching


def search(
    conn: Connection,
    *,
    actor: str | None = None,
    action: str | None = None,
    subject: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 50,
) -> tuple[list[dict[str, Any]], int]:
    """Rows, the latest first, and how many there are. `action` also finds its kind (`hold` finds `hold.approved`);
    `subject` with a `*` finds what begins so."""
    asked = {
        "actor": ("a.actor = :actor", actor),
        "action": ("(a.action = :action or starts_with(a.action, :action || '.'))", action),
        "subject": ("a.subject like :subject", _pattern(subject) if subject else None),
        "since": ("a.at >= :since", since),
        "until": ("a.at < :until", until),
    }
    values = {name: value for name, (_, value) in asked.items() if value is not None}
    where = " and ".join(asked[name][0] for name in values) or "true"
    total = conn.execute(text(f"select count(*) from ops.audit a where {where}"), values).scalar_one()
    found = conn.execute(
        text(
            "select a.id, a.at, a.actor, a.action, a.subject, a.detail, r.reason, a.digest from ops.audit a"
            f" left join ops.audit_reason r on r.audit_id = a.id where {where} order by a.id desc limit :limit"
        ),
        {**values, "limit": limit},
    ).mappings()
    return [dict(r) for r in found], int(total)


def _pattern(subject: str) -> str:
    """A subject as LIKE takes it: what stands there literally, and `*` for anything."""
    plain = subject.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return plain.replace("*", "%")
