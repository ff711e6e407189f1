"""Concord's side, one load in a process of its own: land, map, validate, match, golden records, outbox.

    python -m benchmarks.load.concord_side LANDSCAPE [--warm]

The steps are those of `concord sync`, run without Prefect. Prints one line of JSON: seconds of the work, of what was
imported before it, of each step, the peak memory of this process, and what was done.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.load.memory import peak_mib

if TYPE_CHECKING:
    from tasks.world import World

READERS, STAGERS = 4, 2
"""Systems that are read, and mapped, at the same time, as in flows/sync."""
T = TypeVar("T")


@dataclass
class Clock:
    """Seconds by step, and how many of them this process worked."""

    seconds: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)

    def timed(self, step: str, work: Callable[[], T]) -> T:
        """Does the work and adds its time to the step's."""
        before, worked = time.perf_counter(), time.process_time()
        try:
            return work()
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - before
            self.cpu[step] = self.cpu.get(step, 0.0) + time.process_time() - worked


def prepared(folder: Path, *, is_warm: bool) -> World:
    """The landscape's World; warm, as a worker that has served it before has it: gate imported, connectors open."""
    from tasks.world import World

    world = World.of(folder)
    if is_warm:
        from expectations.run import preload

        preload()
        for system in world.landscape.active_systems:
            world.connector(system)
    return world


def load(world: World, clock: Clock) -> dict[str, object]:
    """One sync of the landscape; gives its summary."""
    from tasks import sync as syncing
    from tasks.sync import Mode, PlainSteps, Stream

    class Timed(PlainSteps):
        """The plain steps, each with its time taken."""

        def extract(self, streams: Sequence[Stream], mode: Mode, sample: int | None):  # type: ignore[no-untyped-def]
            """Several systems at once, as the flow reads them."""

            def read() -> list[Any]:
                plain = super(Timed, self).extract
                with ThreadPoolExecutor(READERS) as pool:
                    parts = pool.map(lambda stream: plain([stream], mode, sample), streams)
                    return [result for part in parts for result in part]

            return clock.timed("extract", read)

        def stage(self, streams: Sequence[Stream]):  # type: ignore[no-untyped-def]
            """Two systems at once, as the flow stages them."""

            def staged() -> list[Any]:
                plain = super(Timed, self).stage
                with ThreadPoolExecutor(STAGERS) as pool:
                    return [result for part in pool.map(lambda stream: plain([stream]), streams) for result in part]

            return clock.timed("map_validate_merge", staged)

        def resolve(self, entities: Sequence[str], integrations: tuple[str, ...]):  # type: ignore[no-untyped-def]
            return clock.timed("match_golden_plan", lambda: super(Timed, self).resolve(entities, integrations))

        def plan(self, integrations: tuple[str, ...]) -> None:
            clock.timed("plan_leftovers", lambda: super(Timed, self).plan(integrations))

        def release(self, integrations: tuple[str, ...]):  # type: ignore[no-untyped-def]
            return clock.timed("release", lambda: super(Timed, self).release(integrations))

    sync_id = syncing.begin(world, "all", "incremental", started_by="benchmark")
    steps = Timed(world, sync_id)
    return syncing.sync(world, "all", steps, sync_id=sync_id).as_dict()


def main() -> int:
    """Reads the command line, loads once, prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("landscape", type=Path)
    parser.add_argument("--warm", action="store_true", help="begin as a worker that has synced before")
    parser.add_argument("--profile", type=Path, help="write a cProfile of the work to this file")
    asked = parser.parse_args()
    began = time.perf_counter()
    import tasks.sync  # noqa: F401

    world = prepared(asked.landscape, is_warm=asked.warm)
    imported = time.perf_counter() - began
    clock = Clock()
    began, worked = time.perf_counter(), time.process_time()
    if asked.profile:
        import cProfile

        with cProfile.Profile(time.process_time) as profile:
            summary = load(world, clock)
        profile.dump_stats(asked.profile)
    else:
        summary = load(world, clock)
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    clock.seconds["other"] = seconds - sum(clock.seconds.values())
    figures = {
        "seconds": seconds, "cpu_seconds": cpu, "import_seconds": imported, "peak_mib": peak_mib(),
        "stages": clock.seconds, "stages_cpu": clock.cpu, "summary": summary,
    }  # fmt: skip
    print(json.dumps(figures, default=str))
    return 1 if summary["trouble"] else 0


if __name__ == "__main__":
    sys.exit(main())
