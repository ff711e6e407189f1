"""What a rehearsed day comes to: freshness by phase and system, what waited, which SLA held. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from canonical.declarations.advice import longest_gap_seconds

if TYPE_CHECKING:
    from apps.proving.rehearsal import Day
    from canonical.landscape import Integration

ON_TIME = 1.2
"""RELIABILITY I7: while one system is hurt, the others' freshness is at most this many times what it is otherwise."""
FLAT = 1.25
"""Workers that hold more than this many times the memory of the first half of the busy time are not flat."""
LEAST = 3
"""With fewer changes in a phase its figures say nothing about it."""


@dataclass(frozen=True)
class Freshness:
    """How long changes of one phase took to one system, in seconds."""

    phase: str
    system: str
    is_hurt: bool
    changes: int
    median_seconds: float
    p95_seconds: float
    slowest_seconds: float
    missing: int
    times_normal: float | None
    """How its p95 stands to that of the rush in which nobody was hurt; None: too few changes to say."""

    @property
    def is_late(self) -> bool:
        """A system that was not hurt, and yet was slower than it may be."""
        return not self.is_hurt and self.times_normal is not None and self.times_normal > ON_TIME


@dataclass(frozen=True)
class Promise:
    """Whether an integration's SLA would hold on such a day.

    gap_seconds: the longest wait for its declared schedule. round_seconds: the longest time from one good end to the
    next while it ran again and again. promised_seconds: its declared timeliness; None: none is declared."""

    integration: str
    rounds: int
    gap_seconds: float
    round_seconds: float | None
    promised_seconds: float | None

    @property
    def expected_seconds(self) -> float | None:
        """How old a value can be at worst; None: it never came to a good end."""
        return None if self.round_seconds is None else self.gap_seconds + self.round_seconds

    @property
    def holds(self) -> bool | None:
        """Whether the promise holds; None: nothing is promised."""
        if self.promised_seconds is None:
            return None
        return self.expected_seconds is not None and self.expected_seconds <= self.promised_seconds


@dataclass(frozen=True)
class Figures:
    """The day in figures."""

    scenario: str
    means: str
    minutes: float
    changes: int
    changes_per_minute: float
    freshness: tuple[Freshness, ...]
    promises: tuple[Promise, ...]
    most_waiting: Mapping[str, int]
    needed_a_person: Mapping[str, int]
    """Queue → entries that came on this day."""
    megabytes_first: float
    megabytes_last: float
    drained_seconds: float | None
    ended_workers: int

    @property
    def missing(self) -> int:
        """Changes that never arrived, place by place."""
        return sum(one.missing for one in self.freshness)

    @property
    def is_flat(self) -> bool:
        """Whether memory stayed as it was."""
        return self.megabytes_last <= self.megabytes_first * FLAT

    @property
    def late(self) -> list[Freshness]:
        """Systems that were late though another was hurt."""
        return [one for one in self.freshness if one.is_late]

    @property
    def broken(self) -> list[Promise]:
        """SLAs that did not hold."""
        return [one for one in self.promises if one.holds is False]

    @property
    def holds(self) -> bool:
        """Whether everything arrived, drained and was on time."""
        return not (self.missing or self.late or self.broken or self.drained_seconds is None or not self.is_flat)

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            **{key: value for key, value in asdict(self).items() if key not in ("freshness", "promises")},
            "holds": self.holds,
            "missing": self.missing,
            "is_flat": self.is_flat,
            "freshness": [{**asdict(one), "is_late": one.is_late} for one in self.freshness],
            "promises": [
                {**asdict(one), "expected_seconds": one.expected_seconds, "holds": one.holds} for one in self.promises
            ],
        }


def figures(day: Day, integrations: Mapping[str, Integration]) -> Figures:
    """The figures of a day."""
    busy = [s for s in day.samples if 0.2 <= s.share < 1.0 and s.megabytes]
    half = len(busy) // 2
    new = {q: n - day.before.get(q, 0) for q, n in day.after.items() if n > day.before.get(q, 0)}
    return Figures(
        scenario=day.scenario.name,
        means=day.scenario.means,
        minutes=day.minutes,
        changes=len(day.changes),
        changes_per_minute=day.scenario.calm.load,
        freshness=tuple(_freshness(day)),
        promises=tuple(_promise(day, one) for one in integrations.values()),
        most_waiting=dict(sorted(day.most_waiting.items())),
        needed_a_person=new,
        megabytes_first=round(median(s.megabytes for s in busy[:half]), 1) if half else 0.0,
        megabytes_last=round(median(s.megabytes for s in busy[half:]), 1) if half else 0.0,
        drained_seconds=day.drained_seconds,
        ended_workers=day.ended_workers,
    )


def _freshness(day: Day) -> Iterable[Freshness]:
    took: dict[tuple[str, str], list[float | None]] = {}
    for change in day.changes:
        for target, seconds in change.arrived.items():
            took.setdefault((change.phase, target), []).append(seconds)
    calm = day.scenario.calm.name
    normal = {
        target: p95([s for s in some if s is not None]) for (phase, target), some in took.items() if phase == calm
    }
    for phase in day.scenario.phases:
        for (name, target), some in sorted(took.items()):
            if name != phase.name:
                continue
            there = [s for s in some if s is not None]
            slow = p95(there)
            base = normal.get(target)
            is_said = phase.hurts is not None and len(there) >= LEAST and base
            yield Freshness(
                name,
                target,
                target == phase.hurts or _feeds(target, phase.hurts),
                len(some),
                round(median(there), 1) if there else 0.0,
                round(slow, 1),
                round(max(there, default=0.0), 1),
                len(some) - len(there),
                round(slow / base, 2) if is_said and base else None,
            )


def _feeds(target: str, hurt: str | None) -> bool:
    """Whether a system that is hurt is where a target's changes come from: those cannot be on time."""
    return hurt == "crm" and target in ("accounting", "legacy", "projects")


def _promise(day: Day, integration: Integration) -> Promise:
    ends = sorted(day.rounds.get(integration.name, []))
    whole = [0.0, *ends]
    longest = max((b - a for a, b in pairwise(whole)), default=None) if ends else None
    schedule = integration.timing.schedule
    return Promise(
        integration.name,
        len(ends),
        longest_gap_seconds(schedule) if schedule and not integration.timing.event else 0.0,
        longest,
        float(integration.sla.timeliness) if integration.sla.timeliness else None,
    )


def p95(values: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed; 0 for none."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return quantiles(values, n=20, method="inclusive")[-1]
