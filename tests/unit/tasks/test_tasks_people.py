"""Who may decide, how they prove it, and what may be paused by which name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from canonical.landscape import Person, SecretRef
from tasks.decide import NotProved, may_approve, needs_code, prove
from tasks.switch import pause_key
from tasks.sync import TurnedAway


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TOM_CODE", "correct horse")
    people = {
        "finance": Person("finance", "Tom", code=SecretRef("env", "TOM_CODE")),
        "desk": Person("desk", "Ellen"),
    }
    return SimpleNamespace(landscape=SimpleNamespace(people=people))


def test_who_has_a_code_must_give_it(world: Any) -> None:
    assert needs_code(world, "finance")
    prove(world, "finance", "correct horse")
    for wrong in (None, "", "correct horse ", "wrong"):
        with pytest.raises(NotProved, match="not the personal code of finance"):
            prove(world, "finance", wrong)


def test_who_has_no_code_proves_nothing_and_may_not_do_what_needs_one(world: Any) -> None:
    assert not needs_code(world, "desk")
    prove(world, "desk", None)
    with pytest.raises(NotProved, match=r"people\.desk\.code"):
        prove(world, "desk", "anything", is_code_needed=True)


def test_whoever_asked_for_writes_does_not_let_them_go() -> None:
    may_approve("desk", None)
    may_approve("desk", "finance")
    with pytest.raises(TurnedAway, match="somebody else"):
        may_approve("desk", "desk")


LANDSCAPE: Any = SimpleNamespace(
    integrations={"details": 1, "books": 1}, systems={"books": 1, "crm": 1, "letters": 1},
    active_systems={"books": 1, "crm": 1},
)  # fmt: skip


@pytest.mark.parametrize(
    ("what", "key"),
    [
        ("details", "integration:details"), ("crm", "system:crm"), ("system:books", "system:books"),
        ("integration:books", "integration:books"), ("integration:details", "integration:details"),
    ],
)  # fmt: skip
def test_what_is_paused_is_named_plainly(what: str, key: str) -> None:
    assert pause_key(LANDSCAPE, what) == key


@pytest.mark.parametrize(
    ("what", "said"),
    [("books", "is a system and an integration"), ("letters", "there is no"), ("system:details", "there is no")],
    ids=["both", "a system without a connector", "the wrong kind"],
)
def test_what_cannot_be_paused_is_refused(what: str, said: str) -> None:
    with pytest.raises(TurnedAway, match=said):
        pause_key(LANDSCAPE, what)
