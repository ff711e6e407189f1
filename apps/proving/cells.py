"""Each way in which a run is hurt, and what became of it.

kill       SIGKILL at one crash point, at its n-th hit, then a restart
again      the same, and each restart is killed at that point, too, up to five times in a row
zombie     SIGSTOP while writes are in flight, another worker takes over, SIGCONT
workers    four workers at once

`underload` has the last one: the database stopped again and again.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, replace

from apps.proving import evidence
from apps.proving.authorised import let_in
from apps.proving.ground import Copy, Ground, Snapshot
from apps.proving.nursery import Child, Ended
from apps.proving.verdict import Cell
from staging import ledger
from staging.crash import VARIABLE
from staging.engine import engine, transaction
from staging.standing import end_leases

PATIENCE_SECONDS = 600
JOBS: dict[str, tuple[str, ...]] = {"apply": ("plans",)}
"""First part of a crash point's name → the job that comes to it; every other is come to by syncs."""
BEFORE = {"deliver.taken_over": "deliver.sent:1"}
"""Point → where a run must have been killed before, or the next one would not come to it."""
WORKERS = 4


@dataclass(frozen=True)
class Base:
    """What cells start from, and where a run ends that nobody disturbs."""

    ground: Ground
    taken: Snapshot
    expected: evidence.Standing
    ignored: frozenset[str] = frozenset()
    """Members of documents that two runs may differ in, beside those that a system chooses by itself."""


def start(copy: Copy, job: str, *more: str, crash_point: str = "") -> Child:
    """A worker at work on a copy, which a crash point may end."""
    environment = {**copy.environment, **({VARIABLE: crash_point} if crash_point else {})}
    return copy.nursery.start((str(copy.declarations), job, *more), environment, copy.folder)


def run(copy: Copy, job: str, *more: str, crash_point: str = "") -> Ended:
    """A worker from its start to its end."""
    return start(copy, job, *more, crash_point=crash_point).ended(PATIENCE_SECONDS)


def sums_off() -> list[str]:
    """Sums of the ledger that do not hold now."""
    with transaction(engine("app")) as conn:
        return [f"{c.name} {c.scope}: expected {c.expected}, found {c.found}" for c in ledger.verify(conn) if not c.ok]


def left_behind() -> dict[str, int]:
    """What a run left half done."""
    with transaction(engine("app")) as conn:
        return {what: count for what, count in ledger.left_behind(conn).items() if count}


def judged(cell: Cell, base: Base, copy: Copy, settled: Ended) -> Cell:
    """The cell with what the systems, the ledger and a further run say."""
    said = list(cell.said)
    if settled.code:
        said.append(f"the restarted run failed: {settled.said[-300:]}")
    facts = next((line for line in settled.lines if line.get("settled")), {})
    said += [f"trouble was left: {one}" for one in facts.get("trouble", [])]
    ends = [evidence.ignoring(each, base.ignored) for each in (base.expected, evidence.end_state(copy))]
    found = evidence.difference(*ends)
    off, left = sums_off(), left_behind()
    said += found.told() + off + [f"left behind: {count} {what}" for what, count in left.items()]
    further = settled.last if settled.code == 0 else {}
    return replace(
        cell,
        is_recovered=settled.code == 0 and not facts.get("left") and not left,
        lost=found.lost,
        doubled=found.doubled,
        written_again=int(further.get("writes", 0)) + int(further.get("versions", 0)),
        sums_off=cell.sums_off + len(off),
        said=tuple(said),
    )


def kill(base: Base, point: str, hit: int, *, times: int = 1) -> Cell:
    """A run that is killed at a point, and each of its restarts, too, so many times in all; then left alone."""
    name = f"{point}:{hit}" if times == 1 else f"{point} x{times}"
    cell = Cell(name, "kill" if times == 1 else "again")
    began = time.monotonic()
    is_token = point.startswith("token.")
    with base.ground.copy_of(base.taken, asks_oauth=is_token) as copy:
        job = JOBS.get(point.partition(".")[0], ("some",))
        if is_token:
            let_in(copy)
            job = ("tokens", copy.sandbox.accounting_url)
        if point in BEFORE:
            run(copy, *job, crash_point=BEFORE[point])
        for _ in range(times):
            done = run(copy, *job, crash_point=f"{point}:{hit}")
            if done.code != -signal.SIGKILL:
                break
            off = sums_off()
            cell = replace(cell, hurt=cell.hurt + 1, sums_off=cell.sums_off + len(off), said=(*cell.said, *off))
        else:
            done = Ended(0, [], "", time.time())
        if done.code:
            cell = replace(cell, said=(*cell.said, f"the run failed: {done.said[-300:]}"))
        if cell.hurt or cell.said:
            cell = _recovered(cell, base, copy)
    return replace(cell, seconds=time.monotonic() - began)


def _recovered(cell: Cell, base: Base, copy: Copy) -> Cell:
    settled = run(copy, "sync")
    return judged(replace(cell, recovery_seconds=settled.settled_after), base, copy, settled)


def zombie(base: Base, point: str, hit: int) -> Cell:
    """A worker that sleeps with writes in flight until its leases are over and another has taken them, then wakes."""
    cell = Cell(f"{point}:{hit} asleep", "zombie")
    began = time.monotonic()
    with base.ground.copy_of(base.taken) as copy:
        sleeper = start(copy, "some", crash_point=f"{point}:{hit}:stop")
        try:
            if _fell_asleep(sleeper):
                with transaction(engine("app")) as conn:
                    end_leases(conn)
                other = run(copy, "deliver")
                cell = replace(cell, hurt=1)
                if other.code:
                    cell = replace(cell, said=(f"the other worker failed: {other.said[-300:]}",))
                sleeper.signal(signal.SIGCONT)
            woken = sleeper.ended(PATIENCE_SECONDS)
            if woken.code:
                cell = replace(cell, said=(*cell.said, f"the woken worker failed: {woken.said[-300:]}"))
        finally:
            sleeper.kill()
        if cell.hurt:
            cell = _recovered(cell, base, copy)
    return replace(cell, seconds=time.monotonic() - began)


def _fell_asleep(child: Child) -> bool:
    """Waits until a process has stopped itself; False: it ended before."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while child.is_alive and time.monotonic() < deadline:
        if child.is_asleep:
            return True
        time.sleep(0.02)
    return False


def workers(base: Base, count: int = WORKERS) -> Cell:
    """So many workers that start at once, each taking integration after integration."""
    cell = Cell(f"{count} workers at once", "workers", hurt=1)
    began = time.monotonic()
    with base.ground.copy_of(base.taken) as copy:
        started = [start(copy, "each", str(number)) for number in range(count)]
        for done in [child.ended(PATIENCE_SECONDS) for child in started]:
            if done.code:
                cell = replace(cell, said=(*cell.said, f"a worker failed: {done.said[-300:]}"))
        cell = _recovered(cell, base, copy)
    return replace(cell, seconds=time.monotonic() - began)
