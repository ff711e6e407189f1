"""Backup and restore: the whole database as one file, and back; nothing is made twice, nothing is lost (row 17)."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from staging import audit, backup, holds, ledger
from staging.engine import database_url, transaction
from tasks.backup import backup as back_up
from tasks.backup import restore
from tests.fixtures.badsource import BadSource, page, record
from tests.fixtures.bench import Bench
from tests.fixtures.database import TestDatabase
from tests.fixtures.said import speaker

pytestmark = pytest.mark.slow

LATER = "2026-02-01T00:00:00Z"


@pytest.fixture
def bench(database: TestDatabase, tmp_path: Path) -> Iterator[Bench]:
    """Two bookings delivered. The books carry no mark of ours, and nothing there matches a booking."""
    with BadSource() as source:
        made = Bench(source, tmp_path / "landscape", database)
        source.pages = [page(record(id="one", name="One"), record(id="two", name="Two"))]
        made.sync()
        yield made


def writes(bench: Bench) -> list[str]:
    return [r for r in bench.source.requests if r.split()[0] in ("POST", "PATCH")]


def agrees(bench: Bench) -> None:
    with bench.world.transaction() as conn:
        assert [check for check in ledger.verify(conn) if not check.ok] == []
        assert audit.verify(conn).broken is None


def test_what_was_made_after_the_backup_is_not_made_again(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "day.dump"
    back_up(bench.world, file, by="head")
    bench.source.pages = [
        page(record(id="one", name="One changed", updated_at=LATER), record(id="two", name="Two"),
             record(id="three", name="Three"), record(id="four", name="Four", price=b"4.00")),
    ]  # fmt: skip
    bench.sync()
    held, made = dict(bench.source.ledger), len(writes(bench))
    assert len(held) == 4

    done = restore(bench.world, file, by="head", reason="the disk died")
    assert done.resting == ["books/entries"]
    assert bench.rows("select count(*) as n from golden.booking where name in ('Three', 'Four')") == [{"n": 0}]
    summary = bench.sync("incremental")
    assert summary.trouble == []
    assert len(writes(bench)) == made, writes(bench)[made:]
    assert bench.source.ledger == held
    assert bench.rows("select count(*) as n from golden.booking") == [{"n": 4}]
    assert bench.rows("select count(*) as n from ops.crosswalk where ended_at is null and system = 'books'") == [
        {"n": 4}
    ]
    assert bench.rows("select from ops.finding where state = 'open'") == []
    agrees(bench)
    assert bench.sync("full").target_writes == 0
    assert len(writes(bench)) == made
    agrees(bench)


def test_what_came_after_the_restore_is_made(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "day.dump"
    back_up(bench.world, file, by="head")
    restore(bench.world, file, by="head", reason="the disk died")
    bench.source.pages = [page(record(id="one", name="One"), record(id="new", name="New"))]
    assert bench.sync().target_writes == 1
    assert {r["name"] for r in bench.source.ledger.values()} == {"One", "Two", "New"}
    agrees(bench)


def test_a_stranger_in_the_target_lets_a_person_decide(bench: Bench, tmp_path: Path) -> None:
    """A record that was made there since and changed by somebody: it may be what a create would make again."""
    file = tmp_path / "day.dump"
    back_up(bench.world, file, by="head")
    bench.source.pages = [
        page(record(id="one", name="One"), record(id="two", name="Two"), record(id="new", name="New"))
    ]
    bench.sync()
    (made,) = [r for r in bench.source.ledger.values() if r["name"] == "New"]
    made["name"] = "New, as the clerk writes it"
    held = len(bench.source.ledger)
    restore(bench.world, file, by="head", reason="the disk died")
    summary = bench.sync()
    assert (summary.target_writes, summary.held) == (0, 1)
    assert len(bench.source.ledger) == held
    (hold,) = bench.rows("select id, kind, reason from ops.hold where state = 'open'")
    assert hold["kind"] == "duplicate"
    assert "known from nowhere else" in hold["reason"]
    agrees(bench)
    # a person looks: this one is another; from then on nobody is asked again
    with bench.world.transaction() as conn:
        holds.approve(conn, hold["id"], by="head", reason="it is not the same")
    source = [record(id=i, name=n) for i, n in (("one", "One"), ("two", "Two"), ("new", "New"), ("next", "Next"))]
    bench.source.pages = [page(*source)]
    assert (bench.sync().target_writes, bench.sync().held) == (2, 0)
    agrees(bench)


def test_writes_that_were_open_in_the_backup_are_planned_anew(bench: Bench, tmp_path: Path) -> None:
    """One was ready when the backup was made, and sent since: it is not sent again as it was."""
    file = tmp_path / "day.dump"
    bench.source.pages = [
        page(record(id="one", name="One"), record(id="two", name="Two"), record(id="new", name="New"))
    ]
    with bench.world.transaction() as conn:
        conn.execute(sa.text("insert into ops.pause (what, by, reason) values ('system:books', 'head', 'stocktaking')"))
    bench.sync()
    back_up(bench.world, file, by="head")
    with bench.world.transaction() as conn:
        conn.execute(sa.text("update ops.pause set ended_at = now()"))
    bench.sync()
    assert len(bench.source.ledger) == 3
    restore(bench.world, file, by="head", reason="the disk died")
    with bench.world.transaction() as conn:
        conn.execute(sa.text("update ops.pause set ended_at = now()"))
    bench.sync()
    assert len(bench.source.ledger) == 3
    agrees(bench)


def test_who_was_erased_since_is_erased_again(bench: Bench, tmp_path: Path) -> None:
    from tasks.forget import forget

    file = tmp_path / "day.dump"
    back_up(bench.world, file, by="head")
    forget(bench.world, "booking", "shop/bookings/two", by="head", reason="asked", is_done=True)
    done = restore(bench.world, file, by="head", reason="the disk died")
    assert len(done.erased_again) == 1
    assert bench.rows("select name from golden.booking order by 1") == [{"name": "One"}, {"name": None}]
    agrees(bench)


def test_the_file_is_private_whole_and_known(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "day.dump"
    made = back_up(bench.world, file, by="head")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert backup.about(file).sha256 == made.sha256
    assert sorted(p.name for p in tmp_path.glob("day*")) == ["day.dump"]


@pytest.mark.parametrize("content", [b"", b"PGDMP and no more", b"what is this"], ids=["empty", "cut", "another"])
def test_a_file_that_is_no_backup_changes_nothing(bench: Bench, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "day.dump"
    file.write_bytes(content)
    with pytest.raises(backup.BackupTrouble):
        restore(bench.world, file, by="head", reason="the disk died")
    assert bench.rows("select count(*) as n from golden.booking") == [{"n": 2}]


@pytest.mark.parametrize("where", [-2000, 5000, -1], ids=["the end", "the middle", "the last byte"])
def test_a_file_that_was_cut_or_changed_changes_nothing(bench: Bench, tmp_path: Path, where: int) -> None:
    file = tmp_path / "day.dump"
    back_up(bench.world, file, by="head")
    whole = bytearray(file.read_bytes())
    if where > 0:
        whole[where] ^= 1
    file.write_bytes(whole if where > 0 else whole[:where])
    with pytest.raises(backup.BackupTrouble, match="cut or changed"):
        restore(bench.world, file, by="head", reason="the disk died")
    assert bench.rows("select count(*) as n from golden.booking") == [{"n": 2}]


def test_a_restore_that_breaks_off_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    """The file ends in the middle of a table, after everything was dropped and half of it made again."""
    file = tmp_path / "day.dump"
    back_up(bench.world, file, by="head")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(backup.BackupTrouble):
        backup.restore(database_url("owner"), file)
    assert bench.rows("select count(*) as n from golden.booking") == [{"n": 2}]
    agrees(bench)


def test_the_app_role_is_what_it_was(bench: Bench, database: TestDatabase, tmp_path: Path) -> None:
    file = tmp_path / "day.dump"
    back_up(bench.world, file, by="head")
    restore(bench.world, file, by="head", reason="the disk died")
    for statement in ("delete from ops.audit", "drop table ops.outbox"):
        with pytest.raises(sa.exc.ProgrammingError), transaction(database.engine) as conn:
            conn.exec_driver_sql(statement)
    bench.sync()
    (row,) = bench.rows("select actor, detail from ops.audit where action = 'backup.restored'")
    assert row["actor"] == "head"
    assert row["detail"]["replaced"]["id"] > 0


def test_by_hand(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCORD_LANDSCAPE", str(bench.folder))
    concord = speaker(capsys)
    made = concord("backup", str(tmp_path), "--json").json
    assert Path(made["file"]).exists()
    assert made["anchor"]["id"] > 0
    assert concord("backup", str(tmp_path / "nowhere" / "x.dump")).code == 4
    call = ("restore", made["file"], "--by", "head", "--reason", "the disk died")
    assert concord(*call).code == 2, "nobody is there to confirm"
    done = concord(*call, "--yes")
    assert done.code == 0, done.err
    assert "books/entries" in done.out
    assert concord("restore", str(tmp_path / "nothing"), "--by", "head", "--reason", "it died").code == 2
    assert concord("ledger", "verify").code == 0
