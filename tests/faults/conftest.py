"""Processes that are killed, and what the systems hold in the end, in a form that two runs can be compared by."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.proving import evidence, work
from staging.crash import VARIABLE
from staging.engine import engine, transaction
from tests.fixtures.mainjob import Json, MainJob

if TYPE_CHECKING:
    from sandbox.runner import Running

_SYNC = """
import sys
from tasks import sync as syncs
from tasks.world import World

world = World.of(sys.argv[1])
sync_id = syncs.begin(world, "all", "incremental", started_by="a test")
done = syncs.sync(world, "all", syncs.PlainSteps(world, sync_id), sync_id=sync_id)
print(done.target_writes)
"""
_TOP = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class _Place:
    """A main job as work is planted in it."""

    job: MainJob

    @property
    def sandbox(self) -> Running:
        return self.job.sandbox

    def rows(self, query: str, *values: Any) -> list[Json]:
        with transaction(engine("app")) as conn:
            return [dict(row) for row in conn.exec_driver_sql(query, values).mappings()]

    def edit(self, system: str, stream: str, record_id: str, fields: Json) -> Json:
        return self.job.edit(system, stream, record_id, fields)

    def edit_legacy(self, table: str, key: str, fields: Json) -> None:
        self.job.edit_legacy(table, key, fields)

    def add_legacy(self, table: str, fields: Json) -> None:
        self.job.add_legacy(table, fields)


def plant_work(job: MainJob) -> None:
    """Something to do for every step, as `concord prove` plants it."""
    work.plant(_Place(job))


def sync_process(job: MainJob, crash_point: str | None = None) -> subprocess.CompletedProcess[str]:
    """A sync in a process of its own, which ends at `crash_point` as if its machine had lost its power."""
    environment = {**os.environ, **job.environment, "PYTHONPATH": str(_TOP)}
    if crash_point:
        environment[VARIABLE] = crash_point
    return subprocess.run(
        [sys.executable, "-c", _SYNC, str(job.folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def end_state(job: MainJob) -> dict[str, Counter[str]]:
    """Everything that systems and golden records hold, place by place, as a multiset of comparable texts."""
    twins = {"crm": "crm", "accounting": "accounting"}
    return evidence.held(twins, job.stored, job.legacy_rows, job.world.landscape.model)
