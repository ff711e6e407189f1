"""What the commands are made of, as values."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
import typer

from apps import demo, screen, session
from apps.commands.explain import _others
from apps.commands.mapping import seen_paths
from apps.exits import Stop, unknown
from apps.listing import command_of, told
from apps.options import later, moment


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""), (0, "0 s"), (59, "59 s"), (60, "1 min"), (150, "2 min"), (3_600, "1 h"), (7_300, "2 h"),
        (86_400, "24 h"), (200_000, "2 days"), (timedelta(minutes=5), "5 min"), (-4, "0 s"),
    ],
)  # fmt: skip
def test_ages_are_one_number_and_a_word(seconds: float | timedelta | None, shown: str) -> None:
    assert screen.age(seconds) == shown


def test_values_cannot_steer_the_terminal() -> None:
    assert screen.clean("a\x1b[31mred\x07\u202egnp\r\n") == "a\\x1b[31mred\\x07\\u202egnp\\r\\n"


def test_json_has_iso_times_in_utc() -> None:
    at = datetime(2026, 8, 1, 8, 0, tzinfo=UTC).astimezone()
    assert json.dumps({"at": at}, default=screen.plain) == '{"at": "2026-08-01T08:00:00Z"}'


@pytest.mark.parametrize("text", ["2h", "3d", "90min", "2026-01-31", "2026-01-31T06:00", "2026-01-31T06:00:00Z"])
def test_moments_of_the_past_are_understood(text: str) -> None:
    found = moment(text)
    assert found is not None
    assert found.tzinfo is not None
    assert found < datetime.now(UTC)


@pytest.mark.parametrize("text", ["2999", "2999-01-01", "tomorrow", "-3h", "999999w", "1066-10-14", ""])
def test_other_moments_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        moment(text)


@pytest.mark.parametrize("text", ["2h", "3d", "18:30", "00:00", "2999-01-01", "2999-01-01T06:00:00Z"])
def test_moments_to_come_are_understood(text: str) -> None:
    found = later(text)
    assert found is not None
    assert found.tzinfo is not None
    assert found > datetime.now(UTC)


@pytest.mark.parametrize("text", ["2020-01-01", "tomorrow", "25:00", "-3h", "99999999999h", ""])
def test_moments_that_are_over_or_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        later(text)


def test_paths_seen_in_records_are_listed_once() -> None:
    payloads = [
        b'{"id": 1, "props": {"name": "a", "tags": ["x"]}, "lines": [{"sku": 1}, {"qty": 2}], "empty": {}}',
        b'{"id": 2, "props": {"name": null}}',
        b"not json",
    ]
    assert seen_paths(payloads) == ["empty", "id", "lines[].qty", "lines[].sku", "props.name", "props.tags"]


def test_an_unknown_name_gets_the_nearest_or_all() -> None:
    assert "did you mean customer?" in unknown("entity", "custmer", ["customer", "order"]).message
    assert "customer, order" in unknown("entity", "zzz", ["order", "customer"]).message


def test_what_others_say_is_told_shortly() -> None:
    def claim(system: str, said: str, value: str | None = None) -> dict[str, object]:
        return {"system": system, "said": said, "values": {"v": value}, "is_winner": system == "crm"}

    claims = [
        claim("crm", "value", "a"),
        claim("erp", "value", "b"),
        claim("shop", "value", "a"),
        claim("mail", "empty"),
    ]
    assert _others(claims, "a") == "erp: b; the same in shop; empty in mail"


@pytest.mark.parametrize("queue", ["quarantine", "dead_letter", "review", "hold", "finding"])
def test_every_queue_has_its_command(queue: str) -> None:
    from apps.cli import app

    assert command_of(queue) in {group.name for group in app.registered_groups}


def test_a_reason_says_something() -> None:
    assert told(" two branches ", "--reason") == "two branches"
    with pytest.raises(Stop, match="say why"):
        told(" x", "--reason")


def test_where_nobody_can_be_asked_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "is_interactive", lambda: False)
    session.confirmed("Send it?", yes=True)
    with pytest.raises(Stop, match="--yes") as stop:
        session.confirmed("Send it?", yes=False)
    assert stop.value.code == 2


def test_a_syncs_counts_by_system_and_by_target() -> None:
    streams = {
        "crm/contacts": {"received": 5, "new": 3, "changed": 1, "unchanged": 1, "quarantined": 2},
        "crm/companies": {"received": 2, "new": 2},
    }
    assert demo.per_system(streams) == {"crm": {"read": 7, "new": 5, "changed": 1, "unchanged": 1, "quarantined": 2}}
    assert demo.per_target({"erp/clients": {"created": 4}}) == {
        "erp/clients": {"created": 4, "updated": 0, "archived": 0, "held": 0, "waiting": 0}
    }


def kept_file(home: Path, pid: int, born: float) -> None:
    home.mkdir(parents=True)
    entry = {
        "home": str(home), "landscape": str(home / "landscapes" / "demo"), "pid": pid, "born": born,
        "started_at": "2026-08-01T06:00:00+00:00", "environment": {}, "links": {},
    }  # fmt: skip
    (home / "running.json").write_text(json.dumps(entry))


def test_a_demo_that_is_up_is_found_again(tmp_path: Path) -> None:
    kept_file(tmp_path / "demo", os.getpid(), psutil.Process().create_time())
    assert demo.kept(tmp_path / "demo") is not None


def test_a_demo_whose_process_is_another_by_now_is_not_up(tmp_path: Path) -> None:
    kept_file(tmp_path / "demo", os.getpid(), psutil.Process().create_time() - 60)
    assert demo.kept(tmp_path / "demo") is None
    assert demo.kept(tmp_path / "nowhere") is None
