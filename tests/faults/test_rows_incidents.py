"""Fault matrix, incidents (rows 6, 56, 57): the right people hear of a trouble once, whatever else is down.

A shop, books and messengers answer over real sockets; time passes by making everything that the ledger knows older.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
import sqlalchemy as sa

from apps.cli import run
from connectors.protocol import Limits
from connectors.slack import Slack
from deployments import prefect_local
from staging import alerts as store
from staging.engine import engine
from staging.errors import DatabaseUnavailable
from staging.incidents import Cause
from tasks import alerts, incidents, without_ledger
from tests.fixtures.badsource import Reply
from tests.fixtures.database import TestDatabase
from tests.fixtures.messengers import HOOK, Office, Said, opened_office
from tests.fixtures.patience import until
from tests.fixtures.prefect import FAST, pages
from tests.fixtures.served import Served

TOP = Path(__file__).resolve().parents[2]
HEAD = "ada@example.com"
TEAM = "data-team@company.example"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, module_database: TestDatabase) -> Iterator[Office]:
    with opened_office(tmp_path_factory.mktemp("office"), module_database) as office:
        yield office


@pytest.fixture
def office(shared: Office, module_database: TestDatabase) -> Office:
    """The office on its first day, with bookings to be brought to the books."""
    shared.first_day(module_database)
    shared.source.fill(3)
    return shared


def trouble(number: int, **changed: str) -> Cause:
    said = {"cause": "it does not answer", "unaffected": "all else", "next_step": "concord status"}
    return Cause(f"system:s{number}", "Transient", "bookings-to-books", f"s{number}", "head", **{**said, **changed})


def tries(office: Office) -> dict[str, int]:
    """How often what became of a try: by messenger and outcome."""
    rows = office.rows(
        "select a.via || ' ' || t.outcome as what, count(*)::int as n from ops.alert_attempt t"
        " join ops.alert_outbox a on a.id = t.alert_id group by 1"
    )
    return {row["what"]: row["n"] for row in rows}


# ------------------------------------------------------------------------------------- 6: who starts the runs is killed


@contextmanager
def serving(office: Office, home: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`concord serve` with a Prefect server of its own; both are killed in the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.serve", str(office.folder)], cwd=TOP, stdout=output, stderr=output,
            env={**environment, "CONCORD_HOME": str(home), "PYTHONUNBUFFERED": "1", **FAST},
        )  # fmt: skip
    try:
        until(240, "it does not serve", lambda: b"serving landscape" in log.read_bytes())
        yield process
    finally:
        kill_tree(process.pid)
        process.wait(20)


def kill_tree(pid: int, but: int | None = None) -> None:
    """kill -9 of a process and of whatever it has started, `but` this one and what that has started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        spared = {but, *(each.pid for each in psutil.Process(but).children(recursive=True))} if but else set()
        for each in (*parent.children(recursive=True), parent):
            if each.pid not in spared:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()


@pytest.mark.faults
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("is_server_killed", [False, True], ids=["worker", "worker and server"])
def test_row_06_kill_9_of_the_worker_and_of_prefects_server(
    office: Office, tmp_path: Path, is_server_killed: bool
) -> None:
    """The lane goes on with the next run that is due, the run that seems to run for ever is closed, and it is told."""
    file = office.folder / "landscape.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("*/5 * * * *", "* * * * *"), encoding="utf-8")
    home, running = tmp_path / "home", "select flow_run_id from ops.sync where state = 'running'"
    hang = threading.Event()

    def slow(path: str, query: Mapping[str, str]) -> Reply | None:
        hang.wait(120)
        return None

    office.source.fault = slow
    try:
        with serving(office, home, tmp_path / "first.log") as worker:
            [dead] = until(180, "no run began", lambda: office.rows(running))
            server = prefect_local.running(home / "prefect")
            assert server is not None
            assert server.pid is not None
            kill_tree(worker.pid, but=server.pid)
            if is_server_killed:
                kill_tree(server.pid)
        hang.set()
        with serving(office, home, tmp_path / "second.log") as again:
            complete = "select from ops.sync where state = 'complete'"
            until(240, "the lane does not go on", lambda: office.rows(complete))
            assert len(office.names()) == 3
            server = prefect_local.running(home / "prefect")
            assert server is not None
            with pages(server) as client:
                prefect = Served(cast(Any, office), client, again, tmp_path / "second.log")
                prefect.start("watch/watch")
                is_closed = lambda: prefect.run(dead["flow_run_id"])["state_type"] == "CRASHED"  # noqa: E731
                until(240, "the dead run seems to run", is_closed)
            until(180, "nobody was told", lambda: "ended without a word" in office.slack.text)
    finally:
        hang.set()
        file.write_text(text, encoding="utf-8")
        if (left := prefect_local.running(home / "prefect")) and left.pid:
            kill_tree(left.pid)
    office.source.fault = None
    assert office.is_quiet()


# ---------------------------------------------------------------------------------------------- 56: a messenger fails


@pytest.mark.faults
def test_row_56_slack_is_down_for_two_hours_and_mail_steps_in(office: Office) -> None:
    """Data goes on, each cause is told by e-mail once, messages wait for Slack, and come as few when it is back."""
    office.slack.is_down = True
    assert office.work() == 0
    assert len(office.names()) == 3, "the books are kept whoever is told"
    office.refuses_us()
    for _ in range(4):  # two hours
        assert office.work() == 1
        office.look()
        office.later(30)
    told = [got for got in office.mail.inbox if "shop: credentials refused" in got.subject]
    assert len(told) == 1
    assert told[0].recipients == (HEAD, TEAM)
    silent = [got for got in office.mail.inbox if "alerts: takes no messages" in got.subject]
    assert "concord systems check" in silent[0].body
    assert len(silent) <= 3, "told again, more and more rarely"
    assert len(office.mail.inbox) == len(told) + len(silent), [got.subject for got in office.mail.inbox]
    assert tries(office)["alerts failed"] <= 8

    office.slack.is_down = False
    assert office.work() == 1
    office.look()
    assert office.slack.titles == ["shop: credentials refused (seen 5 times)"]
    office.source.fault = None
    office.later(15)
    assert office.work() == 0
    assert office.slack.titles[1:] == ["shop: recovered"]
    assert office.mail.inbox[-1].subject == "[Concord] alerts: recovered"
    assert office.is_quiet()


def test_row_56_what_piled_up_is_one_digest(office: Office) -> None:
    """Twelve causes that could not be told become one message, which names each of them."""
    office.slack.is_down = True
    incidents.report(office.world, [trouble(n) for n in range(12)])
    office.tell()
    office.slack.is_down = False
    office.later(1)
    office.tell()
    [title] = office.slack.titles
    assert title.endswith(": 12 messages")
    assert all(f"s{n}: does not answer" in office.slack.text for n in range(12))
    office.tell()
    assert len(office.slack.messages) == 1


def test_row_56_ten_messages_in_a_quarter_of_an_hour_then_one_digest(office: Office, monkeypatch: Any) -> None:
    """However the causes come in, one place gets ten messages and a digest in fifteen minutes."""
    monkeypatch.setattr(Slack, "limits", Limits((), 1))
    for number in range(25):
        incidents.report(office.world, [trouble(number)])
        alerts.send_alerts(office.world)
    assert len(office.slack.messages) == 11
    office.later(15)
    office.tell()
    assert office.slack.titles[-1].endswith(": 14 messages")


def test_row_56_slack_asks_to_slow_down(office: Office) -> None:
    """`Retry-After` is kept to, whatever it says: a short one is waited for, a long one leaves the message to mail."""
    office.slack.refusals = [Said(429, b"", {"Retry-After": "2"})]
    incidents.report(office.world, [trouble(1)])
    assert office.tell() == 1
    refused, taken = office.slack.asked_at
    assert taken - refused >= 2
    assert office.mail.inbox == []

    office.slack.refusals = [Said(429, b"", {"Retry-After": "86400"})]
    incidents.report(office.world, [trouble(2)])
    office.tell()
    office.tell()
    assert len(office.slack.asked_at) == 3
    [got] = office.mail.inbox
    assert got.subject == "[Concord] s2: does not answer"
    [waits] = office.rows("select due_at - now() as wait from ops.alert_outbox where state = 'ready'")
    assert 800 < waits["wait"].total_seconds() <= 900, "a day is taken as a quarter of an hour"


@pytest.mark.parametrize("is_down", [False, True], ids=["Slack", "mail"])
def test_row_56_nothing_in_a_text_calls_anybody_or_becomes_a_link(office: Office, is_down: bool) -> None:
    """Calls, links and control characters arrive as text, and 50 kB as what a message may hold."""
    nasty = f"<!channel> <@U1> <https://evil.example|login> \x00\u202e\r\nBcc: x@y.z {'x' * 50_000}"
    office.slack.is_down = is_down
    incidents.report(office.world, [trouble(1, cause=nasty, unaffected="<!here> & co")])
    office.tell()
    if is_down:
        [got] = office.mail.inbox
        whole = f"{got.subject}\n{got.body}"
        assert got.message["bcc"] is None
        assert not any(found in whole for found in ("https://", "\x00", "\u202e"))
    else:
        whole = office.slack.text
        assert "&lt;https://evil.example|login&gt;" in whole
    assert len(whole) < 10_000
    assert not any(found in whole for found in ("<!", "<@"))


@pytest.mark.faults
def test_row_56_both_are_down(office: Office) -> None:
    """Nothing is lost and nobody waits: the watch says so itself, and stops calling the heartbeat."""
    assert office.work() == 0
    assert office.look().heartbeat == "called"
    office.slack.is_down, office.mail.refuse = True, {"MAIL": "451 later"}
    office.refuses_us()
    assert office.work() == 1
    office.later(16)
    found = office.look()
    assert {cause.key for cause in found.causes} >= {"messenger:alerts", "messenger:post"}
    assert found.heartbeat == "not called: something is wrong"
    assert office.slack.beats == 1
    office.slack.is_down, office.mail.refuse, office.source.fault = False, {}, None
    office.later(16)
    assert office.work() == 0
    office.look()
    assert "shop: recovered" in office.slack.titles
    office.later(16)
    assert office.work() == 0
    found = office.look()
    assert found.heartbeat == "called", found
    assert office.rows("select from ops.alert_outbox where state = 'ready'") == []
    assert office.is_quiet()


def test_row_56_the_data_is_there_before_anybody_is_told(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A messenger that hangs is asked when the work is done, and is left alone after its deadline."""
    monkeypatch.setattr("connectors.slack.connector._DEADLINE_SECONDS", 0.5)
    incidents.report(office.world, [trouble(1)])
    held: list[int] = []

    def hang(_: Any) -> None:
        held.append(len(office.names()))
        time.sleep(1.5)

    office.slack.on_message = hang
    assert office.work() == 0
    assert held == [3]
    assert [got.subject for got in office.mail.inbox] == ["[Concord] s1: does not answer"]


def test_row_56_an_alert_is_sent_only_when_its_row_is_committed(office: Office) -> None:
    """Whoever gets a message finds its incident in the database: another connection sees both rows."""
    seen: list[bool] = []

    def look(message: dict[str, Any]) -> None:
        title = message["blocks"][0]["text"]["text"]
        with engine("app").connect() as other:
            found = other.execute(
                sa.text(
                    "select 1 from ops.alert_outbox a join ops.incident i on i.id = a.incident_id where title = :title"
                ),
                {"title": title},
            )
            seen.append(found.first() is not None)

    office.slack.on_message = look
    office.refuses_us()
    assert office.work() == 1
    assert seen == [True]
    with office.world.all_or_nothing():
        incidents.report(office.world, [trouble(7)])
        assert office.tell() == 0, "not before it is committed"
    assert office.tell() == 1
    assert seen == [True, True]


class Killed(BaseException):
    """As if the process had ended here."""


def test_row_56_killed_between_sending_and_keeping_it_in_mind(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is sent again by whoever comes next: twice at worst, never not at all."""

    def die(*_: Any) -> None:
        raise Killed

    incidents.report(office.world, [trouble(1)])
    with monkeypatch.context() as patched:
        patched.setattr(store, "settle_sent", die)
        with pytest.raises(Killed):
            office.tell()
    assert office.tell() == 1
    assert office.slack.titles == ["s1: does not answer"] * 2
    assert office.tell() == 0


def test_row_56_two_senders_tell_everything_once(office: Office) -> None:
    """Syncs that end at the same time share the messages: each goes out once, in order."""
    from concurrent.futures import ThreadPoolExecutor

    incidents.report(office.world, [trouble(n) for n in range(5)])
    with ThreadPoolExecutor(3) as pool:
        sent = list(pool.map(lambda _: alerts.send_alerts(office.world), range(3)))
    assert sum(sent) == 5
    assert office.slack.titles == [f"s{n}: does not answer" for n in range(5)]
    gaps = [after - before for before, after in zip(office.slack.asked_at, office.slack.asked_at[1:], strict=False)]
    assert min(gaps) > 0.9, "about one message a second"


# --------------------------------------------------------------------------------------------- 57: nobody runs anything


def concord(office: Office, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
    """`concord` in a process of its own that no Prefect started, as cron does it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return subprocess.run(
        [sys.executable, "-m", "apps.cli", "--landscape", str(office.folder), *arguments],
        cwd=TOP, env={**environment, **changed}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.faults
def test_row_57_everything_is_silent(office: Office) -> None:
    """Ten minutes after the last of the runs that are due every five, a process of cron's tells Slack and exits 1."""
    assert office.work() == 0
    assert office.look().heartbeat == "called"

    office.later(10)  # nobody runs anything
    dead = concord(office, "watch", "--once", "--json")
    assert dead.returncode == 1, dead.stderr
    found = json.loads(dead.stdout)
    assert [cause["kind"] for cause in found["causes"]] == ["Silent"]
    assert found["heartbeat"] == "not called: something is wrong"
    assert [title.partition(": ")[2] for title in office.slack.titles] == ["nothing runs"]
    assert "concord serve" in office.slack.text
    office.look()
    assert (len(office.slack.messages), office.slack.beats) == (1, 1), "told once, and no heartbeat"

    assert office.work() == 0
    office.later(2)  # less than half of the five minutes: whatever time it is, no run is missed yet
    assert run(["--landscape", str(office.folder), "watch", "--once"]) == 0
    assert office.slack.beats == 2
    assert office.is_quiet()


NOWHERE = {"CONCORD_DATABASE_URL": "postgresql://concord_app:pw-canary@127.0.0.1:9/concord"}


def test_row_57_the_database_is_away(office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No incident can be opened there: the messenger is told directly, once, and its end when the database is back."""
    monkeypatch.setenv("CONCORD_HOME", str(tmp_path))
    away = DatabaseUnavailable("cannot reach the database 127.0.0.1:9/concord")
    assert without_ledger.tell_trouble(office.world.landscape, away)
    assert not without_ledger.tell_trouble(office.world.landscape, away), "not twice in a quarter of an hour"
    assert not without_ledger.tell_trouble(office.world.landscape, ValueError("canary")), "another trouble"
    assert [title.partition(": ")[2] for title in office.slack.titles] == ["our database cannot be used"]
    assert "concord db status" in office.slack.text

    assert office.work() == 0
    [row] = office.rows("select state, kind from ops.incident")
    assert (row["state"], row["kind"]) == ("recovered", "DatabaseAway")
    office.later(15)
    office.tell()
    assert office.slack.titles[-1].endswith(": recovered")
    assert office.is_quiet()


@pytest.mark.faults
def test_row_57_a_process_of_crons_finds_no_database(office: Office, tmp_path: Path) -> None:
    """`concord watch --once` tells the messenger itself and ends with 4; the address is told without its password."""
    for _ in range(2):
        away = concord(office, "watch", "--once", CONCORD_HOME=str(tmp_path), **NOWHERE)
        assert away.returncode == 4, away.stdout + away.stderr
    assert [title.partition(": ")[2] for title in office.slack.titles] == ["our database cannot be used"]
    assert "pw-canary" not in office.slack.text + away.stdout + away.stderr
    assert office.slack.beats == 0


@pytest.mark.faults
def test_row_57_both_messengers_and_the_database_are_away(office: Office, tmp_path: Path) -> None:
    """What remains is the exit code and the heartbeat that does not come."""
    office.slack.is_down, office.mail.refuse = True, {"MAIL": "451 later"}
    away = concord(office, "watch", "--once", CONCORD_HOME=str(tmp_path), **NOWHERE)
    assert (away.returncode, office.slack.beats) == (4, 0)
    assert "Traceback" not in away.stderr


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_row_57_everything_is_silent_in_real_time(office: Office) -> None:
    """A landscape due every minute: `concord watch` beside it tells Slack within two minutes of the last run."""
    file = office.folder / "landscape.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("*/5 * * * *", "* * * * *"), encoding="utf-8")
    watching = None
    try:
        assert office.work() == 0
        began = time.monotonic()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        watching = subprocess.Popen(
            [sys.executable, "-m", "apps.cli", "--landscape", str(office.folder), "watch", "--every", "5"],
            cwd=TOP, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while not office.slack.messages and time.monotonic() - began < 150:
            time.sleep(0.5)
        assert "nothing runs" in office.slack.titles[0]
        assert time.monotonic() - began <= 120
        assert psutil.pid_exists(watching.pid)
    finally:
        file.write_text(text, encoding="utf-8")
        if watching is not None:
            watching.terminate()
            watching.wait(20)


def test_the_fixture_asks_slack_where_it_is(office: Office) -> None:
    assert office.slack.url + HOOK == os.environ["OFFICE_SLACK"]
    assert run(["--landscape", str(office.folder), "systems", "check"]) == 0
