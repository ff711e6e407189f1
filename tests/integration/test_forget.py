"""A subject is erased from every table, and comes back from none: planted in all of them, searched in all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from staging import audit, ledger
from staging.engine import transaction
from tasks.forget import Forgotten, forget
from tasks.sync import TurnedAway
from tests.fixtures.badsource import BadSource, page, record
from tests.fixtures.bench import Bench
from tests.fixtures.database import TestDatabase
from tests.fixtures.said import speaker

CANARY = "Zoë Quuxwell"
MAIL = "zoe.quuxwell@example.com"
PHONE = "+442079460958"
ODD = 'the "Quux" desk'
PLANTED = (
    CANARY,
    "quuxwell",
    MAIL,
    PHONE,
    "2079460958",
    '"Quux" desk',
    json.dumps(ODD)[1:-1],
    json.dumps(CANARY)[1:-1],
)
"""The subject's values as they are written in texts and in JSON."""
OTHERS = ("Acme Ltd", "Maria Quux")


def people(**changed: Any) -> list[bytes]:
    """The subject, one with a part of its name, one that refers to it."""
    return [
        record(id="zoe", name=CANARY, email=MAIL, phone=PHONE, note=ODD, nick="common", **changed),
        record(id="maria", name="Maria Quux", nick="common"),
        record(id="child", name="Acme Ltd", parent="zoe"),
    ]


@pytest.fixture
def bench(database: TestDatabase, tmp_path: Path) -> Iterator[Bench]:
    """Synced, with a delivery, a change, a refusal and something open of the subject in every queue."""
    with BadSource() as source:
        made = Bench(source, tmp_path / "landscape", database)
        source.pages = [page(*people())]
        made.sync()
        source.pages = [page(*people(price=b"99.90", updated_at="2026-02-01T00:00:00Z"))]
        made.sync()
        yield made


def golden_id(bench: Bench, source_id: str) -> str:
    (row,) = bench.rows("select canonical_id from ops.crosswalk where system = 'shop' and source_id = :i", i=source_id)
    return str(row["canonical_id"])


def plant(bench: Bench, database: TestDatabase) -> None:
    """Something of the subject where a quiet run leaves nothing: letters, doubts, drafts, errors, reasons, inbox."""
    zoe = golden_id(bench, "zoe")
    said = f"{CANARY} <{MAIL}> is refused, call {PHONE}"
    told = json.dumps({"text": said, "note": ODD})
    key = {"id": zoe, "said": said, "told": told, "name": CANARY}
    with transaction(database.engine) as conn:
        for statement in (
            "insert into ops.quarantine (system, stream, source_id, entity, scope, rule, reason, raw, state)"
            " values ('shop', 'bookings', 'zoe', 'booking', 'field', 'email', :said, :told, 'open')",
            "insert into ops.review (entity, system, stream, source_id, canonical_id, other, because, state) values"
            " ('booking', 'shop', 'bookings', 'maria', :id, 'shop' || chr(31) || 'bookings' || chr(31) || 'zoe', :said,"
            " 'open')",
            "insert into ops.finding (kind, entity, canonical_id, system, stream, source_id, field, ours, theirs,"
            " action, because, state) values ('difference', 'booking', :id, 'books', 'entries', 'L1', 'name', :name,"
            " :said, 'report', :said, 'open')",
            "insert into ops.dead_letter (outbox_id, system, stream, reason, state) select max(id), 'books', 'entries',"
            " :said, 'open' from ops.outbox where canonical_id = :id",
            "update ops.outbox set state = 'rejected', reason = :said where id = (select max(id) from ops.outbox where"
            " canonical_id = :id)",
            "update ops.attempt set reason = :said where outbox_id in (select id from ops.outbox where canonical_id ="
            " :id)",
            "insert into ops.hold (kind, integration, entity, system, stream, op, reason, writes, state) values"
            " ('ask_when', 'bookings-to-books', 'booking', 'books', 'entries', 'update', :said, 1, 'open')",
            "insert into ops.approval (hold_id, verdict, by, reason, write_hashes) select 1, 'approve', 'head', :said,"
            " array_agg(write_hash) from ops.outbox where canonical_id = :id",
            "insert into ops.saved_plan (name, mode, declaration, digest, writes, golden_versions, reviews, targets,"
            " made_by, state) values ('all', 'full', 'd', 'd', 1, 0, 0, '[]', 'head', 'open')",
            "insert into ops.saved_write (saved_plan_id, number, integration, entity, canonical_id, label, system,"
            " stream, op, payload, changes, waits_for, because, mode, write_hash, fingerprint) values (1, 1, 'i',"
            " 'booking', :id, :name, 'books', 'entries', 'update', :told, '[]', '[]', :said, 'write', 'w', 'f')",
            "insert into ops.incident (key, kind, cause, state) values ('k', 'x', :said, 'open')",
            "insert into landing.inbox (system, delivery_id, body, state) values ('shop', 'd1', :told, 'received')",
            "insert into ops.pause (what, by, reason, ended_at) values ('system:books', 'head', :said, now())",
            "insert into staging.booking_candidate (system, stream, source_id, name) values ('shop', 'bookings', 'zoe',"
            " :name)",
            "update ops.sync set error = :said where id = 1",
            # what other records copied of it
            "update ops.outbox set reason = :said where canonical_id <> :id and state = 'delivered'",
        ):
            conn.execute(sa.text(statement), key)
        audit.append(conn, "head", "paused", "system:books", reason=said)


def texts(database: TestDatabase) -> dict[str, str]:
    """Every table of the database, whole, as text."""
    with transaction(database.owner_engine) as conn:
        tables = conn.execute(
            sa.text(
                "select format('%I.%I', schemaname, tablename) from pg_tables"
                " where schemaname not in ('pg_catalog', 'information_schema')"
            )
        ).scalars()
        return {
            table: str(
                conn.exec_driver_sql(f"select coalesce(string_agg(t::text, chr(10)), '') from {table} t").scalar()
            )
            for table in tables.all()
        }


def found_in(database: TestDatabase) -> dict[str, list[str]]:
    """Where something of the subject is found: table → values."""
    found = {
        table: [value for value in PLANTED if value.lower() in told.lower()] for table, told in texts(database).items()
    }
    return {table: values for table, values in found.items() if values}


def erase(bench: Bench, *, is_done: bool = True) -> Forgotten:
    return forget(
        bench.world, "booking", golden_id(bench, "zoe"), by="head", reason="she asked for it", is_done=is_done
    )


def test_nothing_is_found_of_a_subject_that_was_planted_everywhere(bench: Bench, database: TestDatabase) -> None:
    plant(bench, database)
    before = found_in(database)
    assert len(before) >= 18, sorted(before)
    done = erase(bench)
    assert found_in(database) == {}
    assert set(done.counts) >= {
        "landing.raw_record",
        "staging.booking",
        "golden.booking",
        "golden.history",
        "ops.outbox",
    }
    entry, booking = done.still_there
    assert entry.startswith("books/entries/L")
    assert booking == "shop/bookings/zoe"
    with bench.world.transaction() as conn:
        assert audit.verify(conn).broken is None


def test_the_ledger_agrees_afterwards_and_others_are_whole(bench: Bench, database: TestDatabase) -> None:
    before = bench.rows(
        "select id, name, nick, price from golden.booking where name = any(:n) order by id", n=list(OTHERS)
    )
    assert len(before) == 2
    erase(bench)
    assert bench.rows("select id, name, nick, price from golden.booking where name is not null order by id") == before
    with bench.world.transaction() as conn:
        assert [check for check in ledger.verify(conn) if not check.ok] == []


def test_a_dry_run_counts_the_same_and_changes_nothing(bench: Bench, database: TestDatabase) -> None:
    plant(bench, database)
    before = texts(database)
    shown = erase(bench, is_done=False)
    assert texts(database) == before
    done = erase(bench)
    assert (shown.counts, shown.copies, shown.still_there) == (done.counts, done.copies, done.still_there)


def test_what_is_read_of_it_again_is_refused_and_reported(bench: Bench, database: TestDatabase) -> None:
    erase(bench)
    written = len([r for r in bench.source.requests if not r.startswith("GET")])
    changed = people(price=b"11.00", updated_at="2026-03-01T00:00:00Z")
    bench.source.pages = [page(*changed)]
    for mode in ("full", "incremental", "full"):
        assert bench.sync(mode).trouble == []
    assert found_in(database) == {}
    assert len([r for r in bench.source.requests if not r.startswith("GET")]) == written, "nothing is written of it"
    (entry,) = [e for e in bench.quarantine() if e["source_id"] == "zoe"]
    assert "erased here on request" in entry["reason"]
    assert (entry["raw"], entry["owner"]) == ("{}", "head (Ada Moss)")
    with bench.world.transaction() as conn:
        assert [check for check in ledger.verify(conn) if not check.ok] == []


def test_the_others_of_a_batch_can_still_be_proved(bench: Bench) -> None:
    erase(bench)
    for row in bench.rows("select detail from ops.audit where action = 'batch.sent'"):
        told = row["detail"]
        items = bench.rows(
            "select a.salt, a.leaf, a.outbox_id, a.number, a.outcome, a.status, o.payload::text as payload"
            " from ops.attempt a join ops.outbox o on o.id = a.outbox_id where a.batch = :batch",
            batch=told["batch"],
        )
        leaves = [
            i["leaf"] or audit.leaf(i["salt"], (i["outbox_id"], i["number"], i["outcome"], i["status"], i["payload"]))
            for i in items
        ]
        assert audit.over(leaves) == told["digest"]


def test_it_is_audited_with_its_proof(bench: Bench) -> None:
    done = erase(bench)
    (row,) = bench.rows("select actor, subject, detail from ops.audit where action = 'subject.forgotten'")
    assert (row["actor"], row["subject"]) == ("head", f"booking:{done.canonical_id}")
    (kept,) = bench.rows("select id, proof::text as proof, digest from ops.erasure")
    assert (kept["id"], kept["digest"]) == (done.erasure_id, done.digest)
    assert row["detail"]["proof"] == kept["digest"] == audit.over([kept["proof"]])


def test_a_write_that_is_on_its_way_is_waited_for(bench: Bench) -> None:
    with bench.world.transaction() as conn:
        conn.execute(
            sa.text("update ops.outbox set state = 'inflight' where id = (select max(id) from ops.outbox where"
                    " canonical_id = :id)"), {"id": golden_id(bench, "zoe")}
        )  # fmt: skip
    with pytest.raises(TurnedAway, match="on its way"):
        erase(bench)


def test_by_hand(bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORD_LANDSCAPE", str(bench.folder))
    concord = speaker(capsys)
    shown = concord("forget", "booking", "shop/bookings/zoe")
    assert shown.code == 0
    assert "would be erased" in shown.out
    assert CANARY not in shown.out + shown.err
    assert concord("forget", "booking", "nobody").code == 2
    # nobody's word counts without a personal code
    refused = concord("forget", "booking", "shop/bookings/zoe", "--by", "head", "--reason", "asked", "--yes")
    assert refused.code == 2
    assert "personal code" in refused.err

    file = bench.folder / "landscape.yaml"
    text = file.read_text().replace("email: ada@example.com}", "email: ada@example.com, code: {env: ADA_CODE}}")
    file.write_text(text)
    monkeypatch.setenv("ADA_CODE", "right")
    monkeypatch.setenv("CONCORD_APPROVAL_CODE", "wrong")
    call = ("forget", "booking", "shop/bookings/zoe", "--by", "head", "--reason", "asked", "--yes")
    assert concord(*call).code == 2
    monkeypatch.setenv("CONCORD_APPROVAL_CODE", "right")
    done = concord(*call, "--json").json
    assert done["is_done"]
    assert done["erasure_id"] == 1
    assert "nothing was changed" in concord("audit", "verify").out
