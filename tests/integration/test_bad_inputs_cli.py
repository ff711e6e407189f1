"""Bad inputs 80 to 89: what people type wrong, or at the wrong moment, ends with a plain line and an exit code."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from apps import exits
from staging import locks, runs
from staging.engine import dispose, engine, transaction
from tasks import sync as syncs
from tests.fixtures.badsource import Reply
from tests.fixtures.desk import DeskBench
from tests.fixtures.said import Concord, speaker

TOP = Path(__file__).resolve().parents[2]
BY = ("--by", "boss", "--reason", "as agreed")


@pytest.fixture
def concord(desk: DeskBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Concord:
    monkeypatch.setenv("CONCORD_APPROVAL_CODE", "correct horse")
    return speaker(capsys)


@pytest.fixture
def letter(desk: DeskBench) -> int:
    """A refused write."""
    desk.source.refuses = lambda body: ("name", "no such name") if body.get("name") == "Bad Ltd" else None
    desk.source.tick(minutes=1)
    desk.source.put("r01", name="Bad Ltd")
    desk.sync()
    return int(desk.rows("select id from ops.dead_letter")[0]["id"])


def process(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """`concord` as a process of its own, in no terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "apps.cli", *arguments],
        cwd=TOP, env=dict(os.environ), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("hold list", "holds"),
        ("holds lst", "list"),
        ("holds list --systm books", "--system"),
        ("dead-letters replay --al-open", "--all-open"),
        ("queues exprt meeting.xlsx", "export"),
        ("dead-letters list --limit 0", "--limit"),
        ("holds approve seven --by boss --reason known", "ID"),
    ],
)
def test_80_an_unknown_command_or_option_is_2_with_a_hint(typed: str, hint: str, concord: Concord) -> None:
    said = concord(*typed.split())
    assert said.code == exits.REFUSED
    assert hint in said.err
    assert "--help" in said.err


@pytest.mark.parametrize(
    "typed",
    [
        "systems check boks", "sync --record boks/entries/1 --without-prefect", "dead-letters list --system boks",
        "quarantine replay --system boks --dry-run", "pause boks --because maintenance --by boss",
        "sync boks --without-prefect",
    ],
)  # fmt: skip
def test_81_an_unknown_system_is_2(typed: str, concord: Concord) -> None:
    said = concord(*typed.split())
    assert said.code == exits.REFUSED
    assert "boks" in said.err


def test_82_a_second_run_of_the_same_lane_is_3_and_says_who_runs(desk: DeskBench, concord: Concord) -> None:
    sync_id = syncs.begin(desk.world, "bookings-to-books", "incremental", started_by="ada@office")
    try:
        with locks.lane(desk.world.engine, "sync:bookings-to-books"):
            said = concord("sync", "bookings-to-books", "--without-prefect")
        assert said.code == exits.BUSY
        assert "running since" in said.err
        assert "by ada@office" in said.err
    finally:
        with transaction(engine("app")) as conn:
            runs.end_sync(conn, sync_id, "failed", error="ended by the test")


def test_83_a_replay_of_a_resolved_letter_is_0(desk: DeskBench, concord: Concord, letter: int) -> None:
    assert concord("dead-letters", "close", str(letter), *BY, "--yes").code == exits.DONE
    before = desk.rows("select count(*) as n from ops.outbox")
    said = concord("dead-letters", "replay", str(letter), *BY, "--yes")
    assert (said.code, "nothing to do" in said.err, "by boss" in said.err) == (exits.DONE, True, True)
    assert desk.rows("select count(*) as n from ops.outbox") == before
    unknown = concord("dead-letters", "replay", "4711", *BY, "--yes")
    assert (unknown.code, "no dead letter 4711" in unknown.err) == (exits.REFUSED, True)


@pytest.mark.parametrize("queue", ["holds", "reviews", "quarantine", "dead-letters", "findings", "queues"])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--since 2999", "--since"),
        ("--since 2999-01-01", "future"),
        ("--since 1900-01-01", "after 2000"),
        ("--since yesterday", "2026-08-01"),
        ("--since 1h --until 2h", "after --since 1h"),
        ("--until 2026-01-01 --since 2026-02-01", "after --since 2026-02-01"),
    ],
)
def test_84_a_time_that_cannot_be_meant_is_2(queue: str, options: str, says: str, capsys: Any) -> None:
    said = speaker(capsys)(queue, "list", *options.split())
    assert said.code == exits.REFUSED
    assert says in said.err


def test_85_a_database_that_is_not_there_is_4(concord: Concord, monkeypatch: pytest.MonkeyPatch) -> None:
    url = sa.make_url(os.environ["CONCORD_DATABASE_URL"]).set(database="nobody_made_it")
    monkeypatch.setenv("CONCORD_DATABASE_URL", url.render_as_string(hide_password=False))
    dispose()
    said = concord("holds", "list")
    assert said.code == exits.DATABASE
    assert "nobody_made_it" in said.err


def test_85_a_newer_schema_is_4(desk: DeskBench, concord: Concord) -> None:
    with transaction(engine("owner")) as conn:
        conn.execute(sa.text("update ops.schema_version set version_num = '9999'"))
    said = concord("queues", "list")
    assert said.code == exits.DATABASE
    assert "newer Concord" in said.err


def test_85_a_database_that_takes_no_writes_is_4(desk: DeskBench, concord: Concord, letter: int) -> None:
    with engine("owner").connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        name = conn.execute(sa.text("select current_database()")).scalar_one()
        conn.execute(sa.text(f'alter database "{name}" set default_transaction_read_only = on'))
    dispose()
    assert concord("dead-letters", "list", "--json").json["total"] == 1, "looking is still possible"
    for command in (("dead-letters", "close", str(letter), *BY, "--yes"), ("sync", "--without-prefect")):
        said = concord(*command)
        assert said.code == exits.DATABASE, said.err
        assert "read-only" in said.err


def test_86_ctrl_c_is_130_and_leaves_no_lease(desk: DeskBench, concord: Concord) -> None:
    began: list[str] = []

    def slow(path: str, query: Any) -> Reply | None:
        began.append(path)
        time.sleep(1.5)
        return None

    desk.source.fault = slow
    running = process("sync", "--without-prefect")
    until = time.monotonic() + 60
    while not began and time.monotonic() < until and running.poll() is None:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=180)
    assert running.returncode == exits.INTERRUPTED, err
    assert "Traceback" not in err
    assert "the next run goes on from there" in err
    desk.source.fault = None
    again = concord("sync", "--without-prefect", "--json")
    assert (again.code, again.json["trouble"]) == (exits.DONE, []), again.err
    assert desk.agrees()


@pytest.mark.slow
def test_87_a_full_disk_is_an_error_and_leaves_no_half_file(desk: DeskBench, letter: int, tmp_path: Path) -> None:
    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    book = tmp_path / "meeting.xlsx"
    running = process("queues", "export", str(book), preexec_fn=small_disk)
    _, err = running.communicate(timeout=180)
    assert running.returncode == exits.OUTPUT, err
    assert "could not be written" in err
    assert [p.name for p in tmp_path.iterdir() if "landscape" not in p.name] == []
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "apps.cli", "dead-letters", "list", "--json"],
            cwd=TOP, stdout=full, stderr=subprocess.PIPE, text=True, timeout=180, check=False,
        )  # fmt: skip
    assert ended.returncode == exits.OUTPUT
    assert "Traceback" not in ended.stderr


def test_87_a_reader_that_goes_away_is_no_traceback(desk: DeskBench, letter: int) -> None:
    running = process("dead-letters", "list", "--json")
    assert running.stdout is not None
    running.stdout.close()
    assert running.stderr is not None
    with running.stderr:
        err = running.stderr.read()
    assert running.wait(timeout=180) == exits.OUTPUT
    assert "Traceback" not in err


DECISIONS = (
    "holds approve 1", "holds reject 1", "holds override bookings-to-books --until 2h", "dead-letters close {letter}",
    "dead-letters replay {letter}", "dead-letters replay --all-open", "quarantine replay --all-open",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("typed", DECISIONS)
def test_88_nothing_is_decided_where_nobody_can_confirm(
    typed: str, desk: DeskBench, concord: Concord, letter: int
) -> None:
    desk.source.tick(minutes=1)
    desk.source.put("r05", email="no address")
    for number in range(10, 30):
        desk.source.put(f"r{number}", name=f"Renamed {number} Ltd")
    desk.sync()
    before = _state(desk)
    said = concord(*typed.format(letter=letter).split(), *BY)
    assert said.code == exits.REFUSED
    assert "add --yes" in said.err
    assert _state(desk) == before


def _state(desk: DeskBench) -> list[dict[str, Any]]:
    """Everything that a decision could change, as digests."""
    tables = ("hold", "dead_letter", "quarantine", "approval", "override", "outbox")
    digest = "select '{0}' as t, md5(string_agg(q::text, '' order by id)) as d from ops.{0} q"
    return desk.rows(" union all ".join(digest.format(table) for table in tables))


@pytest.mark.parametrize(
    "typed",
    [
        "holds approve 1 --by boss --reason known --code correct-horse",
        "holds approve 1 --by boss --reason known --personal-code=correct-horse",
        "queues import meeting.xlsx --by boss --password correct-horse",
        "holds list --token=xoxb-correct-horse",
        "status --landscape postgresql://me:correct-horse@db/concord",
    ],
)
def test_89_a_secret_on_the_command_line_is_refused_and_not_repeated(typed: str, capsys: Any) -> None:
    said = speaker(capsys)(*typed.split())
    assert said.code == exits.REFUSED
    assert "correct" not in said.err + said.out
    assert "CONCORD_APPROVAL_CODE" in said.err
