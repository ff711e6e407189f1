"""`concord golden` and `concord check --activate` as a person types them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fixtures.database import TestDatabase
from tests.fixtures.said import Concord, speaker
from tests.fixtures.shelf import Shelf, ShelfBench

BY = ("--by", "head", "--reason", "the same guest")


@contextmanager
def two_guests(folder: Path, database: TestDatabase) -> Iterator[ShelfBench]:
    with Shelf() as running, pytest.MonkeyPatch.context() as patch:
        made = ShelfBench(running, folder, database)
        for name in ("A", "B"):
            running.put(name, name=f"{name} Ltd", note=f"note {name}")
        made.sync()
        patch.setenv("CONCORD_LANDSCAPE", str(made.folder))
        yield made
        made.world.close()


@pytest.fixture
def bench(tmp_path: Path, database: TestDatabase) -> Iterator[ShelfBench]:
    with two_guests(tmp_path / "land", database) as made:
        yield made


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory, module_database: TestDatabase) -> Iterator[ShelfBench]:
    """The same, for tests that are refused."""
    with two_guests(tmp_path_factory.mktemp("untouched") / "land", module_database) as made:
        yield made


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Concord:
    return speaker(capsys)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("merge", "booking", "A Ltd", "A Ltd", *BY, "--yes"), "cannot be merged with itself"),
        (("merge", "booking", "A Ltd", "nobody", *BY, "--yes"), "no booking is known by 'nobody'"),
        (("merge", "bookin", "A Ltd", "B Ltd", *BY, "--yes"), "booking"),
        (("merge", "booking", "A Ltd", "B Ltd", "--by", "nobody", "--reason", "why not", "--yes"), "no role 'nobody'"),
        (("merge", "booking", "A Ltd", "B Ltd", *BY), "add --yes"),
        (("unmerge", "booking", "boo_x", *BY, "--yes"), "no merge of boo_x stands"),
    ],
    ids=["itself", "unknown-record", "unknown-entity", "unknown-role", "nobody-to-ask", "no-merge"],
)
@pytest.mark.usefixtures("untouched")
def test_what_cannot_be_merged_is_said_plainly(said: Concord, arguments: tuple[str, ...], told: str) -> None:
    no = said("golden", *arguments)
    assert no.code == 2
    assert told in " ".join(no.err.split())
    assert said("golden", "list", "--json").json == []


def test_two_are_merged_and_taken_apart_again(bench: ShelfBench, said: Concord) -> None:
    assert said("golden", "list").out.strip() == "no merges"
    merged = said("golden", "merge", "booking", "B Ltd", "shop/bookings/A", *BY, "--yes")
    assert merged.code == 0, merged.err
    assert "shop/bookings/A" in merged.out
    assert "is archived there" in merged.out
    bench.sync()
    assert sorted(bench.names().values()) == ["B Ltd"]

    (row,) = said("golden", "list", "--json").json
    assert (row["entity"], row["by"], row["reason"]) == ("booking", "head", "the same guest")
    assert row["loser"] in said("golden", "list").out
    story = said("explain", "booking", row["loser"])
    assert story.code == 0
    assert "deleted" in story.out

    back = said("golden", "unmerge", "booking", row["loser"], *BY, "--yes", "--json")
    assert back.code == 0, back.err
    assert [m["source_id"] for m in back.json["moves"]] == ["A"]
    assert said("golden", "list", "--json").json == []
    assert len(said("golden", "list", "--all", "--json").json) == 1


@pytest.mark.slow
def test_older_declarations_are_refused_until_a_person_puts_them_back(bench: ShelfBench, said: Concord) -> None:
    sheet = bench.folder / "mappings" / "shop.csv"
    old = sheet.read_text(encoding="utf-8")
    sheet.write_text(old.replace("booking.name,,\nshop,bookings.note", "booking.name,upper,\nshop,bookings.note"))
    assert said("sync", "all", "--without-prefect").code == 0
    assert sorted(bench.names().values()) == ["A LTD", "B LTD"]
    sheet.write_text(old, encoding="utf-8")
    no = said("sync", "all", "--without-prefect")
    assert no.code == 2
    assert "mappings/shop.csv" in no.err
    assert "concord check --activate" in " ".join(no.err.split())
    assert said("check", "--activate").code == 2
    back = said("check", "--activate", "--by", "head", "--reason", "capitals are ugly", "--yes")
    assert back.code == 0, back.err
    assert "mappings/shop.csv" in back.out
    assert said("sync", "all", "--without-prefect").code == 0
    assert sorted(bench.names().values()) == ["A Ltd", "B Ltd"]
    assert "nothing to do" in said("check", "--activate", "--by", "head", "--reason", "again", "--yes").out
