"""What an incident says: one cause once, whom it touches, what to do next; and never what a system answered."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from canonical.declarations.oauth import OAuth2
from canonical.problems import Problem, Refused
from connectors import protocol
from connectors.protocol import ConnectorError
from staging.errors import DatabaseUnavailable
from staging.incidents import Cause, Recovered, Standing
from tasks import incidents
from tasks import landscape as reading
from tasks.sync import Summary, Trouble
from tasks.world import World

DEMO = Path(__file__).resolve().parents[3] / "deployments" / "demo"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
CANARY = "Zebedee Canary, zebedee@canary.test"


@pytest.fixture(scope="module")
def world() -> World:
    """The demo's declarations; nothing here asks a database."""
    return World(reading.load(DEMO), DEMO, cast(Any, object()))


def read(system: str, stream: str, kind: str = "Transient", cause: str = "no answer within the deadline") -> Trouble:
    return Trouble(system, stream, "extract", kind, cause)


def written(system: str, cause: str = "not available now (503)") -> Trouble:
    return Trouble(system, "", "deliver", "DeliveryStopped", cause)


@pytest.mark.parametrize(
    ("troubles", "keys"),
    [
        pytest.param(
            [read("crm", "companies"), read("crm", "contacts")], ["system:crm"], id="one system, two streams: one cause"
        ),
        pytest.param(
            [read("crm", "companies"), read("accounting", "contacts")],
            ["system:crm", "system:accounting"],
            id="two systems are two causes",
        ),
        pytest.param(
            [read("crm", "companies", "AuthFailed"), written("crm")],
            ["system:crm"],
            id="who cannot be read cannot be written: no second cause",
        ),
        pytest.param([written("crm")], ["delivery:crm"], id="reads well, takes no writes"),
        pytest.param(
            [read("crm", "companies", "GateStopped"), read("crm", "contacts", "GateStopped")],
            ["stream:crm/companies:GateStopped", "stream:crm/contacts:GateStopped"],
            id="a stopped batch is its stream's own",
        ),
    ],
)
def test_one_cause_is_one_incident(world: World, troubles: list[Trouble], keys: list[str]) -> None:
    assert [cause.key for cause in incidents.causes_of(world, troubles, "all")] == keys


def test_a_message_says_integration_owner_cause_what_goes_on_and_what_to_do(world: World) -> None:
    [cause] = incidents.causes_of(world, [read("workbook", "prices", "Unreachable", "no such file")], "product-prices")
    title, lines = incidents.message(cause, 1, NOON)
    assert title == "workbook: cannot be reached"
    said = dict(line.split(": ", 1) for line in lines)
    assert said["Integration"].split(", ") == [
        "product-prices", "order-to-invoice", "order-to-project", "order-status", "shipments", "return-to-credit",
        "disputes", "job-board",
    ]  # fmt: skip
    assert said["Owner"] == "product-manager (Jonas Beck, @jonas)"
    assert said["Cause"].startswith("workbook (prices) cannot be reached")
    assert "customer-details" in said["Unaffected"]
    assert said["Next"].endswith("then: concord sync product-prices (the schedule tries again as well)")


@pytest.mark.parametrize(
    ("trouble", "command"),
    [
        (read("crm", "companies", "AuthFailed"), "(env CRM_TOKEN), then: concord sync customer-details"),
        (read("crm", "companies", "CountDrop"), "concord findings list"),
        (read("crm", "companies", "SchemaDrift"), "concord findings list, and accept; then: concord sync"),
        (read("crm", "companies", "GateStopped"), "concord quarantine"),
        (read("crm", "companies", "Misdeclared"), "concord check"),
        (read("crm", "companies", "SystemFault"), "concord systems check"),
        (written("crm"), "concord deliver"),
    ],
    ids=lambda value: value.kind if isinstance(value, Trouble) else "",
)
def test_the_next_step_is_a_command(world: World, trouble: Trouble, command: str) -> None:
    [cause] = incidents.causes_of(world, [trouble], "customer-details")
    assert command in cause.next_step


def test_who_lets_us_in_by_a_person_is_asked_again() -> None:
    ours = reading.load(DEMO)
    oauth2 = OAuth2("authorization_code", "https://id.example/token", "app")
    crm = replace(ours.systems["crm"], settings={"oauth2": oauth2})
    world = World(replace(ours, systems={**ours.systems, "crm": crm}), DEMO, cast(Any, object()))
    [cause] = incidents.causes_of(world, [read("crm", "companies", "AuthFailed")], "customer-details")
    assert cause.next_step.startswith("let Concord in again: concord systems authorize crm; then: concord sync")


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("AuthFailed", f"crm GET /v3: credentials refused (401): {CANARY}"),
        ("Misdeclared", f"crm GET /v3: answered 400: {CANARY}"),
        ("SystemFault", f"crm GET /v3: answered 500: {CANARY}"),
        ("SystemFault", f"crm GET /v3: expected JSON: {CANARY}"),
        ("DeliveryStopped", f"crm POST /v3: answered 500: {CANARY}"),
        ("Ambiguous", f"crm POST /v3: expected ok: {CANARY}"),
    ],
)
def test_what_a_system_answered_is_not_told(world: World, kind: str, cause: str) -> None:
    step = "deliver" if kind == "DeliveryStopped" else "extract"
    [found] = incidents.causes_of(world, [Trouble("crm", "companies", step, kind, cause)], "all")
    title, lines = incidents.message(found, 2, NOON)
    assert "anary" not in " ".join([title, *lines])


def test_every_kind_of_error_has_its_words() -> None:
    kinds = {
        name
        for name, kind in vars(protocol).items()
        if isinstance(kind, type) and issubclass(kind, ConnectorError) and kind is not ConnectorError
    }
    assert kinds - {"Rejected"} <= incidents._MEANS.keys() & (incidents._TITLES.keys() | {"Ambiguous"})


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(ValueError(CANARY), "ended with ValueError", id="unforeseen: only its class"),
        pytest.param(DatabaseUnavailable("cannot reach the database h:1/d"), "h:1/d", id="the database: in its words"),
        pytest.param(
            Refused([Problem("a.yaml", 3, "x", "a number", "text")]), "a.yaml:3", id="declarations: in their words"
        ),
    ],
)
def test_a_sync_that_ended_as_a_whole(world: World, error: Exception, said: str) -> None:
    cause = incidents.failure_of(world, "customer-details", error)
    assert said in cause.cause
    assert "anary" not in cause.cause
    assert cause.key == "sync:customer-details"
    assert cause.owner == "integration-owner (Data team, @data-team)"


def standing(*, opened: int, told: int | None, mine: bool = True) -> Standing:
    """Opened and last told so many minutes ago."""
    told_at = NOON - timedelta(minutes=told) if told is not None else None
    return Standing(1, 2, NOON - timedelta(minutes=opened), NOON, told_at, is_told=mine, is_queued=False)


@pytest.mark.parametrize(
    ("now", "is_due"),
    [
        pytest.param(standing(opened=0, told=None, mine=False), True, id="new: at once"),
        pytest.param(standing(opened=14, told=14), False, id="not twice within a quarter of an hour"),
        pytest.param(standing(opened=15, told=15), True, id="again after it"),
        pytest.param(standing(opened=45, told=20), False, id="then more and more rarely"),
        pytest.param(standing(opened=45, told=25), True, id="when half its age has passed"),
        pytest.param(standing(opened=1, told=5, mine=False), False, id="opened anew just after its recovery: quiet"),
        pytest.param(standing(opened=16, told=20, mine=False), True, id="opened anew and never told: after its time"),
    ],
)
def test_how_often_it_is_told(now: Standing, is_due: bool) -> None:
    assert incidents.is_due(now) is is_due


def test_a_night_of_failures_is_few_messages() -> None:
    opened, told, count = NOON, None, 0
    for minute in range(0, 12 * 60, 15):
        now = NOON + timedelta(minutes=minute)
        if incidents.is_due(Standing(1, 1, opened, now, told, is_told=told is not None, is_queued=False)):
            told, count = now, count + 1
    assert count == 7


def test_a_clean_sync_closes_its_own_incidents_only(world: World) -> None:
    summary = Summary(integrations=("contacts",))
    well = incidents.disproved(world, summary, "contacts")
    assert {"system:crm", "stream:crm/contacts:GateStopped", "delivery:crm", "sync:contacts", "late:contacts"} <= well
    assert not {"sync:all", "sync:customer-details", "delivery:accounting", "holds"} & well


def test_recovery_says_what_it_was() -> None:
    cause = Cause("system:crm", "AuthFailed", "contacts", "crm", "Priya", "…", "…", "…")
    closed = Recovered(1, cause, 3, NOON, NOON + timedelta(minutes=44), told_at=NOON)
    title, lines = incidents.recovery(closed)
    assert title == "crm: recovered"
    assert "Was: credentials refused, seen 3 times in 44 min" in lines
