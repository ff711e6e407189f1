"""What a batch of candidates is checked for, and what its results mean: descriptions and verdicts, nothing runs here.

A check is one sentence for a person and one SQL predicate over the candidate table. A row *fails* where its predicate
is false; true and unknown pass, as in an SQL CHECK: an empty value has no opinion, and `required` is its own check.

    checks_for(entity, rules)       what the model, the standard cross-field rules and the landscape imply
    judge(results, total, …)        pass, split (quarantine the failing rows) or stop the batch
    judge_volume(count, recent, …)  is this run's size like the recent ones?
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import TYPE_CHECKING, Literal

from canonical.check_model import implied_checks
from canonical.check_values import CANDIDATES, RECORD, Check, CheckKind, OnFail, identifier, literal
from canonical.landscape import Limit
from canonical.model import Entity

if TYPE_CHECKING:
    from canonical.declarations.rules import EntityRules, SqlRule

__all__ = [
    "CANDIDATES", "RECORD", "Check", "CheckKind", "CheckResult", "GateVerdict", "OnFail", "VolumeVerdict",
    "checks_for", "identifier", "judge", "judge_volume", "literal", "volume_check",
]  # fmt: skip


FLOOD = Limit(20, 0.20)
"""RELIABILITY P10's flood guard: more rows than both failing one check are a fault of the source or of the rule."""
ENOUGH_RUNS = 3
"""Fewer recent runs than this say nothing about what is usual."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How many rows failed a check."""

    check: Check
    unexpected: int


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What becomes of a batch."""

    action: Literal["pass", "split", "stop"]
    because: str
    failing: tuple[CheckResult, ...]
    """Every check that some row failed, warnings too, the worst first."""


@dataclass(frozen=True, slots=True)
class VolumeVerdict:
    """Whether the size of a run is like the recent ones. `least` is the fewest rows that still pass (0: no history)."""

    ok: bool
    because: str
    least: int


def checks_for(
    entity: Entity,
    rules: EntityRules | None = None,
    *,
    mapped: Iterable[str] | None = None,
    extra: Sequence[Check] = (),
) -> tuple[Check, ...]:
    """Every check of an entity's candidates, in the order in which a person reads them.

    `mapped` names the columns that the batch's streams fill (None: all). A check on columns that nobody fills is left
    out: it would fail every row (required) or check nothing (all others). `extra` are checks that need other tables;
    their predicates come from whoever knows those. Raises ValueError when two checks share a name.
    """
    filled = {*(entity.columns if mapped is None else mapped), *RECORD, "problems"}
    kept = implied_checks(entity, filled)
    landscape = [_landscape_check(rule, entity) for rule in (rules.rules if rules else ())]
    kept += [c for c in (*landscape, *extra) if not c.columns or filled.intersection(c.columns)]
    names = [c.name for c in kept]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"{entity.name}: two checks are named {', '.join(twice)}")
    return tuple(kept)


def judge(
    results: Sequence[CheckResult], total: int, tolerance: Limit | None = None, failing_rows: int = 0
) -> GateVerdict:
    """Pass the batch, split it, or stop it; the reason names what decided.

    `failing_rows` are the rows that at least one quarantining check failed. `tolerance` is what the landscape lets fail
    of a batch; without one, only a flood of rows failing one and the same check stops it.
    """
    failing = tuple(sorted((r for r in results if r.unexpected), key=lambda r: (-r.unexpected, r.check.name)))
    for result in failing:
        if result.check.on_fail == "stop":
            return GateVerdict("stop", f"{_of(result, total)}, and this check stops the batch", failing)
    split = [r for r in failing if r.check.on_fail == "quarantine"]
    limit = tolerance or FLOOD
    for result in split:
        if not limit.allows(result.unexpected, total):
            beyond = f"more than {limit.share:.0%} and more than {limit.count} rows: a fault of the source or the rule"
            return GateVerdict("stop", f"{_of(result, total)}, {beyond}", failing)
    if tolerance and not tolerance.allows(failing_rows, total):
        beyond = f"more than the {tolerance.share:.0%} or {tolerance.count} rows that are tolerated"
        return GateVerdict("stop", f"{failing_rows} of {total} rows fail some check, {beyond}", failing)
    if split:
        others = f" ({len(split) - 1} more checks fail too)" if len(split) > 1 else ""
        return GateVerdict("split", f"{_of(split[0], total)}{others}; quarantined, the rest goes on", failing)
    if failing:
        return GateVerdict("pass", f"only warnings: {_of(failing[0], total)}", failing)
    return GateVerdict("pass", f"all {total} rows pass {len(results)} checks", ())


def judge_volume(count: int, recent: Sequence[int], at_least: float = 0.5) -> VolumeVerdict:
    """Compare a complete sweep's count with recent ones: fewer than this share of their median is too few."""
    if len(recent) < ENOUGH_RUNS:
        return VolumeVerdict(True, f"{len(recent)} earlier runs are too few to compare with", 0)
    usual = median(recent)
    least = ceil(usual * at_least)
    said = f"{count} rows; the median of the last {len(recent)} runs is {usual:g}"
    if count < least:
        return VolumeVerdict(False, f"{said}, and at least {least} ({at_least:.0%}) were expected", least)
    return VolumeVerdict(True, said, least)


def volume_check(verdict: VolumeVerdict, on_fail: OnFail = "stop") -> Check:
    """The batch-level check that stands for a volume verdict in the suite."""
    means = f"The batch has at least {verdict.least} rows, as its recent runs had"
    return Check("volume", "volume", (), "", means, on_fail, minimum=str(verdict.least))


def _landscape_check(rule: SqlRule, entity: Entity) -> Check:
    """A landscape's rule. Its fields may be named as fields (`address`), paths (`address.city`) or columns."""
    columns: list[str] = []
    for name in rule.fields:
        head = name.split(".")[0]
        if name in entity.by_path:
            columns.append(entity.by_path[name].column)
        elif head in entity.by_name and name not in entity.by_column:
            columns += [leaf.column for leaf in entity.by_name[head].leaves]
        else:
            columns.append(name)
    return Check(
        _slug(rule.name), "landscape", tuple(columns), rule.predicate, rule.means or rule.predicate, rule.on_fail
    )


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower()[:60]


def _of(result: CheckResult, total: int) -> str:
    share = f" ({result.unexpected / total:.1%})" if total else ""
    return f"{result.unexpected} of {total} rows{share} fail {result.check.name}: {result.check.means}"
