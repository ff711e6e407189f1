"""Retention: what is over and old goes; what is live, open or counted stays, and every sum holds afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from canonical.problems import Refused
from canonical.retention import DAY, KINDS, periods
from staging import audit, ledger, retention
from staging.engine import transaction
from tasks.landscape import load
from tasks.retention import Removed, retain
from tasks.undo import plan_undo
from tests.fixtures.badsource import BadSource, landscape, page, record
from tests.fixtures.bench import Bench
from tests.fixtures.database import TestDatabase
from tests.fixtures.said import speaker

pytestmark = pytest.mark.slow

TIMES = {
    "landing.extract_run": ("started_at", "ended_at"),
    "ops.outbox": ("settled_at", "created_at"),
    "golden.history": ("at",),
    "ops.finding": ("opened_at", "closed_at"),
    "ops.review": ("opened_at", "closed_at"),
    "ops.quarantine": ("opened_at", "closed_at"),
    "ops.dead_letter": ("opened_at", "closed_at"),
    "ops.saved_plan": ("made_at",),
    "ops.incident": ("opened_at", "closed_at", "last_seen_at"),
    "ops.alert_outbox": ("created_at",),
}


def age(database: TestDatabase, days: int) -> None:
    """Everything happened so many days earlier."""
    with transaction(database.owner_engine) as conn:
        for table, columns in TIMES.items():
            sets = ", ".join(f"{c} = {c} - interval '{days} days'" for c in columns)
            conn.exec_driver_sql(f"update {table} set {sets}")


@pytest.fixture
def bench(database: TestDatabase, tmp_path: Path) -> Iterator[Bench]:
    """A record with three versions, and one with one."""
    with BadSource() as source:
        made = Bench(source, tmp_path / "landscape", database)
        for number in range(3):
            mark = f"2026-0{number + 1}-01T00:00:00Z"
            source.pages = [page(record(id="one", name=f"Name {number}", updated_at=mark), record(id="two"))]
            made.sync()
        yield made


def fill_queues(bench: Bench) -> None:
    statements = [
        "insert into ops.finding (kind, entity, system, stream, source_id, ours, action, because, state, closed_at,"
        " closed_by, closed_because) values ('difference', 'booking', 'books', 'entries', 'L1', 'x', 'report', 'b',"
        " 'corrected', now(), 'concord', 'put right'), ('difference', 'booking', 'books', 'entries', 'L2', 'x',"
        " 'report', 'b', 'open', null, null, null)",
        "insert into ops.review (entity, system, stream, source_id, other, because, state, closed_at, answered_by,"
        " answer_reason, verdict) values"
        " ('booking', 's', 't', '1', 'o', 'b', 'withdrawn', now(), 'concord', 'r', null),"
        " ('booking', 's', 't', '2', 'o', 'b', 'answered', now(), 'head', 'r', 'separate'),"
        " ('booking', 's', 't', '3', 'o', 'b', 'open', null, null, null, null)",
        "insert into ops.saved_plan (name, mode, declaration, digest, writes, golden_versions, reviews, targets,"
        " made_by, state) values ('all', 'full', 'd', 'd', 0, 0, 0, '[]', 'head', 'open')",
        "insert into ops.incident (key, kind, cause, state, closed_at) values ('a', 'x', 'c', 'recovered', now()),"
        " ('b', 'x', 'c', 'open', null)",
    ]
    with bench.world.transaction() as conn:
        for statement in statements:
            conn.execute(sa.text(statement))


def rows_of(found: list[Removed]) -> dict[str, int]:
    done: dict[str, int] = {}
    for one in found:
        done[one.table] = done.get(one.table, 0) + one.rows
    return {table: rows for table, rows in done.items() if rows}


def agrees(bench: Bench) -> None:
    with bench.world.transaction() as conn:
        assert [check for check in ledger.verify(conn) if not check.ok] == []
        assert audit.verify(conn).broken is None


def test_nothing_goes_before_its_time(bench: Bench, database: TestDatabase) -> None:
    fill_queues(bench)
    assert rows_of(retain(bench.world, by="head", is_done=True)) == {}
    age(database, min(kept.days for kept in KINDS.values()) - 1)
    assert rows_of(retain(bench.world, by="head", is_done=True)) == {}
    assert bench.rows("select from ops.audit where action = 'retention.done'") == []


def test_what_is_old_goes_and_what_is_live_stays(bench: Bench, database: TestDatabase) -> None:
    fill_queues(bench)
    age(database, 2_000)
    shown = retain(bench.world, by="head", is_done=False)
    done = retain(bench.world, by="head", is_done=True)
    assert rows_of(shown) == rows_of(done)
    assert rows_of(done)["landing.raw_record"] >= 2
    kept = bench.rows(
        "select r.source_id, v.payload from landing.record r join landing.raw_record v on v.id = r.raw_id"
        " where r.system = 'shop' order by 1"
    )
    assert ["Name 2" in kept[0]["payload"], "Acme Ltd" in kept[1]["payload"]] == [True, True]
    old = bench.rows("select string_agg(payload, '') as told from landing.raw_record")[0]["told"]
    assert "Name 0" not in old
    assert "Name 1" not in old
    assert bench.rows("select distinct payload::text as p from ops.outbox") == [{"p": "{}"}]
    told = "select h.version from golden.history h join ops.crosswalk c using (canonical_id) where c.source_id = 'one'"
    assert bench.rows(f"{told} and h.changes::text <> '[]'") == [{"version": 3}]
    assert [r["state"] for r in bench.rows("select state from ops.finding")] == ["open"]
    assert {r["state"] for r in bench.rows("select state from ops.review")} == {"answered", "open"}
    assert [r["state"] for r in bench.rows("select state from ops.incident")] == ["open"]
    assert bench.rows("select from ops.saved_plan") == []
    agrees(bench)
    (told,) = bench.rows("select actor, detail from ops.audit where action = 'retention.done'")
    assert told["detail"]["rows"] == rows_of(done)


def test_a_second_time_finds_nothing_and_a_sync_writes_nothing(bench: Bench, database: TestDatabase) -> None:
    age(database, 2_000)
    retain(bench.world, by="head", is_done=True)
    assert rows_of(retain(bench.world, by="head", is_done=True)) == {}
    assert bench.sync().target_writes == 0
    agrees(bench)


def test_many_rows_go_in_batches(bench: Bench, database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    age(database, 2_000)
    found = rows_of(retain(bench.world, by="head", is_done=True))
    assert found["ops.outbox"] >= 4
    agrees(bench)


def test_an_open_dead_letter_keeps_its_write(bench: Bench, database: TestDatabase) -> None:
    with bench.world.transaction() as conn:
        conn.execute(sa.text("update ops.outbox set state = 'rejected' where id = 1"))
        conn.execute(
            sa.text("insert into ops.dead_letter (outbox_id, system, stream, reason, state)"
                    " values (1, 'books', 'entries', 'no', 'open')")
        )  # fmt: skip
    age(database, 2_000)
    retain(bench.world, by="head", is_done=True)
    held = bench.rows("select id from ops.outbox where payload::text <> '{}'")
    assert held == [{"id": 1}]
    assert bench.rows("select count(*) as n from ops.attempt where outbox_id = 1 and salt is not null") == [{"n": 1}]


def test_a_batch_can_still_be_proved_by_its_shares(bench: Bench, database: TestDatabase) -> None:
    age(database, 2_000)
    retain(bench.world, by="head", is_done=True)
    for row in bench.rows("select detail from ops.audit where action = 'batch.sent'"):
        leaves = bench.rows("select leaf from ops.attempt where batch = :b", b=row["detail"]["batch"])
        assert audit.over([r["leaf"] for r in leaves]) == row["detail"]["digest"]


def test_undo_says_that_it_is_too_late(bench: Bench, database: TestDatabase) -> None:
    (last,) = bench.rows("select max(sync_id) as id from ops.outbox where op = 'update'")
    assert plan_undo(bench.world, last["id"]).writes
    age(database, 2_000)
    retain(bench.world, by="head", is_done=True)
    plan = plan_undo(bench.world, last["id"])
    assert plan.writes == []
    assert {k.because for k in plan.kept} == {"what it changed is not kept any more"}


def test_periods_are_declared(tmp_path: Path) -> None:
    folder = landscape(tmp_path / "land", "http://127.0.0.1:9")
    main = folder / "landscape.yaml"
    text = main.read_text()
    assert periods(load(folder).retention) == {kind: kept.days * DAY for kind, kept in KINDS.items()}
    main.write_text(text + "retention: {landed: 30d, history: 3650d}\n")
    assert periods(load(folder).retention) == {
        **{kind: kept.days * DAY for kind, kept in KINDS.items()}, "landed": 30 * DAY, "history": 3650 * DAY,
    }  # fmt: skip


WRONG: dict[str, tuple[str, str]] = {
    "an unknown kind": ("{landing: 30d}", "Did you mean landed?"),
    "no duration": ("{landed: soon}", "a duration such as"),
    "shorter than undo needs": ("{writes: 2d}", "at least 7d"),
    "nothing": ("{landed: 0d}", "a duration such as"),
}


@pytest.mark.parametrize(("declared", "says"), WRONG.values(), ids=WRONG)
def test_wrong_periods_are_refused(tmp_path: Path, declared: str, says: str) -> None:
    folder = landscape(tmp_path / "land", "http://127.0.0.1:9")
    main = folder / "landscape.yaml"
    main.write_text(main.read_text() + f"retention: {declared}\n")
    with pytest.raises(Refused) as refused:
        load(folder)
    assert says in " ".join(map(str, refused.value.problems))


def test_by_hand(
    bench: Bench, database: TestDatabase, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCORD_LANDSCAPE", str(bench.folder))
    concord = speaker(capsys)
    age(database, 2_000)
    shown: Any = concord("retention", "--dry-run", "--json").json
    assert shown["rows"] > 0
    assert not shown["is_done"]
    done = concord("retention")
    assert done.code == 0
    assert "emptied" in done.out
    assert concord("retention", "--dry-run", "--json").json["rows"] == 0
