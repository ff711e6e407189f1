"""Fault matrix, records (rows 48, 49, 52, 53, 55): poison, floods, edit wars, merges, and what others do in a target.

The shop of `tests.fixtures.shelf`, read over a real socket; `books` is the target, and what stands there is the proof.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pytest

from canonical.mapping.decode import decode
from canonical.mapping.functions.base import Context
from canonical.mapping.pipeline import compile_rule, run_steps
from tasks import merging, part
from tasks.sync import TurnedAway
from tests.fixtures.database import TestDatabase
from tests.fixtures.shelf import Shelf, ShelfBench


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, module_database: TestDatabase) -> Iterator[ShelfBench]:
    with Shelf() as running:
        made = ShelfBench(running, tmp_path_factory.mktemp("shelf"), module_database)
        yield made
        made.world.close()


@pytest.fixture
def bench(shared: ShelfBench, module_database: TestDatabase) -> ShelfBench:
    """The shop on its first day, over an empty database."""
    shared.emptied(module_database)
    shared.source.reset()
    return shared


def findings(bench: ShelfBench) -> list[tuple[str, Any]]:
    """Open findings: kind and field."""
    rows = bench.rows("select kind, field from ops.finding where state = 'open' order by kind, field")
    return [(r["kind"], r["field"]) for r in rows]


def golden_of(bench: ShelfBench, source_id: str) -> str:
    """The golden record of one of the shop's records."""
    (row,) = bench.rows(
        "select canonical_id from ops.crosswalk where system = 'shop' and source_id = :id and ended_at is null",
        id=source_id,
    )
    return str(row["canonical_id"])


def live_golden(bench: ShelfBench) -> set[str]:
    """Names of the golden records that are not deleted."""
    return {r["name"] for r in bench.rows("select name from golden.booking where not deleted")}


def entry_named(bench: ShelfBench, name: str) -> dict[str, Any]:
    """The one entry of the books that has this name."""
    (found,) = [e for e in bench.source.ledger.values() if e["name"] == name and not e.get("gone")]
    return found


# --------------------------------------------------------------------------------------------------- 48: poison


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A mapping that falls over a record with POISON in it; gives the ids of what it was asked to map, try by try."""
    tries: list[list[str]] = []

    def fails(payloads: Sequence[bytes], paths: Sequence[str]) -> Any:
        tries.append([json.loads(p)["id"] for p in payloads])
        if any(b"POISON" in p for p in payloads):
            raise ZeroDivisionError("a fault of the mapping that no rule foresaw")
        return decode(payloads, paths)

    monkeypatch.setattr(part, "decode", fails)
    return tries


@pytest.mark.faults
def test_row_48_a_record_that_crashes_the_mapping(bench: ShelfBench, mapped: list[list[str]]) -> None:
    """It is tried three times by itself and set aside with its payload; every other record of the chunk arrives."""
    bench.source.page_size = 50
    bench.source.fill(60)
    bench.sync()
    bench.source.tick(hours=1)
    for number in range(40):
        bench.source.put(f"r{number:04}", name=f"Changed {number} Ltd")
    bench.source.put("r0017", name="POISON Ltd")
    mapped.clear()
    done = bench.sync("incremental")
    assert done.trouble == []
    assert mapped.count(["r0017"]) == 3
    (entry,) = bench.quarantine()
    assert (entry["source_id"], entry["rule"]) == ("r0017", "mappable")
    assert entry["reason"] == "it cannot be mapped, tried 3 times: ZeroDivisionError"
    assert "POISON" in entry["raw"]
    names = set(bench.names().values())
    assert {f"Changed {n} Ltd" for n in range(40) if n != 17} <= names
    assert "Guest 17 Ltd" in names, "the last good values stay"
    assert bench.agrees()
    assert bench.is_quiet()
    bench.source.put("r0017", name="Healed Ltd")
    bench.sync("incremental")
    assert bench.quarantine() == []
    assert "Healed Ltd" in bench.names().values()
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_48_a_mapping_that_falls_over_everything(bench: ShelfBench, mapped: list[list[str]]) -> None:
    """More than twenty such records are the mapping's fault: the stream stops, they stay landed, and none is lost."""
    bench.source.page_size = 50
    bench.source.fill(40)
    for number in range(40):
        bench.source.put(f"r{number:04}", note="POISON")
    with pytest.raises(ZeroDivisionError):
        bench.sync()
    assert bench.names() == {}
    for number in range(40):
        bench.source.put(f"r{number:04}", note=f"well {number}")
    assert bench.sync().trouble == []
    assert len(bench.names()) == 40
    assert bench.quarantine() == []
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_48_a_record_of_twenty_megabytes(bench: ShelfBench) -> None:
    """It is set aside by its size before anything is made of it; the records beside it arrive."""
    bench.source.fill(3)
    bench.source.put("huge", note="x" * 20_000_000)
    done = bench.sync()
    assert done.trouble == []
    (entry,) = bench.quarantine()
    assert (entry["source_id"], entry["scope"]) == ("huge", "unreadable")
    assert "expected at most 10485760 bytes" in entry["reason"]
    assert len(bench.names()) == 3
    del bench.source.records["huge"]
    bench.sync()
    assert bench.is_quiet()


def test_row_48_a_name_that_would_take_minutes() -> None:
    """What a rule would chew on for minutes is a problem of that record: names have a length that rules take."""
    book = "Ann Miller and " * 600_000
    step = compile_rule("split_name last", Context(system=None, model=None, sources=("name",)))  # type: ignore[arg-type]
    values = pl.Series([book, "Ann Smith-Jones"])
    found = run_steps(step, (values,), pl.DataFrame({"name": values}))
    assert found.values.to_list() == [None, "Smith-Jones"]
    assert found.bad is not None
    assert found.bad[0] == f"expected a name of at most 1000 characters, found {len(book)}"


# ------------------------------------------------------------------------------------------------ 49: a sudden flood


@pytest.mark.faults
def test_row_49_forty_per_cent_of_the_records_fail_suddenly(bench: ShelfBench) -> None:
    """The lane stops with one reason; nothing is quarantined one by one, the last good values stay, and it goes on."""
    bench.source.page_size = 50
    bench.source.fill(100)
    bench.sync()
    names = bench.names()
    bench.source.tick(hours=1)
    for number in range(40):
        bench.source.put(f"r{number:04}", ccy="XQQ", name="Broken Ltd")
    for _ in range(2):
        done = bench.sync()
        assert [t.kind for t in done.trouble] == ["GateStopped"]
        assert done.target_writes == 0
    assert bench.quarantine() == []
    assert bench.names() == names
    assert bench.agrees()
    for number in range(40):
        bench.source.put(f"r{number:04}", ccy="EUR", name=f"Right {number} Ltd")
    assert bench.sync().trouble == []
    assert "Right 39 Ltd" in bench.names().values()
    assert bench.is_quiet()


# ----------------------------------------------------------------------------------------- 52 and 55: hands in a target


def test_row_52_the_same_field_on_both_sides_in_the_same_second(bench: ShelfBench) -> None:
    """The system of record wins, and what was typed elsewhere is reported with both values."""
    bench.source.put("one", name="Before Ltd")
    bench.sync()
    bench.source.tick(minutes=5)
    bench.source.put("one", name="From the shop Ltd")
    entry_named(bench, "Before Ltd")["name"] = "From the books Ltd"
    bench.sync()
    assert list(bench.names().values()) == ["From the shop Ltd"]
    rows = bench.rows("select kind, field, theirs, state from ops.finding")
    assert [(r["kind"], r["field"], r["theirs"]) for r in rows] == [("unauthorised_edit", "name", "From the books Ltd")]
    assert bench.is_quiet()
    assert findings(bench) == []


@pytest.mark.faults
def test_row_52_an_edit_war(bench: ShelfBench) -> None:
    """After four times in an hour the field is left alone there and a person is told; accepted, it is written again."""
    bench.source.put("one", name="Ours Ltd", price=10)
    bench.source.put("two", name="Other Ltd")
    bench.sync()
    entry = entry_named(bench, "Ours Ltd")
    for _ in range(4):
        entry["name"] = "Theirs Ltd"
        assert bench.sync("incremental").target_writes == 1
        assert entry["name"] == "Ours Ltd"
    entry["name"] = "Theirs Ltd"
    for _ in range(2):
        assert bench.sync("incremental").target_writes == 0
        assert entry["name"] == "Theirs Ltd"
    (war,) = bench.rows("select id, field, ours, theirs, owner from ops.finding where kind = 'edit_war'")
    assert (war["field"], war["ours"], war["theirs"]) == ("name", "Ours Ltd", "Theirs Ltd")

    bench.source.tick(minutes=5)
    bench.source.put("one", price=11)  # other fields, and other records, are told as before
    bench.source.put("two", name="Another Ltd")
    bench.sync("incremental")
    assert (entry["name"], float(entry["price"])) == ("Theirs Ltd", 11.0)
    assert "Another Ltd" in bench.names().values()

    bench.accept(war["id"])
    bench.source.put("one", name="Ours again Ltd")
    bench.sync("incremental")
    assert entry["name"] == "Ours again Ltd"
    assert bench.is_quiet()


def test_row_55_somebody_edits_our_record_in_the_target(bench: ShelfBench) -> None:
    """It is found by the next sync, reported with both values, and put back as declared."""
    bench.source.put("one", name="Ours Ltd")
    bench.sync()
    entry_named(bench, "Ours Ltd")["name"] = "Theirs Ltd"
    bench.sync("incremental")
    assert list(bench.names().values()) == ["Ours Ltd"]
    (row,) = bench.rows("select kind, ours, theirs, state from ops.finding")
    assert (row["kind"], row["ours"], row["theirs"], row["state"]) == (
        "unauthorised_edit",
        "Ours Ltd",
        "Theirs Ltd",
        "corrected",
    )
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_55_somebody_deletes_our_record_in_the_target(bench: ShelfBench) -> None:
    """It is a finding after two sweeps and its own 404; it is neither deleted elsewhere nor created a second time."""
    bench.source.put("one", name="Ours Ltd")
    bench.source.put("two", name="Other Ltd")
    bench.sync()
    bench.source.ledger.pop(entry_named(bench, "Ours Ltd")["id"])
    for _ in range(3):
        bench.sync("full")
    assert findings(bench) == [("deleted_elsewhere", None)]
    assert list(bench.names().values()) == ["Other Ltd"]
    assert live_golden(bench) == {"Ours Ltd", "Other Ltd"}
    assert bench.is_quiet()


# ----------------------------------------------------------------------------------- 53: merged, reopened, typed again


def _three(bench: ShelfBench) -> list[str]:
    """Three records that turn out to be one; gives their golden ids."""
    for name in ("A", "B", "C"):
        bench.source.put(name, name=f"{name} Ltd", note=f"note {name}")
    bench.sync()
    assert len(bench.names()) == 3
    return [golden_of(bench, name) for name in ("A", "B", "C")]


@pytest.mark.faults
def test_row_53_a_chain_of_merges(bench: ShelfBench) -> None:
    """A into B into C: one live golden record, one live entry in the target; the others archived, never made again."""
    a, b, c = _three(bench)
    merging.merge_records(bench.world, "booking", b, a, by="head", reason="the same guest")
    merging.merge_records(bench.world, "booking", c, b, by="head", reason="the same guest")
    bench.sync()
    assert live_golden(bench) == {"C Ltd"}
    assert list(bench.names().values()) == ["C Ltd"]
    assert sum(1 for e in bench.source.ledger.values() if e.get("gone")) == 2
    assert {golden_of(bench, each) for each in "ABC"} == {c}
    assert bench.is_quiet()
    bench.source.put("A", name="A moved Ltd")  # a merged record is edited on: it makes nothing new
    bench.sync("incremental")
    assert len(bench.source.ledger) == 3
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_53_a_circle_of_merges(bench: ShelfBench) -> None:
    """What would close a circle, or merge what is merged, is refused with the way out, and nothing is done."""
    a, b, c = _three(bench)
    merging.merge_records(bench.world, "booking", b, a, by="head", reason="the same guest")
    merging.merge_records(bench.world, "booking", c, b, by="head", reason="the same guest")
    for winner, loser, said in ((a, c, "circle"), (b, a, "unmerge it first"), (c, c, "itself"), (a, b, "unmerge")):
        with pytest.raises(TurnedAway, match=said):
            merging.merge_records(bench.world, "booking", winner, loser, by="head", reason="no")
    bench.sync()
    assert live_golden(bench) == {"C Ltd"}
    assert bench.is_quiet()


def test_row_53_a_merge_taken_back(bench: ShelfBench) -> None:
    """The record is one of its own again with its own links and history; what cannot be un-archived is a finding."""
    a, b, _ = _three(bench)
    merging.merge_records(bench.world, "booking", b, a, by="head", reason="the same guest")
    bench.sync()
    assert live_golden(bench) == {"B Ltd", "C Ltd"}
    undone = merging.unmerge(bench.world, "booking", a, by="head", reason="two after all")
    assert [(m.link.system, m.link.source_id) for m in undone.moves] == [("shop", "A")]
    bench.sync()
    assert live_golden(bench) == {"A Ltd", "B Ltd", "C Ltd"}
    assert golden_of(bench, "A") == a
    assert ("reopened", None) in findings(bench)
    assert len(bench.source.ledger) == 3, "nothing is made a second time"
    told = bench.rows(
        "select changes from golden.history where entity = 'booking' and canonical_id = :id order by version", id=a
    )
    said = " ".join(change["because"] for row in told for change in row["changes"])
    assert "merged by head" in said
    assert "unmerged by head: two after all" in said
    assert bench.rows("select ended_because from ops.crosswalk where ended_at is not null") != []
    actions = [r["action"] for r in bench.rows("select action from ops.audit order by id")]
    assert "record.merged" in actions
    assert "record.unmerged" in actions
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_53_a_merge_taken_back_before_anything_was_told(bench: ShelfBench) -> None:
    """Undone before the next sync, nothing has happened to anybody."""
    a, b, _ = _three(bench)
    before = {i: dict(e) for i, e in bench.source.ledger.items()}
    merging.merge_records(bench.world, "booking", b, a, by="head", reason="the same guest")
    merging.unmerge(bench.world, "booking", a, by="head", reason="no, two")
    assert bench.sync().trouble == []
    assert bench.source.ledger == before
    assert live_golden(bench) == {"A Ltd", "B Ltd", "C Ltd"}
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_53_what_points_to_a_merged_record(bench: ShelfBench) -> None:
    """References follow a merge, and come back with it."""
    a, b, _ = _three(bench)
    bench.source.put("child", name="Child Ltd", parent="A")
    bench.sync()
    parent = "select parent from golden.booking where name = 'Child Ltd'"
    assert bench.rows(parent) == [{"parent": a}]
    merging.merge_records(bench.world, "booking", b, a, by="head", reason="the same guest")
    bench.sync()
    assert bench.rows(parent) == [{"parent": b}]
    assert entry_named(bench, "Child Ltd")["parent_name"] == "B Ltd"
    assert bench.is_quiet()
    merging.unmerge(bench.world, "booking", a, by="head", reason="two after all")
    bench.sync()
    assert bench.rows(parent) == [{"parent": a}]
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_53_deleted_and_typed_again(bench: ShelfBench) -> None:
    """Typed again with the same identifier under another id, it is the golden record that it was."""
    a, *_ = _three(bench)
    record = bench.source.records.pop("A")
    for _ in range(3):
        bench.sync()
    assert live_golden(bench) == {"B Ltd", "C Ltd"}
    bench.source.tick(hours=1)
    bench.source.put("A2", name="A again Ltd", note=record["note"])
    bench.sync("incremental")
    assert golden_of(bench, "A2") == a
    assert live_golden(bench) == {"A again Ltd", "B Ltd", "C Ltd"}
    assert len(bench.source.ledger) == 3
    assert findings(bench) == [("reopened", None)], "the target cannot bring an archived entry back: a person does"
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_53_reopened_under_its_own_id(bench: ShelfBench) -> None:
    """A record that was gone and shows again is the golden record that it was; nothing is made twice."""
    a, *_ = _three(bench)
    record = bench.source.records.pop("A")
    for _ in range(3):
        bench.sync()
    assert live_golden(bench) == {"B Ltd", "C Ltd"}
    bench.source.tick(hours=1)
    bench.source.records["A"] = {**record, "updated_at": bench.source.mark()}
    bench.sync("incremental")
    assert golden_of(bench, "A") == a
    assert live_golden(bench) == {"A Ltd", "B Ltd", "C Ltd"}
    assert len(bench.source.ledger) == 3
    assert bench.is_quiet()
