"""A system in trouble is left alone by every request but one; a person is always let through."""

from __future__ import annotations

import httpx
import pytest

from canonical.health import THRESHOLD, Health, failed
from connectors.http import HttpClient
from connectors.http.guard import by_hand, is_trouble
from connectors.protocol import (
    Ambiguous,
    AuthFailed,
    ConnectorError,
    Misdeclared,
    RateLimited,
    Rejected,
    SystemFault,
    Transient,
    Unreachable,
)


class Kept:
    """What all processes know, in memory."""

    def __init__(self) -> None:
        self.health = Health()
        self.looks = 0
        self.notes: list[str] = []
        self.is_tried = False

    def of(self, system: str) -> Health:
        self.looks += 1
        return self.health

    def failed(self, system: str, reason: str) -> Health:
        self.notes.append(reason)
        self.health = failed(self.health, reason, 0.5)
        return self.health

    def worked(self, system: str) -> None:
        self.notes.append("worked")
        self.health = Health()

    def try_it(self, system: str) -> bool:
        was, self.is_tried = self.is_tried, True
        return not was


class System:
    """Answers with the statuses it is given, then with 200."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.asked = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        status = self.statuses.pop(0) if self.statuses else 200
        return httpx.Response(status, json={}, headers={"retry-after": "0"} if status == 429 else {})


def client(system: System, kept: Kept) -> HttpClient:
    return HttpClient("https://crm.example", system="crm", healths=kept, transport=httpx.MockTransport(system))


def ask(one: HttpClient) -> str:
    try:
        one.get("x")
    except ConnectorError as error:
        return type(error).__name__
    return "fine"


def test_after_failures_in_a_row_it_is_not_asked() -> None:
    system, kept = System(*[503] * 99), Kept()
    one = client(system, kept)
    said = [ask(one) for _ in range(THRESHOLD + 3)]
    assert (set(said), system.asked) == ({"Transient", "LeftAlone"}, THRESHOLD)
    with pytest.raises(Transient, match=r"left alone after 5 failures in a row \(the last: Transient 503\)") as raised:
        one.get("x")
    assert raised.value.wait_seconds is not None
    assert raised.value.wait_seconds >= 8


def test_when_its_time_is_over_one_request_tries() -> None:
    system, kept = System(), Kept()
    kept.health = Health("open", 5, 1, left_seconds=-1.0, reason="503")
    others = [client(system, kept) for _ in range(3)]
    kept.is_tried = True
    assert [ask(one) for one in others] == ["LeftAlone"] * 3
    kept.is_tried = False
    assert (ask(others[0]), system.asked) == ("fine", 1)
    assert kept.health == Health()


def test_a_system_that_works_is_hardly_looked_at() -> None:
    system, kept = System(), Kept()
    one = client(system, kept)
    assert {ask(one) for _ in range(50)} == {"fine"}
    assert kept.looks <= 2
    assert kept.notes == []


def test_one_answer_ends_what_was_counted() -> None:
    system, kept = System(503, 503, 200, 503, 404), Kept()
    one = client(system, kept)
    for _ in range(5):
        ask(one)
    assert kept.notes == ["Transient 503", "Transient 503", "worked", "Transient 503", "worked"]


def test_a_maintenance_page_is_no_answer() -> None:
    kept, page = Kept(), {"content-type": "text/html; charset=utf-8"}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text="<h1>Back soon</h1>", headers=page))
    one = HttpClient("https://crm.example", system="crm", healths=kept, transport=transport)
    for _ in range(THRESHOLD):
        assert one.get("x").is_web_page
    assert kept.health.state == "open"


def test_being_asked_to_slow_down_says_nothing() -> None:
    system, kept = System(503, 429), Kept()
    one = client(system, kept)
    assert [ask(one), ask(one)] == ["Transient", "RateLimited"]
    assert kept.health.failures == 1


def test_a_person_is_let_through_and_what_comes_of_it_counts() -> None:
    system, kept = System(), Kept()
    kept.health = Health("open", 9, 3, left_seconds=200.0, reason="503")
    one = client(system, kept)
    assert ask(one) == "LeftAlone"
    with by_hand():
        assert ask(one) == "fine"
    assert (ask(one), kept.health) == ("fine", Health())


def test_without_anybody_who_knows_everything_goes() -> None:
    system = System(*[503] * 20)
    one = HttpClient("https://crm.example", system="crm", transport=httpx.MockTransport(system))
    for _ in range(20):
        ask(one)
    assert system.asked == 20


@pytest.mark.parametrize(
    ("error", "is_its_own"),
    [
        (Transient("x"), True),
        (SystemFault("x"), True),
        (Ambiguous("x"), True),
        (RateLimited("x"), False),
        (AuthFailed("x"), False),
        (Rejected("x"), False),
        (Misdeclared("x"), False),
        (Unreachable("x"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_counts_as_a_systems_trouble(error: ConnectorError, is_its_own: bool) -> None:
    assert is_trouble(error) is is_its_own
