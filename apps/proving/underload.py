"""The database is stopped as if its machine had lost its power, again and again, while workers sync and people work.

Whoever watches starts a worker again that has ended, as a service manager does. What people did is done once more on
a copy that nobody disturbs: both must come to the same.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from apps.proving import evidence, verdict, work
from apps.proving.cells import Base, judged, run, start
from apps.proving.ground import Copy
from apps.proving.nursery import Child
from apps.proving.verdict import Cell
from apps.proving.work import Deed

WORKERS = 2
BETWEEN_SECONDS = (5.0, 40.0)
DEED_SECONDS = 1.0
RESTART_SECONDS = 0.5
DEEDS = 1_000
IDS_OF_OURS = frozenset({"ContactNumber", "concord_id"})
"""Ids of golden records in systems: made of the CRM's ids, which depend on who created something there first."""


@dataclass
class _Watch:
    """The workers of one copy, kept at work."""

    copy: Copy
    children: list[Child] = field(default_factory=list)
    ended: list[Child] = field(default_factory=list)

    def keep(self) -> None:
        """Starts what has ended again."""
        alive = [child for child in self.children if child.is_alive]
        self.ended += [child for child in self.children if not child.is_alive]
        self.children = alive + [start(self.copy, "forever") for _ in range(WORKERS - len(alive))]

    def synced_since(self, at: float) -> bool:
        """Whether a sync that began after this moment has come to a good end."""
        return any(line["began"] >= at for child in (*self.children, *self.ended[-8:]) for line in child.lines())

    def close(self) -> None:
        for child in self.children:
            child.kill()


def database(base: Base, restarts: int, seed: int = 11) -> Cell:
    """So many immediate stops of the database under load, 5 to 40 seconds apart."""
    cell = Cell(f"database stopped {restarts} times", "database")
    began = time.monotonic()
    draw = random.Random(seed)  # noqa: S311  no secret
    done: list[Deed] = []
    slowest = 0.0
    with base.ground.copy_of(base.taken) as copy:
        to_do = work.deeds(copy, seed, DEEDS)
        watch = _Watch(copy)
        try:
            for _ in range(restarts):
                _work(watch, draw.uniform(*BETWEEN_SECONDS), to_do, done)
                base.ground.restart_database()
                cell = replace(cell, hurt=cell.hurt + 1)
                took = _until_synced(watch)
                slowest = max(slowest, took)
                if took > verdict.DATABASE_RECOVERY_SECONDS:
                    cell = replace(cell, said=(*cell.said, f"no sync came to an end within {took:.0f} s"))
        finally:
            watch.close()
        settled = run(copy, "sync")
        undisturbed = replace(base, expected=_expected(base, done), ignored=IDS_OF_OURS)
        cell = judged(replace(cell, recovery_seconds=slowest), undisturbed, copy, settled)
    return replace(cell, seconds=time.monotonic() - began)


def _work(watch: _Watch, seconds: float, to_do: list[Deed], done: list[Deed]) -> None:
    """People work for so long, and workers are kept at work."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        watch.keep()
        if to_do:
            done.append(to_do.pop(0))
            done[-1].do(watch.copy)
        time.sleep(min(DEED_SECONDS, max(0.0, until - time.monotonic())))


def _until_synced(watch: _Watch) -> float:
    """Seconds until a sync that began after now has come to a good end; a little beyond the limit if none does."""
    at, began = time.time(), time.monotonic()
    while not watch.synced_since(at) and time.monotonic() - began <= verdict.DATABASE_RECOVERY_SECONDS:
        watch.keep()
        time.sleep(RESTART_SECONDS)
    return time.monotonic() - began


def _expected(base: Base, done: Sequence[Deed]) -> evidence.Standing:
    """Where the same work leads when nobody disturbs it."""
    with base.ground.copy_of(base.taken) as copy:
        for deed in done:
            deed.do(copy)
        run(copy, "sync")
        return evidence.end_state(copy)
