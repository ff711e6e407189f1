"""RELIABILITY section 3, source records, what one record alone does not show: who is matched, who waits, what is seen.

The cases of single records are in test_bad_inputs.py; the numbers are those of the table in RELIABILITY.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connectors.protocol import SystemFault
from staging.engine import transaction
from tests.fixtures.badsource import BadSource, page, record
from tests.fixtures.bench import Bench
from tests.fixtures.database import TestDatabase


@pytest.fixture(scope="module")
def source() -> Iterator[BadSource]:
    with BadSource() as running:
        yield running


@pytest.fixture(scope="module")
def shared(
    source: BadSource, tmp_path_factory: pytest.TempPathFactory, module_database: TestDatabase
) -> Iterator[Bench]:
    made = Bench(source, tmp_path_factory.mktemp("marked"), module_database)
    yield made
    made.world.close()


@pytest.fixture
def bench(shared: Bench, module_database: TestDatabase) -> Bench:
    """A list with change marks, over an empty database."""
    return shared.emptied(module_database)


# ---- 40: nobody is his own parent


def parents(bench: Bench) -> dict[str, str | None]:
    """Live golden records by name: their parent's name."""
    rows = bench.rows(
        "select g.name, p.name as parent from golden.booking g left join golden.booking p on p.id = g.parent"
    )
    return {row["name"]: row["parent"] for row in rows}


def child(name: str, parent: str | None, day: int = 1) -> bytes:
    return record(id=name, name=name, parent=parent, updated_at=f"2026-01-{day:02d}T00:00:00Z")


def circled(bench: Bench) -> dict[str, str]:
    return {e["source_id"]: e["reason"] for e in bench.quarantine() if (e["rule"], e["field"]) == ("circle", "parent")}


def test_40_a_record_that_is_its_own_parent(bench: Bench) -> None:
    bench.run(page(child("a", None), child("own", "own"), child("b", "a")))
    assert parents(bench) == {"a": None, "b": "a"}
    assert circled(bench) == {"own": "expected a booking other than itself, found itself"}


@pytest.mark.parametrize("count", [2, 3, 15])
def test_40_records_that_are_each_others_parents(bench: Bench, count: int) -> None:
    ring = [child(f"r{n}", f"r{(n + 1) % count}") for n in range(count)]
    chain = [child(f"c{n}", f"c{n - 1}" if n else None) for n in range(count)]
    bench.run(page(*ring, child("beside", "r0"), *chain))
    found = circled(bench)
    assert set(found) == {f"r{n}" for n in range(count)}
    assert set(found.values()) == {
        f"expected a booking that does not lead back to itself, found a circle with {count - 1} others"
    }
    assert {n: p for n, p in parents(bench).items() if n[0] == "c"} == {
        f"c{n}": f"c{n - 1}" if n else None for n in range(count)
    }
    assert bench.staged()["beside"]["unresolved"]


def test_40_the_record_that_closes_a_circle_keeps_its_last_good_parent(bench: Bench) -> None:
    bench.run(page(child("top", None), child("middle", "top"), child("low", "middle")))
    bench.run(page(child("top", "low", day=2)), mode="incremental")
    assert set(circled(bench)) == {"top"}
    assert parents(bench) == {"top": None, "middle": "top", "low": "middle"}

    # the repair of another record opens the circle: what was quarantined is tried again by itself
    bench.run(page(child("low", None, day=3)), mode="incremental")
    assert circled(bench) == {}
    assert parents(bench) == {"top": "low", "middle": "top", "low": None}


def test_a_parents_new_name_is_told_of_its_children(bench: Bench) -> None:
    """`value_of`: what a target is told of a record is a value of another, and changes with it."""
    bench.source.pages = [page(child("top", None), child("low", "top"), child("beside", None))]
    bench.sync()
    bench.sync()

    def told() -> dict[str, Any]:
        return {r["name"]: r.get("parent_name") for r in bench.source.ledger.values()}

    assert told() == {"top": None, "low": "top", "beside": None}
    renamed = record(id="top", name="Head Office", parent=None, updated_at="2026-02-01T00:00:00Z")
    bench.source.pages = [page(renamed, child("low", "top"), child("beside", None))]
    assert bench.sync().target_writes == 2
    assert told() == {"Head Office": None, "low": "Head Office", "beside": None}
    assert bench.sync().target_writes == 0


# ---- 39: a record that points to nobody waits, and after its time a person hears of it


def pass_time(database: TestDatabase, hours: int) -> None:
    with transaction(database.owner_engine) as conn:
        conn.exec_driver_sql(f"update staging.booking set staged_at = staged_at - interval '{hours} hours'")


def findings(bench: Bench) -> list[dict[str, Any]]:
    return bench.rows("select kind, source_id, field, because, state, owner from ops.finding order by id")


def test_39_an_unknown_parent_is_a_finding_after_its_time(bench: Bench, module_database: TestDatabase) -> None:
    bench.run(page(child("a", "nobody"), child("b", None)))
    assert findings(bench) == []
    pass_time(module_database, 25)
    bench.run(page(child("a", "nobody"), child("b", None)))
    (found,) = findings(bench)
    assert (found["kind"], found["source_id"], found["field"]) == ("unresolved_reference", "a", "parent")
    assert found["because"] == "points to a booking that is not known after 24 hours"
    assert (found["state"], found["owner"]) == ("open", "head (Ada Moss)")
    assert bench.quarantine() == []
    assert bench.rows("select from ops.hold") == []
    assert set(parents(bench)) == {"a", "b"}

    bench.run(page(child("a", "nobody"), child("b", None), child("nobody", None)))
    assert [f["state"] for f in findings(bench)] == ["corrected"]
    assert parents(bench) == {"a": "nobody", "b": None, "nobody": None}


# ---- 14, 16, 42: who is one and who is not

COMPOSED, DECOMPOSED = "Caf\u00e9 Zo\u00eb M\u00fcller", "Cafe\u0301 Zoe\u0308 Mu\u0308ller"
HOMOGLYPH = "ann@ex\u0430mple.com"


@pytest.fixture(scope="module")
def shared_alike(
    shared: Bench, tmp_path_factory: pytest.TempPathFactory, module_database: TestDatabase
) -> Iterator[Bench]:
    match = "strong: [email]\n  unique: [note]\n  alike: [name, email]\n  link_above: 0.99\n  ask_above: 0.80"
    made = Bench(shared.source, tmp_path_factory.mktemp("alike"), module_database, match=match)
    yield made
    made.world.close()


@pytest.fixture
def alike(shared_alike: Bench, module_database: TestDatabase) -> Bench:
    """Bookings that are told apart by a number (`note`), their e-mail and their name."""
    return shared_alike.emptied(module_database)


def golden(bench: Bench) -> int:
    return len(bench.rows("select id from golden.booking"))


def reviews(bench: Bench) -> list[dict[str, Any]]:
    return bench.rows("select source_id, canonical_id, because, score from ops.review where state = 'open'")


def test_14_one_name_in_two_normal_forms_is_one_name(alike: Bench) -> None:
    alike.run(page(record(id="one", name=COMPOSED, email="zoe@example.com")))
    alike.run(page(record(id="two", name=DECOMPOSED, email="zoe@example.com")), mode="incremental")
    assert golden(alike) == 1
    assert alike.staged()["two"]["name"] == DECOMPOSED
    assert {r["payload"] for r in alike.rows("select payload from landing.raw_record where source_id = 'two'")} == {
        record(id="two", name=DECOMPOSED, email="zoe@example.com").decode()
    }


@pytest.mark.parametrize("together", [True, False], ids=["in-one-page", "later"])
def test_16_an_address_that_only_looks_the_same_links_nobody(alike: Bench, together: bool) -> None:
    known, other = (
        record(id="known", name="Ann Example", email="ann@example.com"),
        record(id="other", name="Ann Example", email=HOMOGLYPH),
    )
    if not together:
        alike.run(page(known))
    alike.run(page(known, other))
    linked = alike.rows("select canonical_id from ops.crosswalk where ended_at is null")
    assert len({row["canonical_id"] for row in linked}) == len(linked), "two records were taken for one"
    assert len(linked) + len(reviews(alike)) == 2, "the other is a record of its own, or asked about"
    assert alike.staged()["other"]["email"] == HOMOGLYPH


@pytest.mark.parametrize("together", [True, False], ids=["in-one-page", "later"])
def test_42_one_number_on_two_names_is_asked(alike: Bench, together: bool) -> None:
    first = record(id="first", name="Harbour Supplies Ltd", email="office@harbour.test", note="GB980780684")
    second = record(id="second", name="Quentin Marsh", email="quentin@marsh.test", note="GB980780684")
    if not together:
        alike.run(page(first))
    alike.run(page(first, second))
    linked = alike.rows("select source_id, canonical_id from ops.crosswalk where ended_at is null")
    assert len(linked) == 1
    (asked,) = reviews(alike)
    assert asked["because"]
    assert golden(alike) == 1
    assert len(alike.staged()) == 2

    again = alike.run(page(first, second))
    assert again[0].counts.unchanged == 2
    assert len(reviews(alike)) == 1


# ---- damage is no deletion

DAMAGE = {
    "11-half-a-character": b'"A\\ud800B"',
    "13-latin-1": b'"Caf\xe9"',
    "bad-escape": b'"A\\xB"',
    "line-break-in-text": b'"A\nB"',
    "07-nan": b"NaN",
    "no-value": b"",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_record_is_not_taken_for_gone(bench: Bench, name: str) -> None:
    """A sweep that cannot read a record has still seen it: the last good version stays, whatever `get` says."""
    good = [record(id=f"good-{n}") for n in range(3)]
    bench.run(page(record(id="hurt", name="Whole Ltd"), *good))
    damaged = record(id="hurt", name=DAMAGE[name], updated_at="2026-03-01T00:00:00Z")
    extracted, _ = bench.run(page(damaged, *good))
    assert (extracted.counts.refused, extracted.counts.deleted) == (1, 0)
    assert (bench.staged()["hurt"]["name"], bench.staged()["hurt"]["deleted"]) == ("Whole Ltd", False)
    (entry,) = bench.quarantine()
    assert (entry["source_id"], entry["scope"]) == ("hurt", "unreadable")

    bench.run(page(record(id="hurt", name="Mended Ltd", updated_at="2026-04-01T00:00:00Z"), *good))
    assert bench.staged()["hurt"]["name"] == "Mended Ltd"
    assert bench.quarantine() == []


# ---- 43: a walk that does not get on


@pytest.mark.slow
def test_43_pages_without_records_and_ever_new_tokens_end_too(bench: Bench) -> None:
    """Each token is new, each page is empty: the walk is given up after a number of pages, not after years."""
    bench.source.pages = [page(after=n + 1) for n in range(2_000)]
    with pytest.raises(SystemFault, match="without a record"):
        bench.run(*bench.source.pages)
    assert len(bench.source.requests) < 1_500


def test_43_a_few_empty_pages_are_walked_over(bench: Bench) -> None:
    extracted, _ = bench.run(*(page(after=n + 1) for n in range(20)), page(record(id="late")))
    assert set(bench.staged()) == {"late"}
    assert extracted.is_complete
