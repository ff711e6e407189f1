"""What registering would change, said before it is done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployments.difference import Change, Facts, difference

FACTS = Facts(
    schedules=["5 * * * * UTC"],
    parameters={"integration": "contacts"},
    description="Call people",
    tags=["concord", "demo"],
    entrypoint="flows.sync.sync",
    form={"properties": {"mode": {"enum": ["incremental", "full"]}}},
    pool="team",
    queue="default",
    job_variables={},
)


def test_what_is_new_is_made_and_says_when_it_runs() -> None:
    by_hand = replace(FACTS, schedules=[])
    assert difference({"sync/contacts": FACTS, "plan/plan": by_hand}, {}) == [
        Change("sync/contacts", "create", "5 * * * * UTC"),
        Change("plan/plan", "create", "by hand"),
    ]


def test_what_is_the_same_stays() -> None:
    assert difference({"sync/contacts": FACTS}, {"sync/contacts": FACTS}) == [Change("sync/contacts", "keep")]


def test_what_is_no_longer_declared_goes() -> None:
    [_, gone] = difference({"a": FACTS}, {"a": FACTS, "b": FACTS})
    assert gone == Change("b", "remove", "it is no longer declared")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        pytest.param({"schedules": ["0 1 * * * UTC"]}, "schedule: 0 1 * * * UTC → 5 * * * * UTC", id="schedule"),
        pytest.param({"schedules": []}, "schedule: none → 5 * * * * UTC", id="first schedule"),
        pytest.param({"pool": None, "queue": None}, "pool: none → team; queue: none → default", id="was served"),
        pytest.param({"form": {}}, "form", id="form"),
        pytest.param({"description": "", "parameters": {}}, "what the form shows first; description", id="words"),
        pytest.param({"job_variables": {"image": "old"}}, "how a run is started", id="image"),
    ],
)
def test_what_differs_is_said_in_words(found: dict[str, object], said: str) -> None:
    assert difference({"a": FACTS}, {"a": replace(FACTS, **found)}) == [Change("a", "update", said)]  # type: ignore[arg-type]
