"""The flow `apply`: a kept plan becomes writes, exactly as it was shown, once."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import SecretStr

from canonical.plans import Moved
from flows import hooks, people
from flows.ready import ready_world
from tasks import decide, incidents, report
from tasks.apply import Approval, NotApplied
from tasks.apply import apply as do
from tasks.sync import TurnedAway


def _run_name() -> str:
    return f"apply plan {flow_run.parameters.get('plan')}"


@flow(
    name="apply",
    flow_run_name=_run_name,
    persist_result=False,
    on_failure=[hooks.tell_failure],
    on_crashed=[hooks.tell_crash],
)
def apply(
    plan: int,
    by: str,
    approve_holds: bool = False,
    reason: str = "",
    personal_code: SecretStr | None = None,
) -> State[Any]:
    """Write exactly what a kept plan shows. It is worked out again first; where anything differs nothing is done.

    Args:
        plan: The number of the plan, as the flow `plan` told it.
        by: Your role.
        approve_holds: Also let go what the brake or a question would hold. Needs a reason and your personal code, and
            somebody else must have made the plan.
        reason: Why the holds may go.
        personal_code: Your personal code, to approve holds. It is taken out of the run's parameters at once.
    """
    code = people.code_of(personal_code)
    world = ready_world()
    try:
        approval = None
        if approve_holds:
            approval = Approval(people.role(world, by), people.told(reason))
            decide.prove(world, by, code, is_code_needed=True)
        done = do(world, plan, by=people.role(world, by), approval=approval)
    except KeyError:
        return people.refused(f"there is no plan {plan}")
    except NotApplied as no:
        _show_moved(no.moved, plan)
        return people.refused(f"{no}; what moved: concord apply {plan}")
    except TurnedAway as no:
        return people.refused(str(no))
    if done.summary is None:
        return Completed(message=f"plan {plan} was applied at {done.applied_at:%Y-%m-%d %H:%M %Z} by {done.applied_by}")
    name = done.summary.integrations[0] if len(done.summary.integrations) == 1 else "all"
    incidents.conclude(world, name, done.summary)
    report.show_sync(world, done.summary, name)
    said = f"plan {plan} is applied: {report.in_short(done.summary)}"
    return people.refused(said) if done.summary.trouble else Completed(message=said)


def _show_moved(moved: Moved, plan: int) -> None:
    """Which targets moved, and how: counts; the values are for `concord apply`."""
    kinds = (("not in the plan", moved.added), ("not wanted any more", moved.removed))
    writes = [(how, w) for how, some in kinds for w in some] + [("not as it was shown", c.now) for c in moved.changed]
    counts: dict[tuple[str, str, str, str], int] = {}
    for how, write in writes:
        key = (write.integration, f"{write.system}/{write.stream}", write.op, how)
        counts[key] = counts.get(key, 0) + 1
    if counts:
        rows = [
            {"integration": i, "target": t, "operation": op, "what moved": how, "writes": n}
            for (i, t, op, how), n in sorted(counts.items())
        ]
        create_table_artifact(rows, key=report.key_of("moved", str(plan)), description=f"What moved since plan {plan}")
