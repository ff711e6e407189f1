"""The flow `undo`: what one run wrote is set back, as far as it still stands there."""

from __future__ import annotations

from typing import Any, Literal

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from flows import hooks, people
from flows.ready import ready_world
from tasks import incidents, report
from tasks import undo as task
from tasks.sync import TurnedAway

What = Literal["show what would be set back", "set it back"]


def _run_name() -> str:
    return f"{flow_run.parameters.get('what')}: sync {flow_run.parameters.get('run')}"


@flow(
    name="undo",
    flow_run_name=_run_name,
    persist_result=False,
    on_failure=[hooks.tell_failure],
    on_crashed=[hooks.tell_crash],
)
def undo(run: int, by: str, because: str, what: What = "show what would be set back") -> State[Any]:
    """Set back what one sync wrote, where it still stands. The integrations concerned rest until somebody resumes them.

    Args:
        run: The number of the sync.
        by: Your role. Whoever asks for it does not approve what the brake holds of it.
        because: Why; it is kept with the pause and the writes.
        what: First look at what would be set back. Then set it back.
    """
    world = ready_world()
    try:
        who, reason = people.role(world, by), people.told(because, "because")
        plan = task.plan_undo(world, run)
        _show(plan)
        said = f"{len(plan.writes)} records set back, {len(plan.cancelled)} unsent dropped, {len(plan.kept)} left alone"
        if plan.is_empty or what != "set it back":
            return Completed(message=f"it would be {said}; one by one: concord undo {run}")
        summary = task.undo(world, plan, by=who, reason=reason)
    except KeyError:
        return people.refused(f"there is no sync {run}")
    except TurnedAway as no:
        return people.refused(str(no))
    incidents.conclude(world, plan.integrations[0], summary)
    report.show_sync(world, summary, f"undo-{run}")
    rests = f"paused until resumed: {', '.join(plan.integrations)}"
    said = f"{said}; {summary.target_writes} written, {summary.held} held; {rests}"
    return people.refused(said) if summary.trouble else Completed(message=said)


def _show(plan: task.UndoPlan) -> None:
    """Counts by target; the values are for `concord undo`."""
    counts: dict[tuple[str, str], int] = {}
    done = [(f"{w.system}/{w.stream}", w.op) for w in plan.writes]
    left = [(f"{k.system}/{k.stream}", f"left alone: {k.because}") for k in plan.kept]
    dropped = [(f"{r['system']}/{r['stream']}", "not sent yet: dropped") for r in plan.cancelled]
    for key in done + left + dropped:
        counts[key] = counts.get(key, 0) + 1
    rows = [{"target": target, "what": what, "records": n} for (target, what), n in sorted(counts.items())]
    create_table_artifact(
        rows or [{"target": "everywhere", "what": "nothing is left to be set back", "records": 0}],
        key=report.key_of("undo", str(plan.run)),
        description=f"What undoing sync {plan.run} does",
    )
