"""Fault matrix rows 11, 13 to 17: our own database stops, gives way, is locked, full, shut, or a day old."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from expectations import run as gate
from staging import engine as ways
from staging import ledger
from staging.embedded import EmbeddedServer, admin_connection
from staging.engine import transaction
from staging.postgres_account import locate_programs
from staging.trouble import as_trouble
from tasks import part, stage
from tasks.backup import backup, restore
from tasks.sync import Summary
from tests.fixtures.badsource import BadSource, page, record
from tests.fixtures.bench import Bench
from tests.fixtures.database import TestDatabase
from tests.fixtures.mainjob import MainJob
from tests.fixtures.outside import disagreeing, is_quiet
from tests.fixtures.said import Concord, speaker

from .conftest import end_state, plant_work

NAMES = [f"Number {n}" for n in range(12)]
RESUMES_SECONDS = 120


def sold(count: int = len(NAMES), **changed: Any) -> list[bytes]:
    return [record(id=f"b-{n}", name=NAMES[n], **changed) for n in range(count)]


@pytest.fixture
def source() -> Iterator[BadSource]:
    with BadSource() as made:
        yield made


@pytest.fixture
def bench(source: BadSource, database: TestDatabase, tmp_path: Path) -> Bench:
    source.pages = [page(*sold()[:6], after=1), page(*sold()[6:])]
    return Bench(source, tmp_path / "landscape", database)


def is_whole(bench: Bench) -> None:
    """Every booking stands in the books once, the sums agree, and a further sync writes nothing."""
    assert sorted(r["name"] for r in bench.source.ledger.values()) == sorted(NAMES)
    with bench.world.transaction() as conn:
        assert [check for check in ledger.verify(conn) if not check.ok] == []
        assert conn.execute(sa.text("select count(*) from ops.outbox where state <> 'delivered'")).scalar() == 0
    written = writes(bench)
    assert bench.sync().target_writes == 0
    assert writes(bench) == written


def writes(bench: Bench) -> int:
    return sum(not r.startswith("GET") for r in bench.source.requests)


def when(source: BadSource, request: str, number: int, act: Callable[[], None]) -> None:
    """Does something the moment the source is asked this for the so-manieth time, before it answers."""
    answer, seen = source.answer, [0]

    def answered(method: str, target: str, body: bytes) -> Any:
        if f"{method} {target}".startswith(request):
            seen[0] += 1
            if seen[0] == number:
                act()
        return answer(method, target, body)

    source.answer = answered  # type: ignore[method-assign]


MOMENTS = {
    "while it is read": ("GET /bookings", 2),
    "while the first write is sent": ("POST /ledger", 1),
    "while a later one is sent": ("POST /ledger", 7),
}


# ------------------------------------------------------------------------------------------------ 11: stopped, started


@pytest.mark.faults
@pytest.mark.parametrize(("request_", "number"), MOMENTS.values(), ids=MOMENTS)
def test_row_11_the_database_stops_as_if_without_power_and_starts(
    bench: Bench, source: BadSource, embedded_server: EmbeddedServer, request_: str, number: int
) -> None:
    """The same run goes on by itself once the database answers; nothing is lost and nothing is sent twice."""

    def stop() -> None:
        embedded_server.stop(mode="immediate")
        threading.Timer(1.0, embedded_server.start).start()

    when(source, request_, number, stop)
    began = time.monotonic()
    summary = bench.sync()
    assert time.monotonic() - began < RESUMES_SECONDS
    assert summary.trouble == []
    assert len([r for r in source.requests if r.startswith("POST")]) == len(NAMES)
    is_whole(bench)


@pytest.mark.faults
def test_row_11_an_answer_that_comes_while_the_database_is_away_is_kept(
    bench: Bench, source: BadSource, embedded_server: EmbeddedServer
) -> None:
    """After a second everything around the next request, its system's health and rate, is looked up in the database
    anew: what was answered before waits for it, and is stored."""

    def stop() -> None:
        embedded_server.stop(mode="immediate")
        threading.Timer(3.0, embedded_server.start).start()
        time.sleep(1.2)

    when(source, "POST /ledger", 2, stop)
    assert bench.sync().trouble == []
    assert len([r for r in source.requests if r.startswith("POST")]) == len(NAMES)
    is_whole(bench)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("room", "before", "is_away"),
    [(gate, "_run_suite", True), (part, "run_batch", False), (stage, "_rewrites_too_much", False)],
    ids=["while it judges, and stays away", "before it judges", "between judging and merging"],
)
def test_row_11_the_database_stops_at_the_gate(
    bench: Bench,
    embedded_server: EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
    room: ModuleType,
    before: str,
    is_away: bool,
) -> None:
    """Great Expectations has connections of its own, and a stop empties the tables of candidates, which are not logged,
    also between two transactions, when nobody notices. None of it is a verdict: the batch is made and judged again."""
    go_on, stops = getattr(room, before), []

    def stopped(*given: Any, **more: Any) -> Any:
        if not stops:
            stops.append(1)
            embedded_server.stop(mode="immediate")
            if is_away:
                threading.Timer(4.0, embedded_server.start).start()
            else:
                embedded_server.start()
        return go_on(*given, **more)

    monkeypatch.setattr(room, before, stopped)
    assert bench.sync().trouble == []
    with bench.world.transaction() as conn:
        batches = conn.execute(sa.text("select state, passed from ops.batch where system = 'shop' order by id")).all()
    assert batches == [("abandoned", 0), ("passed", len(NAMES))]
    is_whole(bench)


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_row_11_the_database_stops_again_and_again_under_the_whole_job(
    main_job: MainJob, embedded_server: EmbeddedServer
) -> None:
    """Every sync ends, at the latest the one after, and the systems hold what they would without the stops.

    They come later each time: a machine at a fraction of its speed must get through a step in between."""
    plant_work(main_job)
    stop = threading.Event()

    def hurt() -> None:
        pause = 5.0
        while not stop.wait(pause := pause + 1.0):
            embedded_server.stop(mode="immediate")
            embedded_server.start()

    hurting = threading.Thread(target=hurt)
    hurting.start()
    try:
        first = until_it_ends(main_job)
    finally:
        stop.set()
        hurting.join()
    assert first.trouble == [] or main_job.sync().trouble == []
    assert disagreeing() == []
    assert is_quiet(main_job)


def until_it_ends(job: MainJob) -> Summary:
    """A sync, begun again where it could not even be opened."""
    for _ in range(10):
        try:
            return job.sync()
        except (sa.exc.DBAPIError, psycopg.Error, ways.DatabaseUnavailable):
            time.sleep(2)
    raise AssertionError("no sync came to an end")


# ------------------------------------------------------------------------------- 13: sessions ended, rivals in the way


@pytest.mark.faults
@pytest.mark.parametrize(("request_", "number"), MOMENTS.values(), ids=MOMENTS)
def test_row_13_every_session_is_ended(
    bench: Bench, source: BadSource, database: TestDatabase, embedded_server: EmbeddedServer, request_: str, number: int
) -> None:
    """Whatever was begun is begun again as a whole; the run ends as if nothing had been."""
    when(source, request_, number, lambda: end_sessions(embedded_server, database.name))
    assert bench.sync().trouble == []
    is_whole(bench)


def end_sessions(server: EmbeddedServer, name: str) -> None:
    with admin_connection(server) as admin:
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and usename = 'concord_app'",
            [name],
        )


@contextmanager
def again_and_again(seconds: float, act: Callable[[], None]) -> Iterator[list[int]]:
    """Does something every so many seconds; gives how often."""
    stop, times = threading.Event(), [0]

    def run() -> None:
        while not stop.wait(seconds):
            act()
            times[0] += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield times
    finally:
        stop.set()
        thread.join()


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_row_13_sessions_are_ended_every_few_seconds_for_a_minute(
    main_job: MainJob, embedded_server: EmbeddedServer
) -> None:
    """Syncs go on between the ends of their sessions, and lose and double nothing."""
    plant_work(main_job)
    until = time.monotonic() + 60
    with again_and_again(3.0, lambda: end_sessions(embedded_server, main_job.database.name)) as times:
        while time.monotonic() < until:
            until_it_ends(main_job)
    assert times[0] >= 12
    assert main_job.sync().trouble == []
    assert disagreeing() == []
    assert is_quiet(main_job)


CODES = {"deadlock": "40P01", "serialization failure": "40001", "lock timeout": "55P03"}
TABLES = ("landing.raw_record", "staging.booking", "golden.history", "ops.outbox", "ops.attempt", "ops.crosswalk")


def refuse(database: TestDatabase, table: str, code: str, times: int) -> None:
    """The server refuses the next writes to a table so many times, as it does where another session is in the way."""
    with transaction(database.owner_engine) as conn:
        for statement in (
            "create sequence if not exists ops.refusals",
            "alter sequence ops.refusals restart",
            "grant select, usage on sequence ops.refusals to concord_app",
            "create or replace function ops.refuse() returns trigger language plpgsql as $$ begin"
            f" if nextval('ops.refusals') <= {times} then raise exception using message = 'somebody is in the way',"
            f" errcode = '{code}'; end if; return null; end $$",
            f"create or replace trigger refuse before insert or update on {table} for each statement"
            " execute function ops.refuse()",
        ):
            conn.exec_driver_sql(statement)


@pytest.mark.faults
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_row_13_a_rival_is_in_the_way_twice(bench: Bench, database: TestDatabase, table: str, code: str) -> None:
    """The whole unit of work is done again, and nothing of it twice."""
    refuse(database, table, code, times=2)
    assert bench.sync().trouble == []
    is_whole(bench)


@pytest.mark.faults
def test_row_13_a_rival_that_never_goes_away(bench: Bench, database: TestDatabase, source: BadSource) -> None:
    """The tries are few: the run ends with a plain reason, nothing is half done, and the next one does it all."""
    refuse(database, "ops.outbox", "40P01", times=10_000)
    with pytest.raises((sa.exc.DBAPIError, psycopg.Error)) as told:
        bench.sync()
    assert "others were in the way again and again" in str(as_trouble(told.value))
    tried = bench.rows("select last_value from ops.refusals")[0]["last_value"]
    assert 2 <= tried <= 12
    (row,) = bench.rows("select state, error from ops.sync")
    assert row["state"] == "failed"
    assert writes(bench) == 0
    with transaction(database.owner_engine) as conn:
        conn.exec_driver_sql("drop trigger refuse on ops.outbox")
    assert bench.sync().trouble == []
    is_whole(bench)


# ------------------------------------------------------------------------------------------- 14: somebody holds a lock


@contextmanager
def held(database: TestDatabase, table: str, seconds: float) -> Iterator[None]:
    """Another session holds a table, and then does nothing for so long."""
    holder = database.owner_engine.connect()
    holder.begin()
    holder.exec_driver_sql(f"lock table {table} in access exclusive mode")
    timer = threading.Timer(seconds, holder.close)
    timer.start()
    try:
        yield
    finally:
        timer.join()


HELD = {"landing.record": "record", "ops.outbox": "outbox", "ops.crosswalk": "crosswalk", "ops.audit": "audit"}


@pytest.mark.faults
@pytest.mark.parametrize("table", HELD, ids=HELD.values())
def test_row_14_another_session_holds_a_table(bench: Bench, database: TestDatabase, table: str) -> None:
    """It is waited for, and the work goes on."""
    with held(database, table, 1.5):
        assert bench.sync().trouble == []
    is_whole(bench)


@pytest.mark.faults
def test_row_14_a_session_holds_a_table_for_longer_than_a_lock_is_waited_for(
    source: BadSource, database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is given up and begun again, so that nobody is stuck behind a forgotten session for ever."""
    monkeypatch.setitem(ways.SESSION["app"], "lock_timeout", "400ms")
    source.pages = [page(*sold())]
    bench = Bench(source, tmp_path / "landscape", database)
    with held(database, "ops.outbox", 2.5):
        assert bench.sync().trouble == []
    is_whole(bench)


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_row_14_a_table_is_held_for_ten_seconds(bench: Bench, database: TestDatabase) -> None:
    """It is waited for, and the work goes on."""
    with held(database, "ops.outbox", 10.0):
        assert bench.sync().trouble == []
    is_whole(bench)


# ---------------------------------------------------------------------------------------------------- 15: no room left


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own; the test is skipped where none may be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_row_15_the_disk_under_a_table_is_full(
    bench: Bench, database: TestDatabase, embedded_server: EmbeddedServer, source: BadSource
) -> None:
    """The run stops with a plain reason and nothing half done; with room again the next one does it all."""
    folder = Path("/var/tmp") / f"concord-small-disk-{database.name}"
    with small_disk(folder, 2) as disk:
        account = locate_programs().account
        if account is not None:
            subprocess.run(["chown", str(account.pw_uid), str(disk)], check=True)
        admin = sa.create_engine(
            embedded_server.url("admin", database.name), isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool
        )
        with admin.connect() as conn:
            conn.exec_driver_sql(f"create tablespace small location '{disk}'")
            conn.exec_driver_sql("alter table landing.raw_record set tablespace small")
        ballast = disk / "ballast"
        try:
            fill(ballast)
            source.pages = [page(*sold(nick="x" * 20_000))]
            with pytest.raises((sa.exc.DBAPIError, psycopg.Error)) as told:
                bench.sync()
            assert "has no room left" in str(as_trouble(told.value))
            assert "No space left on device" in str(told.value)
            (row,) = bench.rows("select state from ops.sync")
            assert row["state"] == "failed"
            assert writes(bench) == 0
            assert bench.rows("select from landing.cursor") == []
            ballast.unlink()
            assert bench.sync().trouble == []
            is_whole(bench)
        finally:
            with admin.connect() as conn:
                conn.exec_driver_sql("alter table landing.raw_record set tablespace pg_default")
                conn.exec_driver_sql("drop tablespace small")
    folder.rmdir()


def fill(file: Path) -> None:
    """Writes until nothing more goes in."""
    with file.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(b"\0" * 4096)
        except OSError:
            return


@pytest.mark.parametrize(
    "table", ["ops.attempt", *(pytest.param(t, marks=pytest.mark.faults) for t in ("landing.raw_record", "ops.outbox"))]
)
def test_row_15_the_server_says_that_it_is_full(bench: Bench, database: TestDatabase, table: str) -> None:
    """It is not tried again and again; a write whose answer was not kept is looked up, not sent again."""
    refuse(database, table, "53100", times=10_000)
    with pytest.raises((sa.exc.DBAPIError, psycopg.Error)) as told:
        bench.sync()
    assert "has no room left" in str(as_trouble(told.value))
    assert bench.rows("select last_value from ops.refusals")[0]["last_value"] <= 3
    with transaction(database.owner_engine) as conn:
        conn.exec_driver_sql(f"drop trigger refuse on {table}")
    bench.sync()
    with bench.world.transaction() as conn:
        assert [check for check in ledger.verify(conn) if not check.ok] == []
    names = [r["name"] for r in bench.source.ledger.values()]
    assert len(names) == len(set(names)), "no booking stands there twice"


# --------------------------------------------------------------------------------------------- 16: not usable as it is


@pytest.fixture
def typed(bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Concord:
    monkeypatch.setenv("CONCORD_LANDSCAPE", str(bench.folder))
    return speaker(capsys)


COMMANDS = (("sync", "all", "--without-prefect"), ("status",), ("ledger", "verify"))


def read_only(database: TestDatabase, _: pytest.MonkeyPatch) -> None:
    with transaction(database.owner_engine) as conn:
        conn.exec_driver_sql(f'alter database "{database.name}" set default_transaction_read_only = on')


def wrong_password(database: TestDatabase, patch: pytest.MonkeyPatch) -> None:
    url = database.app_url.set(password="not it")
    patch.setenv("CONCORD_DATABASE_URL", url.render_as_string(hide_password=False))


def no_server(database: TestDatabase, patch: pytest.MonkeyPatch) -> None:
    url = database.app_url.set(port=9)
    patch.setenv("CONCORD_DATABASE_URL", url.render_as_string(hide_password=False))


def no_version(database: TestDatabase, _: pytest.MonkeyPatch) -> None:
    with transaction(database.owner_engine) as conn:
        conn.exec_driver_sql("delete from ops.schema_version")


def half_migrated(database: TestDatabase, _: pytest.MonkeyPatch) -> None:
    with transaction(database.owner_engine) as conn:
        conn.exec_driver_sql("drop table ops.dirty")


def half_modelled(database: TestDatabase, _: pytest.MonkeyPatch) -> None:
    with transaction(database.owner_engine) as conn:
        conn.exec_driver_sql("drop table golden.booking")


STATES: dict[str, tuple[Callable[[TestDatabase, pytest.MonkeyPatch], None], str, int]] = {
    "read-only": (read_only, "read-only", 1),
    "wrong password": (wrong_password, "password authentication failed", 3),
    "no server": (no_server, "cannot reach", 3),
    "no version": (no_version, "db upgrade", 3),
    "half a migration": (half_migrated, "ops.dirty is not there", 3),
    "half a model": (half_modelled, "model", 3),
}


@pytest.mark.parametrize(("spoil", "says", "commands"), STATES.values(), ids=STATES)
def test_row_16_a_database_that_cannot_be_used_is_refused_plainly(
    bench: Bench,
    database: TestDatabase,
    typed: Concord,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[TestDatabase, pytest.MonkeyPatch], None],
    says: str,
    commands: int,
) -> None:
    """Nothing is begun: exit code 4, one plain sentence, no traceback and no password."""
    spoil(database, monkeypatch)
    ways.dispose()
    for command in COMMANDS[:commands]:
        said = typed(*command)
        assert said.code == 4, (command, said.out, said.err)
        assert says in said.err
        assert str(database.app_url.password) not in said.out + said.err
        assert "not it" not in said.out + said.err
    assert writes(bench) == 0
    assert bench.source.requests == []


# ------------------------------------------------------------------------------------------------ 17: a day-old backup


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_row_17_a_day_old_backup_is_restored(main_job: MainJob, tmp_path: Path) -> None:
    """What was made in the systems since is found there again: nothing is made twice, nothing is lost."""
    file = tmp_path / "yesterday.dump"
    backup(main_job.world, file, by="ellen")
    plant_work(main_job)
    assert main_job.sync().target_writes > 10
    assert main_job.sync().target_writes == 0
    expected = end_state(main_job)
    mark = main_job.mark()

    restore(main_job.world, file, by="ellen", reason="the disk died")
    main_job.reopen()
    main_job.sync()
    found = end_state(main_job)
    theirs = [place for place in expected if "/" in place]
    assert [(place, *found[place] - expected[place], *expected[place] - found[place]) for place in theirs
            if found[place] != expected[place]] == [], main_job.written_since(mark)  # fmt: skip
    assert disagreeing() == []
    assert is_quiet(main_job)
