"""The brake: a mass change stops before its first write and waits for a person (RELIABILITY P12, DESIGN 9.4, 9.15).

Counted on the frozen set of one (system, stream, entity, operation), together with what was released to it in the last
24 hours, against the records linked there before. The verdict is all or nothing for that set; other sets flow on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from canonical.landscape import Brake, Limit

Op = Literal["create", "update", "archive", "delete"]
_SAID: Mapping[str, tuple[str, str]] = {
    "create": ("create", "creates"),
    "update": ("update", "updates"),
    "archive": ("archive", "archives"),
    "delete": ("delete", "deletes"),
}


@dataclass(frozen=True, slots=True)
class Moved:
    """Money of one currency: how far writes move it, and what the linked records hold before. Both >= 0."""

    moved: Decimal = Decimal(0)
    held: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Count:
    """One frozen set of planned writes, counted.

    planned    writes of this operation now planned
    released   writes of this operation released to the same target in the last 24 hours
    linked     records with a confirmed shadow in the target before this set (0 at the first going live)
    blanked    fields that the planned writes turn empty; blanked_released: the last 24 hours' share
    money      currency → Moved, released and planned together
    """

    system: str
    stream: str
    entity: str
    op: Op
    planned: int
    released: int = 0
    linked: int = 0
    blanked: int = 0
    blanked_released: int = 0
    money: Mapping[str, Moved] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BrakeVerdict:
    """Release the whole set, or hold it. `because` is a sentence that a person acts on; `rule` names the limit."""

    action: Literal["release", "hold"]
    because: str
    rule: Literal["", "deletes", "changes", "blanked", "money", "count_drop"] = ""


def judge(count: Count, brake: Brake) -> BrakeVerdict:
    """Does this set stay within the brake? Every limit that is passed is named in the reason; the first gives `rule`.

    Creates into a target with nothing linked yet are not braked (the going live itself was approved); afterwards they
    count as changes. Archives and deletes count as deletes.
    """
    if not count.planned:
        return BrakeVerdict("release", "nothing planned")
    broken = [
        verdict for verdict in (_by_count(count, brake), _by_blanks(count, brake), *_by_money(count, brake)) if verdict
    ]
    if broken:
        return BrakeVerdict("hold", "; ".join(v.because for v in broken), broken[0].rule)
    return BrakeVerdict(
        "release", f"{_amount(count.planned, count.op)} in {count.system}/{count.stream}, within the brake"
    )


def judge_drop(entity: str, system: str, stream: str, before: int, now: int, brake: Brake) -> BrakeVerdict:
    """Has a stream lost more of its records between two complete sweeps than the brake believes?"""
    gone = before - now
    if before and gone > brake.count_drop * before:
        return BrakeVerdict(
            "hold",
            f"{system}/{stream} shows {now:,} {entity} records where it had {before:,} "
            f"({gone / before:.1%} fewer), brake allows {brake.count_drop:.0%}",
            "count_drop",
        )
    return BrakeVerdict("release", f"{system}/{stream} shows {now:,} {entity} records, before {before:,}")


def _by_count(count: Count, brake: Brake) -> BrakeVerdict | None:
    if count.op == "create" and not count.linked:
        return None
    rule: Literal["deletes", "changes"] = "deletes" if count.op in ("archive", "delete") else "changes"
    limit = brake.deletes if rule == "deletes" else brake.changes
    total = count.planned + count.released
    if limit.allows(total, count.linked):
        return None
    since = f" with the last 24 hours' {count.released:,}" if count.released else ""
    because = (
        f"{_amount(total, count.op)} in {count.system}/{count.stream}{since}, "
        f"brake allows {_allowed(limit, count.linked)}"
    )
    return BrakeVerdict("hold", because, rule)


def _by_blanks(count: Count, brake: Brake) -> BrakeVerdict | None:
    total = count.blanked + count.blanked_released
    if not count.blanked or brake.blanked.allows(total, count.linked):
        return None
    because = (
        f"{total:,} field values turn empty in {count.system}/{count.stream}, "
        f"brake allows {_allowed(brake.blanked, count.linked)}"
    )
    return BrakeVerdict("hold", because, "blanked")


def _by_money(count: Count, brake: Brake) -> list[BrakeVerdict]:
    if count.op == "create":
        return []
    verdicts = []
    for currency, money in sorted(count.money.items()):
        if money.moved > Decimal(str(brake.money)) * money.held:
            because = (
                f"{money.moved:,.2f} {currency} moved in {count.system}/{count.stream}, "
                f"brake allows {brake.money:.0%} of {money.held:,.2f}"
            )
            verdicts.append(BrakeVerdict("hold", because, "money"))
    return verdicts


def _amount(n: int, op: Op) -> str:
    one, many = _SAID[op]
    return f"{n:,} {one if n == 1 else many}"


def _allowed(limit: Limit, of: int) -> str:
    most = int(max(limit.count, limit.share * of))
    return f"{most:,} (max({limit.count:,}, {limit.share * 100:g} % of {of:,}))"
