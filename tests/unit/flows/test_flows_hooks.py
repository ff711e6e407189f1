"""What is told of runs that could not tell it themselves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from prefect.states import Crashed, Failed

from flows import hooks
from flows.ready import ModelNotApplied
from staging.incidents import Cause
from tasks import incidents
from tasks import landscape as reading
from tasks.world import World

DEMO = Path(__file__).resolve().parents[3] / "deployments" / "demo"
SYNC = cast(Any, SimpleNamespace(name="sync"))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Cause]:
    """The causes that a hook reports."""
    found: list[Cause] = []
    world = World(reading.load(DEMO), DEMO, cast(Any, object()))
    monkeypatch.setattr(hooks, "opened", lambda _: world)
    monkeypatch.setattr(incidents, "report", lambda _, causes: found.extend(causes))
    monkeypatch.setattr(incidents, "send_alerts", lambda _: 0)
    return found


def run(**parameters: Any) -> Any:
    return SimpleNamespace(id=uuid4(), name="contacts incremental", parameters=parameters)


def test_a_run_that_met_no_ready_database_says_why(told: list[Cause]) -> None:
    state: Any = Failed(data=ModelNotApplied("the model of demo is not applied: concord model apply"))
    hooks.tell_failure(SYNC, run(integration="contacts"), state)
    [cause] = told
    assert cause.key == "sync:contacts"
    assert "concord model apply" in cause.cause
    assert cause.owner.startswith("head-of-sales")


def test_a_crash_says_that_the_next_run_goes_on(told: list[Cause]) -> None:
    hooks.tell_crash(SYNC, run(integration="all"), cast(Any, Crashed(message="killed")))
    [cause] = told
    assert (cause.key, cause.kind) == ("sync:all", "SyncFailed")
    assert "ended without a word; the next run goes on" in cause.cause


def test_what_our_ledger_told_is_not_told_again(told: list[Cause]) -> None:
    failed = run(integration="contacts")
    hooks.mark_told(str(failed.id))
    hooks.tell_failure(SYNC, failed, cast(Any, Failed(message="trouble with crm")))
    assert told == []


def test_a_hook_never_hides_the_failure_that_it_tells_of(told: list[Cause], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> World:
        raise OSError("no folder")

    monkeypatch.setattr(hooks, "opened", broken)
    hooks.tell_crash(SYNC, run(integration="all"), cast(Any, Crashed(message="killed")))
    assert told == []
