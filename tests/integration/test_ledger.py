"""The ledger's proof after a real sync: every sum agrees, and every one of them notices when a row is moved by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from staging import ledger
from tests.fixtures.mainjob import MainJob

A_SENT_UPDATE = "(select min(id) from ops.outbox where state = 'delivered' and op = 'update')"
PLANTED: dict[str, list[str]] = {
    "received_is_accounted_for": [
        "alter table landing.extract_run drop constraint ck_extract_run_received_is_accounted_for",
        "update landing.extract_run set received = received + 1 where id = (select min(id) from landing.extract_run)",
    ],
    "versions_are_kept": [
        "delete from landing.raw_record where id = (select min(v.id) from landing.raw_record v join landing.record r"
        " using (system, stream, source_id) where v.id < r.raw_id and not v.deleted)"
    ],
    "records_are_counted": [
        "update landing.extract_run set new = new - 1, changed = changed + 1 where id = (select min(id) from"
        " landing.extract_run where new > 0)"
    ],
    "records_stand_at_their_latest_version": [
        "update landing.record r set raw_id = v.id from (select min(v.id) as id from landing.raw_record v join"
        " landing.record r using (system, stream, source_id) where v.id < r.raw_id and r.state = 'staged') old join"
        " landing.raw_record v using (id) where r.system = v.system and r.stream = v.stream"
        " and r.source_id = v.source_id"
    ],
    "refused_is_quarantined": [
        "insert into landing.extract_run (system, stream, mode, state, received, refused)"
        " values ('crm', 'companies', 'full', 'complete', 2, 2)"
    ],
    "cursor_has_its_reading": [
        "update landing.cursor set extract_run_id = -1 where system = 'crm' and stream = 'companies'"
    ],
    "work_has_its_sync": ["update ops.batch set sync_id = -1 where id = (select min(id) from ops.batch)"],
    "mapped_is_accounted_for": [
        "alter table ops.batch drop constraint ck_batch_mapped_is_accounted_for",
        "update ops.batch set passed = passed + 1 where id = (select min(id) from ops.batch where state = 'passed')",
    ],
    "quarantined_is_explained": [
        "delete from ops.quarantine where (system, stream, source_id) = (select system, stream, source_id from"
        " ops.quarantine where scope = 'record' order by id limit 1) and scope = 'record'"
    ],
    "quarantine_holds_nothing_that_passed": [
        "insert into ops.quarantine (system, stream, source_id, entity, scope, rule, reason, state) select system,"
        " stream, source_id, 'product', 'record', 'planted', 'by hand', 'open' from landing.record"
        " where state = 'staged' and stream = 'products' limit 1"
    ],
    "one_primary_link": [
        "insert into ops.crosswalk (entity, system, stream, source_id, canonical_id, is_primary, because, linked_by)"
        " select entity, system, 'elsewhere', 'x', canonical_id, false, 'by hand', 'hand' from ops.crosswalk"
        " where ended_at is null limit 1"
    ],
    "shadow_is_linked": [
        "update ops.shadow set source_id = 'nobody' where ctid = (select min(ctid) from ops.shadow)",
    ],
    "enqueued_is_in_the_outbox": [f"delete from ops.outbox where id = {A_SENT_UPDATE}"],
    "every_write_has_one_home": [
        "alter table ops.outbox drop constraint ck_outbox_state_is_known",
        f"update ops.outbox set state = 'lost' where id = {A_SENT_UPDATE}",
    ],
    "created_is_linked": [
        "update ops.outbox set source_id = 'nobody' where id = (select min(id) from ops.outbox"
        " where state = 'delivered' and op = 'create')"
    ],
    "delivered_is_shadowed": [
        "delete from ops.shadow s using ops.outbox o where o.id = " + A_SENT_UPDATE + " and s.entity = o.entity"
        " and s.system = o.system and s.stream = o.stream and s.canonical_id = o.canonical_id"
    ],
    "delivered_was_answered": [f"delete from ops.attempt where outbox_id = {A_SENT_UPDATE}"],
    "held_waits_for_somebody": [
        "update ops.hold set state = 'expired', closed_at = now(), closed_by = 'me', closed_because = 'by hand' where"
        " state = 'open'"
    ],
    "refused_writes_have_a_letter": [f"update ops.outbox set state = 'rejected' where id = {A_SENT_UPDATE}"],
    "letters_have_their_write": [
        "insert into ops.dead_letter (outbox_id, system, stream, reason, state) select id, system, stream, 'by hand',"
        f" 'open' from ops.outbox where id = {A_SENT_UPDATE}"
    ],
    "waiting_names_its_parents": [f"update ops.outbox set state = 'waiting' where id = {A_SENT_UPDATE}"],
    "staged_was_landed": [
        "insert into staging.product (system, stream, source_id, state, batch_id) select system, stream, 'nobody',"
        " 'dirty', batch_id from staging.product limit 1"
    ],
    "staged_was_judged": [
        "update staging.product set batch_id = null where ctid = (select min(ctid) from staging.product)"
    ],
    "resolved_is_linked": [
        "delete from ops.crosswalk where id = (select min(id) from ops.crosswalk where not is_primary"
        " and ended_at is null)"
    ],
    "doubtful_is_asked": [
        "delete from ops.review where (entity, system, stream, source_id) = (select 'customer', system, stream,"
        " source_id from staging.customer where state = 'review' limit 1)"
    ],
    "linked_is_staged": [
        "delete from staging.product where ctid = (select min(s.ctid) from staging.product s where"
        " s.system = 'workbook')"
    ],
    "link_has_its_golden_record": [
        "insert into ops.crosswalk (entity, system, stream, source_id, canonical_id, is_primary, because, linked_by)"
        " values ('customer', 'crm', 'companies', 'x', 'nobody', true, 'by hand', 'hand')"
    ],
    "golden_record_has_its_sources": [
        "insert into golden.customer (id, version) values ('nobody', 1)",
        "insert into golden.history (entity, canonical_id, version, changes) values ('customer', 'nobody', 1, '[]')",
    ],
    "history_is_whole": [
        "delete from golden.history where (entity, canonical_id, version) = (select entity, canonical_id, version from"
        " golden.history where entity = 'customer' order by version desc, canonical_id limit 1)"
    ],
    "write_has_its_golden_record": ["update ops.outbox set canonical_id = 'nobody' where state = 'held'"],
    "candidates_are_only_copies": [
        "insert into staging.product_candidate (system, stream, source_id, batch_id) select system, stream, source_id,"
        " batch_id from staging.product limit 1"
    ],
    "lines_are_whole": [
        "delete from golden.order_lines where ctid = (select min(ctid) from golden.order_lines)",
    ],
}
DELETED_FROM = {
    "landing.extract_run": "received > 0",
    "landing.raw_record": "not deleted",
    "landing.record": "state = 'staged' and parent_id is null",
    "staging.customer": "state = 'resolved' and system = 'legacy'",
    "golden.customer": "true",
    "golden.order_lines": "true",
    "golden.history": "true",
    "ops.sync": "true",
    "ops.batch": "state in ('passed', 'split') and exists (select from staging.invoice i where i.batch_id = batch.id)",
    "ops.plan": "enqueued > 0",
    "ops.crosswalk": "true",
    "ops.outbox": "true",
    "ops.shadow": "exists (select from ops.outbox o where o.canonical_id = shadow.canonical_id and o.system ="
    " shadow.system and o.stream = shadow.stream and o.state = 'delivered')",
    "ops.attempt": "true",
    "ops.review": "entity = 'contact'",
    "ops.quarantine": "scope = 'record'",
    "ops.hold": "true",
}


@pytest.fixture
def owner(shared_job: MainJob) -> Iterator[Connection]:
    """A connection that may do anything, and whose every change is undone."""
    with shared_job.database.owner_engine.connect() as conn, conn.begin() as outer:
        yield conn
        outer.rollback()


def failing(conn: Connection) -> set[str]:
    return {check.name for check in ledger.verify(conn) if not check.ok}


def test_a_sync_leaves_every_sum_in_agreement(owner: Connection) -> None:
    checks = ledger.verify(owner)

    assert [c for c in checks if not c.ok] == []
    assert {c.scope for c in checks} == {"all"}
    assert {c.name for c in checks} == set(PLANTED), "every sum has its planted violation below, and none besides"
    empty = {"refused_is_quarantined", "refused_writes_have_a_letter", "letters_have_their_write"}
    empty |= {"waiting_names_its_parents", "candidates_are_only_copies"}
    assert {c.name for c in checks if not c.expected} == empty, "the others count something"


@pytest.mark.parametrize("name", PLANTED)
def test_exactly_the_sum_that_was_broken_fails(owner: Connection, name: str) -> None:
    for statement in PLANTED[name]:
        assert owner.execute(sa.text(statement)).rowcount, f"nothing to plant: {statement}"

    wrong = [c for c in ledger.verify(owner) if not c.ok]

    assert {c.name for c in wrong} == {name}
    assert [c.scope for c in wrong].count("all") == 1
    assert len(wrong) > 1, "the scope where it does not agree is named too"


@pytest.mark.parametrize("table", DELETED_FROM)
def test_a_row_deleted_by_hand_is_noticed(owner: Connection, table: str) -> None:
    name = table.split(".")[1]
    chosen = f"select min(ctid) from {table} {name} where {DELETED_FROM[table]}"
    assert owner.execute(sa.text(f"delete from {table} where ctid = ({chosen})")).rowcount == 1

    assert failing(owner)


def test_refused_records_have_entries_of_the_reading_that_refused_them_last(owner: Connection) -> None:
    run = owner.execute(
        sa.text(
            "insert into landing.extract_run (system, stream, mode, state, received, refused)"
            " values ('crm', 'companies', 'full', 'complete', 2, 2) returning id"
        )
    ).scalar_one()
    entry = (
        "insert into ops.quarantine (system, stream, source_id, scope, rule, reason, state, extract_run_id)"
        " values ('crm', 'companies', :id, 'unreadable', 'readable', 'not JSON', 'open', :run)"
    )
    for record in ("a", "b"):
        owner.execute(sa.text(entry), {"id": record, "run": run})
    assert not failing(owner)

    owner.execute(sa.text(entry), {"id": "c", "run": run})
    assert failing(owner) == {"refused_is_quarantined"}


def test_a_failing_sum_says_what_it_means_and_where(owner: Connection) -> None:
    owner.execute(sa.text("delete from golden.history where entity = 'product'"))

    total, place = [c for c in ledger.verify(owner) if not c.ok]

    products = owner.execute(sa.text("select count(*) from golden.product")).scalar_one()
    assert (total.scope, total.expected - total.found) == ("all", products)
    assert (place.scope, place.expected, place.found) == ("product", products, 0)
    assert "for example" in place.because


def test_the_summary_counts_what_is_there(owner: Connection) -> None:
    said = ledger.summary(owner)

    count = owner.execute(sa.text("select count(*) from ops.outbox")).scalar_one()
    assert sum(said["writes"].values()) == count
    assert said["golden"]["customer"] == owner.execute(sa.text("select count(*) from golden.customer")).scalar_one()
    landed = owner.execute(sa.text("select count(*) from landing.record")).scalar_one()
    assert sum(n for states in said["records"].values() for n in states.values()) == landed
    assert said["left_behind"] == {"readings": 0, "batches": 0, "writes": 0}


def test_work_of_a_dead_process_is_left_behind(owner: Connection) -> None:
    owner.execute(
        sa.text(
            "insert into ops.batch (entity, system, stream, declared, state)"
            " values ('customer', 'crm', 'companies', 'd', 'open')"
        )
    )

    assert not failing(owner)
    assert ledger.left_behind(owner) == {"readings": 0, "batches": 1, "writes": 0}
