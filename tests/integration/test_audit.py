"""The audit: rows are only ever added, one after the other, and whatever is done to them is found."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError

from staging import audit
from staging.engine import transaction
from tests.fixtures.database import TestDatabase

ROWS = 6


def add(database: TestDatabase, number: int, *, reason: str | None = None) -> None:
    with transaction(database.engine) as conn:
        audit.append(conn, "ann", "hold.approved", f"hold:{number}", {"writes": number}, reason=reason)


@pytest.fixture
def written(database: TestDatabase) -> TestDatabase:
    """Six rows, the fourth with a reason."""
    for number in range(1, ROWS + 1):
        add(database, number, reason="the list was right" if number == 4 else None)
    return database


def verdict(database: TestDatabase, *anchors: audit.Anchor) -> audit.Verdict:
    with transaction(database.engine) as conn:
        return audit.verify(conn, anchors)


def head(database: TestDatabase) -> audit.Anchor:
    with transaction(database.engine) as conn:
        found = audit.head(conn)
    assert found is not None
    return found


def by_force(database: TestDatabase, *statements: str) -> None:
    """What somebody can do who owns the database: the guards are switched off first."""
    with transaction(database.owner_engine) as conn:
        for statement in ("alter table ops.audit disable trigger user", *statements):
            conn.exec_driver_sql(statement)


def test_an_empty_audit_is_whole(database: TestDatabase) -> None:
    assert verdict(database) == audit.Verdict(0, None, None)


def test_what_was_added_is_whole(written: TestDatabase) -> None:
    found = verdict(written, head(written))
    assert (found.rows, found.broken, found.anchors) == (ROWS, None, 1)
    assert found.head == head(written)


def test_writers_at_once_make_one_chain(database: TestDatabase) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: add(database, n), range(80)))
    found = verdict(database)
    assert (found.rows, found.broken) == (80, None)


def test_a_row_that_was_rolled_back_leaves_no_gap(database: TestDatabase) -> None:
    add(database, 1)
    with database.engine.connect() as conn:
        audit.append(conn, "ann", "hold.approved", "hold:2")
        conn.rollback()
    add(database, 3)
    assert (verdict(database).rows, verdict(database).broken) == (2, None)


def test_an_unknown_action_is_refused(database: TestDatabase) -> None:
    with pytest.raises(KeyError), transaction(database.engine) as conn:
        audit.append(conn, "ann", "hold.forgiven", "hold:2")


def test_number_time_and_chain_are_not_the_writers_to_choose(written: TestDatabase) -> None:
    with transaction(written.engine) as conn:
        conn.exec_driver_sql(
            "insert into ops.audit (id, at, actor, action, subject, previous, digest)"
            " values (3, '2001-01-01', 'eve', 'hold.approved', 'hold:9', 'made up', 'made up')"
        )
        (row,) = conn.exec_driver_sql("select id, at > now() - interval '1 hour' from ops.audit where actor = 'eve'")
    assert tuple(row) == (ROWS + 1, True)
    assert verdict(written).broken is None


FORBIDDEN = {
    "update": "update ops.audit set actor = 'somebody else'",
    "delete": "delete from ops.audit where id = 2",
    "truncate": "truncate ops.audit",
}


@pytest.mark.parametrize("statement", FORBIDDEN.values(), ids=FORBIDDEN)
@pytest.mark.parametrize(
    ("role", "says"), [("app", "permission denied"), ("owner", "the audit is append-only")], ids=["app", "owner"]
)
def test_nobody_changes_a_row(written: TestDatabase, role: str, says: str, statement: str) -> None:
    engine = written.engine if role == "app" else written.owner_engine
    with pytest.raises(ProgrammingError, match=says), transaction(engine) as conn:
        conn.exec_driver_sql(statement)
    assert verdict(written).rows == ROWS


def test_the_app_role_cannot_switch_the_guards_off(written: TestDatabase) -> None:
    for statement in (
        "alter table ops.audit disable trigger user",
        "drop trigger keep_audit on ops.audit",
        "set session_replication_role = replica",
        "create or replace function ops.chain_audit() returns trigger language sql as 'select null'",
    ):
        with pytest.raises(ProgrammingError), transaction(written.engine) as conn:
            conn.exec_driver_sql(statement)


DONE_TO_IT = {
    "an actor": (["update ops.audit set actor = 'eve' where id = 3"], 3, "changed"),
    "a time": (["update ops.audit set at = at - interval '1 second' where id = 3"], 3, "changed"),
    "a detail": (["""update ops.audit set detail = '{"writes": 4}' where id = 3"""], 3, "changed"),
    "a digest": (["update ops.audit set digest = repeat('a', 64) where id = 3"], 3, "changed"),
    "a row taken out": (["delete from ops.audit where id = 3"], 3, "removed"),
    "the first taken out": (["delete from ops.audit where id = 1"], 1, "removed"),
    "two taken out": (["delete from ops.audit where id in (3, 4)"], 3, "removed"),
    "one in place of another": (
        ["delete from ops.audit where id = 3", "update ops.audit set id = 3 where id = 6"], 3, "changed",
    ),
    "one before the first": (
        ["insert into ops.audit (id, actor, action, subject, previous) values (0, 'e', 'paused', 's', 'x')"],
        0, "inserted",
    ),
    "one made up at the end": (
        ["insert into ops.audit (id, actor, action, subject, previous) values (7, 'e', 'paused', 's', 'x')"],
        7, "changed",
    ),
    "what was said": (["update ops.audit_reason set reason = 'it was wrong' where audit_id = 4"], 4, "reason"),
}  # fmt: skip


@pytest.mark.parametrize(("statements", "row", "kind"), DONE_TO_IT.values(), ids=DONE_TO_IT)
def test_what_was_done_to_it_is_found(written: TestDatabase, statements: list[str], row: int, kind: str) -> None:
    by_force(written, *statements)
    broken = verdict(written).broken
    assert broken is not None
    assert (broken.id, broken.kind) == (row, kind)


def test_a_row_with_a_digest_of_its_own_breaks_the_next(written: TestDatabase) -> None:
    """Whoever changes a row and works its digest out anew would have to do so for every row after it."""
    by_force(written, "update ops.audit set actor = 'eve' where id = 3")
    with transaction(written.owner_engine) as conn:
        row = conn.execute(audit._ROWS, {"after": 2, "chunk": 1}).one()
        conn.execute(sa.text("update ops.audit set digest = :d where id = 3"), {"d": audit.digest_of(row)})
    broken = verdict(written).broken
    assert broken is not None
    assert (broken.id, broken.kind) == (4, "inserted")


def test_only_an_anchor_shows_that_the_end_is_missing(written: TestDatabase) -> None:
    pinned = head(written)
    by_force(written, "delete from ops.audit where id >= 5")
    assert verdict(written).broken is None
    broken = verdict(written, pinned).broken
    assert broken is not None
    assert (broken.id, broken.kind) == (5, "truncated")


def test_what_was_said_outlives_a_row_that_was_cut_off(written: TestDatabase) -> None:
    by_force(written, "delete from ops.audit where id >= 4")
    broken = verdict(written).broken
    assert broken is not None
    assert (broken.id, broken.kind) == (4, "truncated")


def test_an_anchor_shows_that_all_was_written_anew(written: TestDatabase) -> None:
    pinned = head(written)
    everything = ("delete from ops.audit", "delete from ops.audit_reason")
    by_force(written, *everything, "alter table ops.audit enable trigger user")
    for number in range(1, ROWS + 1):
        add(written, number)
    assert verdict(written).broken is None
    broken = verdict(written, pinned).broken
    assert broken is not None
    assert (broken.id, broken.kind) == (ROWS, "changed")


def test_a_reason_can_be_erased_and_the_chain_stays_whole(written: TestDatabase) -> None:
    with transaction(written.engine) as conn:
        conn.exec_driver_sql("delete from ops.audit_reason where audit_id = 4")
    assert verdict(written).broken is None


SEARCHES: dict[str, tuple[dict[str, object], list[int]]] = {
    "everything": ({}, [6, 5, 4, 3, 2, 1]),
    "actor": ({"actor": "ben"}, [5]),
    "action": ({"action": "hold.rejected"}, [6]),
    "kind of action": ({"action": "hold"}, [6, 4, 3, 2, 1]),
    "subject": ({"subject": "hold:3"}, [3]),
    "subjects that begin so": ({"subject": "system:*"}, [5]),
    "a sign of LIKE is a letter": ({"subject": "hold_3"}, []),
    "since": ({"since": datetime.now(UTC) + timedelta(days=1)}, []),
    "until": ({"until": datetime.now(UTC) - timedelta(days=1)}, []),
    "together": ({"actor": "ann", "action": "hold", "subject": "hold:4"}, [4]),
}


@pytest.fixture(scope="module")
def searched(module_database: TestDatabase) -> Callable[..., list[int]]:
    with transaction(module_database.engine) as conn:
        for number in range(1, 5):
            audit.append(conn, "ann", "hold.approved", f"hold:{number}")
        audit.append(conn, "ben", "paused", "system:crm", reason="they migrate")
        audit.append(conn, "ann", "hold.rejected", "hold:6")

    def found(**asked: object) -> list[int]:
        with transaction(module_database.engine) as conn:
            rows, total = audit.search(conn, **asked)  # type: ignore[arg-type]
        assert total == len(rows)
        return [int(r["id"]) for r in rows]

    return found


@pytest.mark.parametrize(("asked", "expected"), SEARCHES.values(), ids=SEARCHES)
def test_search(searched: Callable[..., list[int]], asked: dict[str, object], expected: list[int]) -> None:
    assert searched(**asked) == expected


@pytest.mark.parametrize(
    ("numbers", "told"), [([], ""), ([4], "4"), ([3, 1, 2, 9], "1-3,9"), ([5, 5, 7, 8], "5,7-8")], ids=str
)
def test_spans(numbers: list[int], told: str) -> None:
    assert audit.spans(numbers) == told


def test_the_digest_of_a_batch_does_not_depend_on_the_order() -> None:
    assert audit.over(["a", "b"]) == audit.over(["b", "a"])
