"""The flow `retention`: every night, what is over and old goes."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows import hooks
from flows.ready import ready_world
from tasks.retention import retain


@flow(
    name="retention",
    flow_run_name="retention",
    persist_result=False,
    on_failure=[hooks.tell_failure],
    on_crashed=[hooks.tell_crash],
)
def retention() -> State[Any]:
    """Empty or remove what is over and older than the landscape says. What is live, open or counted stays."""
    found = retain(ready_world(), by="concord", is_done=True)
    done = [
        {"what": one.kind, "table": one.table, "kept for days": one.days, "done": one.does, "rows": one.rows}
        for one in found
        if one.rows
    ]
    if done:
        create_table_artifact(done, key="retention", description="What went tonight")
    rows = sum(one.rows for one in found)
    return Completed(message=f"{rows} rows" if rows else "nothing is old enough")
