"""Steps as Prefect tasks: what is tried again, what is kept, what an error may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from prefect.cache_policies import NO_CACHE
from prefect.states import Failed

from connectors.protocol import AuthFailed, ConnectorError, Misdeclared, RateLimited, SystemFault, Transient
from staging.errors import DatabaseUnavailable, SchemaNewer
from tasks import steps
from tasks.deliver import Delivered

DEMO = Path(__file__).resolve().parents[3] / "deployments" / "demo"
CANARY = "zebedee@canary.test"
ALL_STEPS = [steps.read, steps.validate, steps.match, steps.plan, steps.let_go, steps.send]


@pytest.mark.parametrize("step", ALL_STEPS, ids=lambda step: step.name)
def test_a_step_keeps_nothing_and_is_tried_again_with_growing_jittered_delays(step: Any) -> None:
    assert step.persist_result is False
    assert step.cache_policy == NO_CACHE
    assert step.retry_delay_seconds == [5, 10, 20]
    assert step.retry_jitter_factor == 0.5


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (Transient("no answer"), True),
        (RateLimited("slower"), True),
        (DatabaseUnavailable("away"), True),
        (AuthFailed("refused"), False),
        (Misdeclared("no such stream"), False),
        (SystemFault("HTML"), False),
        (SchemaNewer("newer"), False),
        (ValueError("ours"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_what_passes_is_tried_again(error: Exception, again: bool) -> None:
    state: Any = Failed(data=error)
    assert steps.is_passing(cast(Any, None), cast(Any, None), state) is again


@pytest.mark.parametrize(
    "error",
    [
        AuthFailed(f"credentials refused (401): {CANARY}", where="crm GET /v3"),
        SystemFault(f"expected JSON: {CANARY}", where="crm GET /v3"),
        ValueError(f"invalid literal: {CANARY}"),
        KeyError(CANARY),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_prefect_keeps_holds_no_value(error: Exception) -> None:
    def step() -> None:
        raise error

    with pytest.raises(Exception) as caught:
        steps._guarded(step)()
    assert CANARY not in str(caught.value)
    assert caught.value.__suppress_context__
    if isinstance(error, ConnectorError):
        assert type(caught.value) is type(error)
        assert "crm GET /v3" in str(caught.value)
    else:
        assert type(error).__name__ in str(caught.value)
        assert "test_flows_steps.py" in str(caught.value)


def test_a_world_is_made_once_until_its_declarations_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setenv("CONCORD_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    folder = tmp_path / "demo"
    shutil.copytree(DEMO, folder)
    first = steps.opened(folder)
    assert steps.opened(folder, first.landscape.digest) is first
    assert steps.opened(folder) is first
    with (folder / "landscape.yaml").open("a") as file:
        file.write("# one more line\n")
    assert steps.opened(folder, first.landscape.digest) is first
    assert steps.opened(folder) is not first


def test_deliveries_of_several_systems_are_one() -> None:
    a = Delivered({"crm/companies": {"update": 2}}, rejected=1, troubled={"crm": "x"})
    b = Delivered({"crm/companies": {"update": 1, "create": 4}, "legacy/clients": {"update": 3}}, retried=2)
    both = steps.merged(a, b)
    assert both.done == {"crm/companies": {"update": 3, "create": 4}, "legacy/clients": {"update": 3}}
    assert (both.writes, both.rejected, both.retried, both.troubled) == (10, 1, 2, {"crm": "x"})
    assert a.done == {"crm/companies": {"update": 2}}
