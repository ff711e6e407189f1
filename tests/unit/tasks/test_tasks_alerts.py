"""What is sent next to a messenger: one after the other, many as one, nothing while it rests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from canonical.landscape import Landscape, Person
from connectors.protocol import RateLimited, Transient
from staging.alerts import Address, Alert, Sent
from staging.incidents import Cause
from tasks import landscape as reading
from tasks import messengers
from tasks.alerts import Fold, Rest, Send, digest_of, next_for, rest_seconds

DEMO = Path(__file__).resolve().parents[3] / "deployments" / "demo"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
NOTHING = Sent(0, 0)


def alert(number: int, *, rests: float = 0.0, attempts: int = 0, kind: str = "opened") -> Alert:
    return Alert(number, number, kind, f"t{number}", ("l",), Address("slack"), attempts, NOON, rests)  # type: ignore[arg-type]


def many(count: int) -> list[Alert]:
    return [alert(n) for n in range(count)]


@pytest.mark.parametrize(
    ("waiting", "lately", "then"),
    [
        pytest.param([], NOTHING, None, id="nothing"),
        pytest.param(many(2), NOTHING, Send(alert(0)), id="the oldest first"),
        pytest.param(many(10), NOTHING, Send(alert(0)), id="ten are still one by one"),
        pytest.param(many(11), NOTHING, Fold(tuple(many(11))), id="eleven are one"),
        pytest.param(many(3), Sent(8, 0), Fold(tuple(many(3))), id="ten in a quarter of an hour, not at once"),
        pytest.param(many(3), Sent(10, 1), None, id="one digest in a quarter of an hour; the rest waits"),
        pytest.param(many(3), Sent(7, 1), Send(alert(0)), id="after a digest there is room again"),
        pytest.param(
            [alert(1), alert(2, kind="digest")], Sent(10, 0), Send(alert(2, kind="digest")), id="a digest that was made"
        ),
        pytest.param([alert(1, rests=300, kind="recovered")], NOTHING, None, id="an end that is not due yet"),
        pytest.param(
            [alert(1, rests=20, attempts=1), alert(2)], NOTHING, Rest((alert(2),)), id="the place rests for all of them"
        ),
        pytest.param([alert(1, attempts=1), alert(2)], NOTHING, Send(alert(1, attempts=1)), id="it has rested"),
    ],
)
def test_what_is_sent_next(waiting: list[Alert], lately: Sent, then: object) -> None:
    assert next_for(waiting, lately) == then


@pytest.mark.parametrize(
    ("error", "attempts", "seconds"),
    [
        (Transient("away"), 0, 30),
        (Transient("away"), 2, 120),
        (Transient("away"), 90, 900),
        (RateLimited("slow down", wait_seconds=7), 5, 7),
        (RateLimited("slow down", wait_seconds=86_400), 0, 900),
        (RateLimited("slow down"), 0, 30),
    ],
    ids=["first", "third", "capped", "as asked", "as asked, capped", "not said"],
)
def test_how_long_it_rests(error: Transient, attempts: int, seconds: float) -> None:
    assert rest_seconds(error, attempts) == seconds


def test_a_digest_names_each_message_and_is_short() -> None:
    title, lines = digest_of("demo", many(200))
    assert title == "demo: 200 messages"
    assert lines[0] == "t0 (since 12:00 UTC)"
    assert lines[-2:] == ["and 170 more", "Next: see them all with their next steps: concord status"]


# ------------------------------------------------------------------------------------------------------ who is told


@pytest.fixture(scope="module")
def demo() -> Landscape:
    return reading.load(DEMO)


def told(demo: Landscape, cause: Cause, **notify: str) -> list[Address]:
    systems = {**demo.systems, "post": replace(demo.systems["alerts"], name="post", connector="mail", settings={})}
    bot = replace(demo.systems["alerts"], settings={"token": "x", "channel": "#general"})
    changed = replace(demo, systems={**systems, "bot": bot}, notify=notify)
    return messengers.addresses(changed, cause)


CRM = Cause("system:crm", "AuthFailed", "contacts, job-board", "crm", "Priya", "…", "…", "…")


def test_a_webhook_has_one_channel(demo: Landscape) -> None:
    assert [a.place for a in told(demo, CRM, slack="alerts", channel="#data")] == [("alerts", "")]


def test_mail_goes_to_the_owners_of_the_system_and_of_the_integrations(demo: Landscape) -> None:
    owners = [demo.people[demo.systems["crm"].owner].email]
    owners += [demo.people[demo.integrations[name].owner].email for name in ("contacts", "job-board")]
    [address] = told(demo, CRM, email="post")
    assert address.recipients == tuple(dict.fromkeys(owners))


def test_a_bot_posts_to_the_channels_of_the_integrations(demo: Landscape) -> None:
    finance = replace(demo.integrations["contacts"], channel="#sales")
    changed = replace(demo, integrations={**demo.integrations, "contacts": finance})
    assert [a.channel for a in told(changed, CRM, slack="bot", channel="#data")] == ["#sales", "#data"]


@pytest.mark.parametrize(
    ("cause", "notify", "via"),
    [
        (CRM, {"slack": "alerts", "email": "post"}, ["alerts", "post"]),
        (CRM, {"slack": "alerts", "email": "post", "fallback": "email"}, ["alerts"]),
        (CRM, {"slack": "alerts", "email": "post", "fallback": "slack"}, ["post"]),
        (CRM, {}, []),
        (replace(CRM, key="messenger:alerts"), {"slack": "alerts", "email": "post", "fallback": "email"}, ["post"]),
        (replace(CRM, key="messenger:alerts"), {"slack": "alerts"}, []),
    ],
    ids=["both", "mail steps in", "Slack steps in", "none", "a messenger's own trouble", "nobody else to tell"],
)
def test_by_which_messengers(demo: Landscape, cause: Cause, notify: dict[str, str], via: list[str]) -> None:
    assert [address.via for address in told(demo, cause, **notify)] == via


def test_whoever_is_named_by_role_is_told(demo: Landscape) -> None:
    hold = replace(CRM, system=None, integration="contacts", owner="finance-lead, nobody")
    assert messengers.roles(demo, hold) == [demo.integrations["contacts"].owner, "finance-lead"]


def test_a_person_without_an_address_is_left_to_the_team(demo: Landscape) -> None:
    people = {role: Person(role, person.name) for role, person in demo.people.items()}
    [address] = told(replace(demo, people=people), CRM, email="post")
    assert address.recipients == ()
