"""The door itself: exit codes, hints, and no traceback for what a user can cause. No database is asked here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from apps import exits
from apps.cli import app, run
from apps.commands import check as check_command
from canonical.problems import Problem, Refused
from connectors.protocol import AuthFailed, Misdeclared
from staging.errors import DatabaseUnavailable, SchemaNewer
from tasks.sync import SyncBusy

TOP = Path(__file__).resolve().parents[3]
SHOP = TOP / "tests" / "fixtures" / "landscapes" / "shop"
COMMANDS = {
    "demo", "check", "model", "mapping", "systems", "plan", "sync", "deliver", "watch", "serve", "status", "explain",
    "ledger", "reviews", "holds", "quarantine", "dead-letters", "findings", "db",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORD_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CONCORD_LANDSCAPE", raising=False)


def test_help_names_every_command_and_every_exit_code() -> None:
    shown = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, ["--help"])
    assert shown.exit_code == 0
    for name in COMMANDS:
        assert f" {name} " in shown.output
    for code in (0, 1, 2, 3, 4, 5, 70, 74, 130):
        assert f" {code} " in shown.output


def test_without_arguments_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["stauts"], "status"),
        (["findngs", "list"], "findings"),
        (["reviews", "lst"], "list"),
        (["status", "--jsn"], "--json"),
        (["holds", "show", "first"], "ID"),
        (["holds", "show", "0"], "ID"),
        (["explain", "customer"], "WHAT"),
        (["sync", "--sample", "-3"], "--sample"),
        (["quarantine", "list", "--since", "2999-01-01"], "future"),
        (["quarantine", "list", "--since", "2999"], "2h, 3d"),
        (["quarantine", "list", "--limit", "0"], "--limit"),
        (["reviews", "answer", "1", "--by", "x", "--reason", "y"], "--same or --different"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_2_with_a_hint(arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--landscape", str(SHOP), *arguments]) == exits.REFUSED
    said = capsys.readouterr()
    assert hint in said.err
    assert "Traceback" not in said.err + said.out
    assert "→" in said.err


@pytest.mark.parametrize(
    "argument",
    [
        "--password=hunter2",
        "--token",
        "--code=1234",
        "--api-key=abc",
        "postgresql://me:hunter2@db.example/concord",
        "pat-eu1-0123456789",
        "xoxb-123-hunter2",
        "https://hooks.slack.com/services/T/B/hunter2",
    ],
)
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(
    argument: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sync", argument]) == exits.REFUSED
    said = capsys.readouterr().err
    assert "environment" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (Refused([Problem("a.yaml", 3, "x", "a", "b"), Problem("b.yaml", 1, "y", "c", "d")]), 2, "2 problems"),
        (DatabaseUnavailable("cannot reach the database"), 4, "cannot reach the database"),
        (SchemaNewer("a newer Concord has upgraded it"), 4, "newer"),
        (AuthFailed("token refused", where="crm"), 5, "crm: token refused"),
        (Misdeclared("no such stream", where="crm"), 2, "no such stream"),
        (SyncBusy("customer-details", "2026-08-01 06:00", "ada@host"), 3, "running since 2026-08-01 06:00"),
        (typer.Abort(), 2, "nothing was done"),
        (KeyboardInterrupt(), 130, "stopped"),
        (BrokenPipeError(32, "Broken pipe"), 74, ""),
        (OSError(28, "No space left on device"), 74, "No space left"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_errors_become_a_message_and_an_exit_code(
    error: BaseException,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(check_command, "compile_all", fail)
    assert run(["--landscape", str(SHOP), "check", "--offline"]) == code
    said = capfd.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_what_nobody_foresaw_is_logged_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("an inner fault")

    monkeypatch.setattr(check_command, "compile_all", fail)
    assert run(["--landscape", str(SHOP), "check", "--offline"]) == exits.FAULT
    said = capsys.readouterr().err
    assert "an inner fault" in said
    assert "Traceback" not in said
    [log] = (tmp_path / "home" / "log").iterdir()
    assert str(log) in said.replace("\n", "")
    assert "ZeroDivisionError" in log.read_text()


def test_check_offline_needs_no_database(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["check", "--offline", "--json", "--landscape", str(SHOP)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["landscape"] == "shop"
    assert found["compiled"]["mappings_in"] == 2
    assert found["systems"] == []
    assert not (tmp_path / "home").exists()


def test_every_problem_of_a_landscape_is_told_with_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "landscape.yaml").write_text("timezone: Nowhere/Land\nsystems: {a: {connector: hubspt}}\n")
    assert run(["--landscape", str(tmp_path), "check", "--offline"]) == exits.REFUSED
    said = capsys.readouterr().err
    assert "landscape.yaml:1" in said
    assert "landscape.yaml:2" in said
    assert "hubspot" in said


def test_a_folder_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--landscape", "/no/such/folder", "status"]) == exits.REFUSED
    assert "/no/such/folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        (["model", "show", "custmer"], "customer"),
        (["mapping", "show", "dsk"], "desk"),
        (["mapping", "show", "letters"], "some orders come by letter"),
    ],
    ids=["entity", "system", "system without a connector"],
)
def test_unknown_names_are_refused_with_the_nearest(
    arguments: list[str], known: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--landscape", str(SHOP), *arguments]) == exits.REFUSED
    assert known in capsys.readouterr().err


def test_rules_and_sheets_are_shown_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["mapping", "rules", "--json"]) == 0
    rules = {r["rule"]: r for r in json.loads(capsys.readouterr().out)}
    assert {"trim", "map", "phone", "split_name"} <= set(rules)
    assert run(["mapping", "show", "desk", "--json", "--landscape", str(SHOP)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {r["direction"] for r in rows} == {"inbound", "outbound"}
    assert all(r["file"] == "mappings/desk.csv" and r["line"] > 1 for r in rows)


def test_systems_are_listed_without_asking_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--landscape", str(SHOP), "systems", "list", "--json"]) == 0
    found = {s["system"]: s for s in json.loads(capsys.readouterr().out)}
    assert found["desk"]["written_by"] == ["customer-details (ask)"]
    assert found["letters"]["connector"] == "none"


def concord(*arguments: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "apps.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        command, cwd=TOP, env=environment, check=False, text=True, stderr=subprocess.PIPE, **kwargs
    )


def test_as_a_process_it_ends_with_the_code_and_no_colour() -> None:
    done = concord("mapping", "rules", stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert "\x1b[" not in done.stdout + done.stderr


def test_a_full_disk_under_the_output_is_an_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        done = concord("mapping", "rules", "--json", stdout=full)
    assert done.returncode == exits.OUTPUT
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = concord("mapping", "rules", stdout=writer)
    finally:
        os.close(writer)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
