"""`concord rehearse`: a day of a scenario on twins of a landscape: people work, systems fail, Concord keeps up or not.

Every change carries a number that nobody else uses. When a target holds it, or a later one of the same record, it has
arrived: read from the twins' own stores, not asked of Concord. Time runs 1:1; a fault of half a minute is one.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from apps.proving import cells, work
from apps.proving.ground import Copy, Ground, call
from apps.proving.nursery import Child
from apps.proving.prove import SCALE, Tell
from apps.proving.scenario import Phase, Scenario
from apps.proving.twins import DEMO, Twins
from sandbox import workbook
from staging import overrides, reports
from staging.engine import engine, transaction
from staging.standing import unsettled

WORKERS = 4
LOOK_SECONDS = 1.0
DRAIN_SECONDS = 600.0
TELL_SECONDS = 20.0
MARK = re.compile(r"rehearsal-(\d+)")
MEGABYTE = 1_000_000


@dataclass
class Change:
    """Something a person changed, and when each target had it. `record`: what was changed; a later change of it makes
    an earlier one void."""

    number: int
    record: str
    at: float
    phase: str
    arrived: dict[str, float | None] = field(default_factory=dict)
    """Target → seconds until it had it; None: not yet."""


@dataclass
class Sample:
    """What a look at everything showed."""

    share: float
    waiting: int
    megabytes: float


@dataclass
class Day:
    """All that was seen."""

    scenario: Scenario
    minutes: float
    changes: list[Change] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    rounds: dict[str, list[float]] = field(default_factory=dict)
    """Integration → when its syncs came to a good end, in seconds of the day."""
    most_waiting: dict[str, int] = field(default_factory=dict)
    """System → the most writes that waited for it at once."""
    before: Mapping[str, int] = field(default_factory=dict)
    after: Mapping[str, int] = field(default_factory=dict)
    """Queue → its open entries, when the day began and when it was over."""
    drained_seconds: float | None = None
    """From the end of the day until nothing was on its way; None: it never came to that."""
    ended_workers: int = 0
    """Workers that ended by themselves and were started again."""
    seconds: float = 0.0


class NoWork(Exception):
    """No change can be made whose arrival could be seen: the landscape has none of the demo's records."""


def rehearse(home: Path, twins: Twins, scenario: Scenario, tell: Tell, *, minutes: float, scale: float = SCALE) -> Day:
    """A day of so many minutes on twins below `home`. Raises NoWork, RuntimeError where the first sync fails."""
    if twins.source != DEMO:
        raise NoWork("a rehearsal changes records of the demo's kind, and this landscape has its own")
    tell("starting a PostgreSQL of its own and twins of the systems")
    with Ground(home, twins, scale) as ground:
        with ground.begun() as copy:
            done = cells.run(copy, "sync")
            if done.code:
                raise RuntimeError(f"the first sync failed: {done.said[-300:]}")
        with ground.copy_of(ground.snapshot(copy)) as copy:
            tell(f"{scenario.means}: {minutes:g} minutes, {scenario.calm.load:g} changes a minute in the rush")
            _lift_brakes(copy)
            return _Rehearsal(copy, scenario, minutes, tell).run()


def _lift_brakes(copy: Copy) -> None:
    """As `concord holds override` before a day that is known to be busy: on so few records a rush of changes looks like
    a mass change, and a rehearsal has nobody who says yes. Questions that the landscape asks are still asked."""
    until = datetime.now(UTC) + timedelta(days=1)
    with transaction(engine("app")) as conn:
        for name, one in copy.landscape.integrations.items():
            overrides.begin(conn, name, by=one.owner, reason="a busy day is rehearsed", until=until)


class _Rehearsal:
    """One day on one copy."""

    def __init__(self, copy: Copy, scenario: Scenario, minutes: float, tell: Tell) -> None:
        self.copy, self.scenario, self.length, self.tell = copy, scenario, minutes * 60, tell
        self.day = Day(scenario, minutes)
        self.kinds = kinds_of(copy)
        self.draw = random.Random(7)  # noqa: S311  no secret
        self.owners: dict[int, str] = {}
        self.children: list[Child] = []
        self.read_lines: Counter[int] = Counter()
        self.began = time.time()

    def run(self) -> Day:
        """The day, and what comes after it until nothing is on its way."""
        self.day.before = _queues()
        self.began = time.time()
        try:
            self._day()
            over = time.time()
            told = 0.0
            while time.time() - over < DRAIN_SECONDS and not self._is_drained():
                self._keep_at_work()
                self._look(1.0)
                if time.time() - told > TELL_SECONDS:
                    self.tell(f"the day is over; {self._on_the_way()}")
                    told = time.time()
                time.sleep(LOOK_SECONDS)
            self.day.drained_seconds = time.time() - over if self._is_drained() else None
        finally:
            for child in self.children:
                child.kill()
        self._count_rounds()
        self.day.after, self.day.seconds = _queues(), time.time() - self.began
        return self.day

    def _day(self) -> None:
        phase: Phase | None = None
        due, last_look, last = 0.0, 0.0, time.time()
        while (elapsed := time.time() - self.began) < self.length:
            share = elapsed / self.length
            now = self.scenario.phase_at(share)
            if now is not phase:
                self._turn(phase, now)
                phase = now
            due += (time.time() - last) * self.scenario.load_at(share) / 60
            last = time.time()
            while due >= 1:
                due -= 1
                self._change(now)
            if time.time() - last_look >= LOOK_SECONDS:
                self._keep_at_work()
                self._look(share)
                last_look = time.time()
            time.sleep(0.05)
        self._turn(phase, None)

    def _turn(self, old: Phase | None, new: Phase | None) -> None:
        """One phase ends and another begins: what was hurt is healed, what is to be hurt is."""
        if old is not None and old.hurts:
            call(f"{self.copy.twins.url(old.hurts, self.copy.sandbox)}/_sandbox/faults", "DELETE")
        if new is not None:
            self.tell(new.name)
            if new.hurts:
                self.copy.fault(new.hurts, **{"count": -1, **new.fault})

    def _change(self, phase: Phase | None) -> None:
        number = len(self.day.changes) + 1
        kind = self.draw.choices(self.kinds, [one.share for one in self.kinds])[0]
        record = self.draw.choice(kind.records) if kind.records else f"new {number}"
        at = time.time()
        kind.make(self.copy, record, f"rehearsal-{number}")
        name = phase.name if phase is not None else self.scenario.calm.name
        self.owners[number] = record
        self.day.changes.append(Change(number, record, at, name, dict.fromkeys(kind.targets)))

    def _keep_at_work(self) -> None:
        alive = [child for child in self.children if child.is_alive]
        if self.children:
            self.day.ended_workers += len(self.children) - len(alive)
        for child in self.children:
            if not child.is_alive:
                self._count_rounds_of(child)
        self.children = alive
        while len(self.children) < WORKERS:
            self.children.append(cells.start(self.copy, "rounds", str(len(self.children))))

    def _look(self, share: float) -> None:
        """What has arrived, what waits, and how much memory the workers have."""
        pending: dict[str, list[Change]] = {}
        for change in self.day.changes:
            for target, seconds in change.arrived.items():
                if seconds is None:
                    pending.setdefault(target, []).append(change)
        for target, changes in pending.items():
            newest: dict[str, int] = {}
            for number in seen_in(self.copy, target):
                if (record := self.owners.get(number)) is not None:
                    newest[record] = max(number, newest.get(record, 0))
            for change in changes:
                if newest.get(change.record, 0) >= change.number:
                    change.arrived[target] = time.time() - change.at
        with transaction(engine("app")) as conn:
            waits = reports.outbox_waits(conn)
        by_system: Counter[str] = Counter()
        for row in waits:
            if row["state"] != "held":
                by_system[row["system"]] += row["count"]
        for system, count in by_system.items():
            self.day.most_waiting[system] = max(count, self.day.most_waiting.get(system, 0))
        self.day.samples.append(Sample(share, sum(by_system.values()), sum(map(_megabytes, self.children))))

    def _on_the_way(self) -> str:
        """What has not arrived yet, in words."""
        late = Counter(t for change in self.day.changes for t, seconds in change.arrived.items() if seconds is None)
        said = ", ".join(f"{count} to {target}" for target, count in sorted(late.items()))
        return f"changes on their way: {said}" if late else "every change has arrived, writes are being settled"

    def _is_drained(self) -> bool:
        if any(seconds is None for change in self.day.changes for seconds in change.arrived.values()):
            return False
        with transaction(engine("app")) as conn:
            return unsettled(conn) == 0

    def _count_rounds(self) -> None:
        for child in self.children:
            self._count_rounds_of(child)

    def _count_rounds_of(self, child: Child) -> None:
        for line in child.lines()[self.read_lines[child.pid] :]:
            self.read_lines[child.pid] += 1
            if "integration" in line and not line.get("trouble"):
                self.day.rounds.setdefault(line["integration"], []).append(line["at"] - self.began)


def _queues() -> dict[str, int]:
    """Queue → its open entries."""
    found: Counter[str] = Counter()
    with transaction(engine("app")) as conn:
        for row in reports.open_queues(conn):
            found[row["queue"]] += row["count"]
    return dict(found)


def _megabytes(child: Child) -> float:
    try:
        return float(psutil.Process(child.pid).memory_info().rss) / MEGABYTE
    except psutil.Error:
        return 0.0


# ------------------------------------------------------------------------------------------------ what people change


@dataclass(frozen=True)
class Kind:
    """A kind of change: how much of all there is of it, which records it changes (none: a new one each time), which
    targets hear of it, how a person makes it with a mark."""

    share: float
    records: tuple[str, ...]
    targets: tuple[str, ...]
    make: Callable[[Copy, str, str], object]


def kinds_of(copy: Copy) -> tuple[Kind, ...]:
    """Addresses that change in the CRM, disputes that are renamed there, people who are added to a workbook."""
    companies = tuple(ids["crm", "companies"] for ids in work.customers(copy, 10_000))
    disputes = tuple(
        row["source_id"]
        for row in copy.rows(
            "select c.source_id from ops.crosswalk c join ops.crosswalk p on p.canonical_id = c.canonical_id and"
            " p.entity = 'ticket' and p.system = 'projects' and p.ended_at is null where c.entity = 'ticket' and"
            " c.system = 'crm' and c.stream = 'tickets' and c.ended_at is null order by 1"
        )
    )
    people = Path(copy.sandbox.workbook_dir) / "contacts.xlsx"
    found = (
        Kind(
            0.7,
            companies,
            ("accounting", "legacy"),
            lambda copy, record, mark: copy.edit("crm", "companies", record, {"email": f"{mark}@concord.example"}),
        ),
        Kind(
            0.15,
            disputes,
            ("projects",),
            lambda copy, record, mark: copy.edit("crm", "tickets", record, {"subject": f"Dispute {mark}"}),
        ),
        Kind(
            0.15,
            (),
            ("crm",),
            lambda copy, record, mark: workbook.add_row(people, _person(mark)),
        ),
    )
    return tuple(kind for kind in found if kind.records or kind.targets == ("crm",))


_NAMES = ("Ada", "Bram", "Cleo", "Dora", "Emil", "Fay", "Gwen", "Hugo", "Ines", "Jude")


def _person(mark: str) -> tuple[str, ...]:
    """A row of the workbook of people for a mark: a name and a number of its own (Ofcom's for drama)."""
    digits = mark.rpartition("-")[2]
    name = f"{_NAMES[int(digits[-1])]} {''.join(_NAMES[int(d)] for d in digits).capitalize()}sen"
    return (mark, name, "", f"{mark}@concord.example", f"+44 161 496 {int(digits) % 1_000:04d}")


def seen_in(copy: Copy, target: str) -> Iterator[int]:
    """The marks that a target holds, from its own store."""
    places = {"accounting": "contacts", "projects": "tasks", "crm": "contacts"}
    docs: list[object] = list(
        copy.legacy_rows("clients") if target == "legacy" else copy.stored(target, places[target]).values()
    )
    for doc in docs:
        yield from (int(number) for number in MARK.findall(str(doc)))
