"""Incidents in the database: one open one a cause, messages that survive a messenger's silence, and what watch sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from connectors.protocol import ConnectorError, Limits, Rejected, StreamFacts, Transient
from staging import holds, locks, pauses, rhythm, runs
from staging.incidents import Cause
from tasks import incidents
from tasks import landscape as reading
from tasks.watch import watch
from tasks.world import World
from tests.fixtures.database import TestDatabase

DEMO = Path(__file__).resolve().parents[2] / "deployments" / "demo"
CRM = Cause(
    "system:crm", "AuthFailed", "contacts", "crm", "Priya", "crm refuses us", "the others", "concord sync contacts"
)


class Inbox:
    """A messenger that takes what it is told, or refuses it."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.refusal: ConnectorError | None = None

    limits = Limits()

    def check(self) -> None: ...

    def facts(self, stream: str) -> StreamFacts:
        raise NotImplementedError

    def close(self) -> None: ...

    def notify(
        self,
        title: str,
        lines: Sequence[str],
        *,
        channel: str | None = None,
        to: Sequence[str] = (),
        key: str | None = None,
    ) -> None:
        if self.refusal:
            raise self.refusal
        self.titles.append(title)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def world(database: TestDatabase, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(reading.load(DEMO), DEMO, database.engine)
    monkeypatch.setattr(made, "connector", lambda _: inbox)
    return made


def rows(world: World, query: str, **values: Any) -> list[dict[str, Any]]:
    with world.transaction() as conn:
        return [dict(r) for r in conn.execute(sa.text(query), values).mappings()]


def do(world: World, statement: str, **values: Any) -> None:
    with world.transaction() as conn:
        conn.execute(sa.text(statement), values)


def later(world: World, minutes: int) -> None:
    """So many minutes pass."""
    for table, columns in {
        "alert_outbox": ("created_at", "due_at", "sent_at"),
        "incident": ("opened_at", "last_seen_at", "closed_at"),
    }.items():
        moved = ", ".join(f"{c} = {c} - make_interval(mins => :m)" for c in columns)
        do(world, f"update ops.{table} set {moved}", m=minutes)


def test_one_cause_is_told_once_and_its_end_once(world: World, inbox: Inbox) -> None:
    for _ in range(3):
        incidents.report(world, [CRM])
        incidents.tell(world)
    assert inbox.titles == ["crm: credentials refused"]
    assert rows(world, "select times, state from ops.incident") == [{"times": 3, "state": "open"}]
    incidents.report(world, [], ["system:crm", "system:accounting"])
    incidents.tell(world)
    assert inbox.titles == ["crm: credentials refused"], "not twice within a quarter of an hour"
    later(world, 15)
    incidents.tell(world)
    incidents.tell(world)
    assert inbox.titles == ["crm: credentials refused", "crm: recovered"]


def test_a_cause_that_comes_and_goes_makes_few_messages(world: World, inbox: Inbox) -> None:
    for _ in range(20):  # an hour of it
        incidents.report(world, [CRM])
        incidents.tell(world)
        incidents.report(world, [], ["system:crm"])
        incidents.tell(world)
        later(world, 3)
    later(world, 15)
    incidents.tell(world)
    assert len(inbox.titles) <= 5
    assert (inbox.titles[0], inbox.titles[-1]) == ("crm: credentials refused", "crm: recovered")


def test_a_cause_that_comes_back_after_its_end_was_told_is_told_again(world: World, inbox: Inbox) -> None:
    incidents.report(world, [CRM])
    incidents.tell(world)
    later(world, 20)
    incidents.report(world, [], ["system:crm"])
    incidents.tell(world)
    incidents.report(world, [CRM])
    incidents.tell(world)
    assert inbox.titles == ["crm: credentials refused", "crm: recovered"]
    later(world, 16)
    incidents.tell(world)
    assert inbox.titles[2:] == ["crm: credentials refused"]


def test_a_messenger_that_is_away_loses_nothing_and_stops_nobody(world: World, inbox: Inbox) -> None:
    inbox.refusal = Transient("away")
    incidents.report(world, [CRM])
    assert incidents.tell(world) == 0
    incidents.report(world, [CRM])
    assert incidents.tell(world) == 0, "it rests"
    assert rows(world, "select state, attempts, error from ops.alert_outbox") == [
        {"state": "ready", "attempts": 1, "error": "Transient"}
    ]
    later(world, 1)
    inbox.refusal = None
    assert incidents.tell(world) == 1
    assert inbox.titles == ["crm: credentials refused (seen 2 times)"]
    assert [r["outcome"] for r in rows(world, "select outcome from ops.alert_attempt order by id")] == [
        "failed",
        "sent",
    ]


def test_what_is_over_before_anybody_heard_of_it_is_one_message(world: World, inbox: Inbox) -> None:
    inbox.refusal = Transient("away")
    incidents.report(world, [CRM])
    incidents.tell(world)
    incidents.report(world, [], ["system:crm"])
    later(world, 5)
    inbox.refusal = None
    incidents.tell(world)
    later(world, 30)
    incidents.tell(world)
    assert inbox.titles == ["crm: recovered"]


def test_a_message_refused_for_good_does_not_stand_in_the_way(world: World, inbox: Inbox) -> None:
    inbox.refusal = Rejected("too long")
    incidents.report(world, [CRM])
    incidents.tell(world)
    assert rows(world, "select state from ops.alert_outbox") == [{"state": "failed"}]


def test_without_a_messenger_incidents_are_kept_and_no_messages_pile_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(world.landscape.notify, "slack", "")
    incidents.report(world, [CRM])
    assert len(rows(world, "select id from ops.incident")) == 1
    assert rows(world, "select id from ops.alert_outbox") == []


def begun(world: World, name: str, minutes: int) -> int:
    """A sync that began so many minutes ago and has not ended."""
    with world.transaction() as conn:
        sync_id = runs.begin_sync(conn, name, "full", declaration=world.landscape.digest, started_by="a test")
        conn.execute(
            sa.text("update ops.sync set started_at = now() - make_interval(mins => :m) where id = :id"),
            {"m": minutes, "id": sync_id},
        )
    return sync_id


def test_watch_closes_dead_syncs_and_leaves_living_ones(world: World, inbox: Inbox) -> None:
    dead, alive, new = begun(world, "contacts", 10), begun(world, "customer-details", 10), begun(world, "all", 0)
    with locks.lane(world.engine, "sync:customer-details", wait=False) as held:
        assert held is not None
        found = watch(world)
    states = {r["id"]: r["state"] for r in rows(world, "select id, state from ops.sync")}
    assert states == {dead: "abandoned", alive: "running", new: "running"}
    assert [each.id for each in found.abandoned] == [dead]
    assert inbox.titles == ["contacts: sync failed"]


def ran(world: World, name: str) -> None:
    """A sync began and ended just now."""
    with world.transaction() as conn:
        sync_id = runs.begin_sync(conn, name, "full", declaration="x", started_by="a test")
        runs.end_sync(conn, sync_id, "complete", summary={})


def at_work_since(world: World, minutes: int) -> None:
    """The landscape was put to work so long ago."""
    with world.transaction() as conn:
        runs.pin_declaration(conn, world.landscape.digest, world.landscape.name, {})
    do(world, "update ops.declaration set first_used_at = now() - make_interval(mins => :m)", m=minutes)


def test_watch_tells_what_did_not_run_and_that_it_runs_again(world: World, inbox: Inbox) -> None:
    at_work_since(world, 40)
    ran(world, "contacts")
    watch(world)
    assert "customer-details: did not run" in inbox.titles
    [line] = rows(world, "select cause, next_step, owner from ops.incident where key = 'missed:customer-details'")
    assert "was due at" in line["cause"]
    assert "concord serve" in line["next_step"]
    ran(world, "all")
    watch(world)
    assert rows(world, "select key from ops.incident where state = 'open'") == []
    later(world, 15)
    watch(world)
    assert "customer-details: recovered" in inbox.titles


def test_where_nothing_runs_that_is_the_one_cause(world: World, inbox: Inbox) -> None:
    at_work_since(world, 24 * 60)
    found = watch(world)
    assert [cause.key for cause in found.causes] == ["silent:demo"]
    assert "no sync has begun since" in found.causes[0].cause
    assert inbox.titles == ["demo: nothing runs"]
    ran(world, "contacts")
    watch(world)
    watch(world)
    missed = "select key from ops.incident where key like 'missed:%'"
    assert rows(world, missed) == [], "whoever is back does not begin everything at once"
    ran(world, "all")
    later(world, 15)
    watch(world)
    assert inbox.titles == ["demo: nothing runs", "demo: recovered"]
    assert rows(world, missed) == []


def test_after_a_silence_of_everything_what_did_not_run_meanwhile_is_no_second_cause(
    world: World, inbox: Inbox
) -> None:
    at_work_since(world, 40)
    ran(world, "contacts")
    watch(world, was_away=True)
    assert [title for title in inbox.titles if "did not run" in title] == []
    watch(world)
    assert "customer-details: did not run" in inbox.titles


def test_who_is_late_because_a_system_is_down_is_told_of_once(world: World, inbox: Inbox) -> None:
    at_work_since(world, 24 * 60)
    with world.transaction() as conn:
        for name in world.landscape.integrations:
            sync_id = runs.begin_sync(conn, name, "full", declaration="x", started_by="a test")
            runs.end_sync(conn, sync_id, "failed", summary={})
    everywhere = replace(CRM, integration=", ".join(world.landscape.integrations))
    incidents.report(world, [everywhere])
    found = watch(world)
    assert [cause.key for cause in found.causes] == []
    assert f"customer-details is late: {CRM.key}" in found.known
    assert not found.is_well
    assert inbox.titles == ["crm: credentials refused"]


def test_changes_that_do_not_move_are_told_although_runs_are_fine(world: World, inbox: Inbox) -> None:
    ran(world, "all")
    do(
        world,
        "insert into ops.outbox (plan_id, integration, entity, canonical_id, version, system, stream, op, payload,"
        " asked, key, write_hash, state, because, created_at) select 1, 'customer-details', 'customer', n::text, 1,"
        " 'accounting', 'contacts', 'update', '{}', '{}', n::text, 'h', s, 'x', now() - interval '2 days'"
        " from unnest(array['ready', 'ready', 'unknown', 'held', 'waiting', 'delivered']) with ordinality as t (s, n)",
    )
    [cause] = watch(world).causes
    assert cause.key == "stale:customer-details"
    assert "3 to write to accounting" in cause.cause
    with world.transaction() as conn:
        pauses.pause(conn, "system:accounting", by="finance-lead", reason="year end")
    assert watch(world).causes == [], "a pause is a person's word"
    do(world, "update ops.pause set ended_at = now()")
    do(world, "update ops.outbox set state = 'delivered'")
    watch(world)
    later(world, 15)
    watch(world)
    assert inbox.titles == ["customer-details: behind its promise", "customer-details: recovered"]


@pytest.mark.parametrize(
    ("name", "asked", "covered"),
    [
        pytest.param("contacts", "incremental", True, id="itself"),
        pytest.param("contacts", "full", False, id="less than was asked"),
        pytest.param("credit-status", "incremental", False, id="another"),
    ],
)
def test_a_run_that_nobody_started_in_time_is_covered_by_a_later_sync(
    world: World, name: str, asked: str, covered: bool
) -> None:
    due = datetime.now(UTC) - timedelta(hours=1)
    with world.transaction() as conn:
        assert not rhythm.is_covered(conn, name, asked, due)
        sync_id = runs.begin_sync(conn, "contacts", "incremental", declaration="x", started_by="a test")
        runs.end_sync(conn, sync_id, "complete", summary={})
        assert rhythm.is_covered(conn, name, asked, due) is covered
        assert not rhythm.is_covered(conn, name, asked, datetime.now(UTC) + timedelta(minutes=1))


def test_what_somebody_else_told_is_put_on_record_and_only_its_end_is_told(world: World, inbox: Inbox) -> None:
    since = datetime.now(UTC) - timedelta(minutes=42)
    silence = incidents.silence_of(world)
    incidents.report_over(world, silence, since, told_by="Prefect")
    assert inbox.titles == ["demo: recovered"]
    [row] = rows(world, "select state, opened_at from ops.incident where key = 'silent:demo'")
    assert row == {"state": "recovered", "opened_at": since}
    assert rows(world, "select state from ops.alert_outbox where title = 'demo: nothing runs'") == [{"state": "sent"}]


def test_what_nobody_was_told_of_needs_no_end(world: World, inbox: Inbox) -> None:
    incidents.report_over(world, incidents.silence_of(world), datetime.now(UTC), told_by=None)
    assert inbox.titles == []


def test_a_cause_is_known_from_when_it_was_seen_also_when_it_is_over(world: World) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert not incidents.is_told(world, CRM, before)
    incidents.report(world, [CRM])
    incidents.report(world, [], [CRM.key])
    assert incidents.is_told(world, CRM, before)
    assert not incidents.is_told(world, CRM, datetime.now(UTC) + timedelta(seconds=1))


def test_watch_tells_of_holds_that_nobody_answers(world: World, inbox: Inbox) -> None:
    with world.transaction() as conn:
        hold = holds.open_hold(
            conn, kind="brake", integration="contacts", entity="contact", system="crm", stream="contacts", op="update",
            reason="too many", writes=900, owner="head-of-sales",
        )  # fmt: skip
    assert watch(world).causes == []
    do(world, "update ops.hold set due_at = now() - interval '1 hour'")
    [cause] = watch(world).causes
    assert cause.next_step.startswith(f"concord holds show {hold}")
    assert "900 x update to crm/contacts" in cause.cause
    do(world, "update ops.hold set state = 'rejected', closed_at = now(), closed_by = 'me', closed_because = 'by hand'")
    watch(world)
    later(world, 15)
    watch(world)
    assert inbox.titles == ["contacts: a hold waits for an answer", "contacts: recovered"]
