"""RELIABILITY section 3, source records, what one record alone does not show: who is matched, who waits, what is seen.

The cases of single records are in test_bad_inputs.py; the numbers are those of the table in RELIABILITY.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
