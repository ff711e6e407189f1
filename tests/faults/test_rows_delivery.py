"""Rows of the fault matrix about delivery: each write once, whatever is cut, lost, doubled or made up on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.database import TestDatabase
from tests.fixtures.till import Counter, Till

Open = Callable[..., Counter]


@pytest.fixture
def till() -> Iterator[Till]:
    with Till() as running:
        yield running


@pytest.fixture
def counter(till: Till, tmp_path: Path, database: TestDatabase) -> Iterator[Open]:
    opened: list[Counter] = []

    def open_it(**options: Any) -> Counter:
        opened.append(Counter(till, tmp_path / f"landscape-{len(opened)}", database, **options))
        return opened[-1]

    yield open_it
    for each in opened:
        each.close()


# -------------------------------------------------------------------------------------- 23, 24: the answer is lost


def test_row_23_reset_after_the_create_was_stored_class_a(till: Till, counter: Open) -> None:
    """The same request is sent again under the same key, and the target knows it again: one record."""
    shop = counter(write_class="A")
    till.sell_to("ann")
    till.befall("reset_after")
    shop.sync()
    shop.settled()
    assert till.names() == ["Ann"]
    first, second = till.creates()
    assert (first.key, first.body) == (second.key, second.body)
    assert first.key
    assert shop.states() == {"delivered": 1}
    assert shop.is_at_rest()


def test_row_23_reset_after_a_batch_was_stored_class_a(till: Till, counter: Open) -> None:
    """A batch has one key: it is sent again as it was, also when more writes have become due meanwhile."""
    shop = counter(write_class="A", batch=10)
    till.sell_to("ann", "bob", "cyd")
    till.befall("reset_after")
    till.befall("status", method="POST", status=503, count=1, skip=0)
    shop.sync()
    till.sell_to("dan")
    shop.sync()
    shop.settled()
    assert till.names() == ["Ann", "Bob", "Cyd", "Dan"]
    assert shop.states() == {"delivered": 4}
    assert shop.is_at_rest()


def test_row_23_reset_after_the_create_was_stored_class_b(till: Till, counter: Open) -> None:
    """The target is searched, the record found and linked: nothing is sent again."""
    shop = counter(write_class="B")
    till.sell_to("ann")
    till.befall("reset_after")
    shop.sync()
    shop.settled()
    assert till.names() == ["Ann"]
    assert len(till.creates()) == 1
    assert shop.states() == {"delivered": 1}
    assert shop.is_at_rest()


def test_row_23_reset_after_the_create_was_stored_class_c(till: Till, counter: Open) -> None:
    """A person is asked whether it exists; nothing is sent before the answer, and what is refused stays unsent."""
    shop = counter(write_class="C")
    till.sell_to("ann")
    till.befall("reset_after")
    shop.sync()
    shop.settled()
    assert len(till.creates()) == 1
    [hold] = shop.rows("select id, kind, reason, owner, writes from ops.hold where state = 'open'")
    assert "may exist" in hold["reason"]
    assert hold["owner"].startswith("head")
    assert shop.states() == {"held": 1}
    from staging import holds

    with shop.world.transaction() as conn:
        holds.reject(conn, hold["id"], by="head", reason="it is there")
    shop.settled()
    assert till.names() == ["Ann"]
    assert shop.is_at_rest()


@pytest.mark.parametrize("write_class", ["A", "B", "C"])
def test_row_24_reset_before_the_create_was_stored(till: Till, counter: Open, write_class: str) -> None:
    """Created exactly once: by the same key, after a search, or when a person has looked and said so."""
    shop = counter(write_class=write_class)
    till.sell_to("ann")
    till.befall("reset_before")
    shop.sync()
    shop.settled()
    if write_class == "C":
        assert till.names() == []
        from staging import holds

        [hold] = shop.rows("select id from ops.hold where state = 'open'")
        with shop.world.transaction() as conn:
            holds.approve(conn, hold["id"], by="head", reason="it is not there")
        shop.settled()
    assert till.names() == ["Ann"]
    assert shop.states() == {"delivered": 1}
    assert shop.is_at_rest()


# ----------------------------------------------------------------------------- 25: an answer that is not to be believed


@pytest.mark.parametrize(
    ("how", "more"),
    [
        pytest.param("status_after", {"status": 500}, id="500 though stored"),
        pytest.param("empty", {}, id="201 without a body"),
        pytest.param("answers", {"body": {"id": "T404"}}, id="the id of no record"),
        pytest.param("answers", {"body": lambda told: {**told, "id": "T1"}}, id="the id of another record"),
        pytest.param("accepted", {"seconds": 0.0}, id="202, done a little later"),
        pytest.param("accepted", {"seconds": -1.0}, id="202, never done"),
    ],
)
@pytest.mark.parametrize("write_class", ["A", "B"])
def test_row_25_an_answer_to_a_create_that_cannot_be_believed(
    till: Till, counter: Open, write_class: str, how: Any, more: dict[str, Any]
) -> None:
    """No id is kept that was not read back: the record is looked up, or made again under its key. One record each."""
    shop = counter(write_class=write_class, finds=True)
    till.sell_to("zoe")
    shop.sync()
    till.sell_to("ann")
    till.befall(how, **more)
    shop.sync()
    shop.settled()
    assert till.names() == ["Ann", "Zoe"]
    links = shop.rows("select source_id, canonical_id from ops.crosswalk where system = 'till' and ended_at is null")
    assert {r["source_id"] for r in links} == set(till.records)
    assert len({r["canonical_id"] for r in links}) == 2
    assert shop.is_at_rest()


# ------------------------------------------------------------------------------------------------ 26: keys that end


def test_row_26_a_key_that_is_no_longer_known_is_not_trusted(till: Till, counter: Open) -> None:
    """Past its key's declared life a create is looked for; where it cannot be, a person is asked."""
    till.key_life_seconds = 1800.0
    shop = counter(write_class="A", key_life="30m", finds=False)
    till.sell_to("ann")
    till.befall("reset_after")
    till.befall("reset_before")
    shop.sync()
    till.key_life_seconds = 0.0  # half an hour has gone by, for the till
    shop.run("update ops.outbox set sent_at = sent_at - interval '31 minutes'")  # and for us
    shop.settled()
    assert till.names() == ["Ann"]
    assert len(till.creates()) == 2
    [hold] = shop.rows("select reason from ops.hold where state = 'open'")
    assert "its key is no longer known" in hold["reason"]


def test_row_26_a_key_that_is_no_longer_known_is_searched_for(till: Till, counter: Open) -> None:
    """Past its key's declared life a create that can be searched for is found, and not sent again."""
    shop = counter(write_class="A", key_life="30m", finds=True)
    till.sell_to("ann")
    till.befall("reset_after")
    till.befall("status", method="GET", path="/till/search", status=503, skip=1)
    shop.sync()
    till.key_life_seconds = 0.0
    shop.run("update ops.outbox set sent_at = sent_at - interval '31 minutes'")
    shop.settled()
    assert till.names() == ["Ann"]
    assert len(till.creates()) == 1
    assert shop.is_at_rest()


def test_row_26_a_create_that_was_refused_is_put_right_under_a_key_of_its_own(till: Till, counter: Open) -> None:
    """A target remembers a refused body with its key: what a person has put right is sent under another one."""

    def keeps(record: dict[str, Any]) -> dict[str, Any]:
        if "bad" in str(record.get("note")):
            raise ValueError("note: not that word")
        return record

    till.keeps = keeps
    shop = counter(write_class="A")
    till.sell_to("ann", note="bad")
    assert shop.sync().rejected == 1
    till.sell_to("ann", note="good")
    shop.sync()
    shop.settled()
    assert till.names() == ["Ann"]
    assert shop.is_at_rest()


# ------------------------------------------------------------------------------------- 27: a search that lags behind


def test_row_27_a_search_that_lags_behind_makes_no_second_record(till: Till, counter: Open) -> None:
    """What a search does not find yet is not sent again before the declared lag is over and a second search is done."""
    till.index_lag_seconds = 1.0
    shop = counter(write_class="B", index_lag="2s")
    till.sell_to("ann")
    till.befall("reset_after")
    shop.sync()
    [waits] = shop.rows("select state, extract(epoch from due_at - now())::float8 as s from ops.outbox")
    assert waits["state"] == "ready"
    assert waits["s"] > 0.5
    shop.deliver()
    assert len(till.creates()) == 1, "nothing is sent before the lag is over"
    import time

    time.sleep(2.2)
    shop.sync()
    assert till.names() == ["Ann"]
    assert len(till.creates()) == 1
    assert shop.is_at_rest()


# ------------------------------------------------------------------------------------------------------ 38: batches


def _mixed(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Another order, one left out, and one that nobody asked about."""
    kept = [one for one in results if (one.get("record") or {}).get("name") != "Cyd"]
    stranger = {"ref": "99999", "record": {"id": "T77", "name": "Somebody else"}}
    return [stranger, *reversed(kept)]


@pytest.mark.parametrize("status", [200, 207])
@pytest.mark.parametrize("has_ref", [True, False], ids=["told by reference", "told by content"])
def test_row_38_each_item_of_a_batch_has_its_own_outcome(
    till: Till, counter: Open, status: int, has_ref: bool
) -> None:
    """Done, refused, missing and unasked are told apart by what items say, never by where they stand: a refused one is
    a dead letter, a missing one is looked for, an unasked one is a finding."""

    def keeps(record: dict[str, Any]) -> dict[str, Any]:
        if record.get("name") == "Bob":
            raise ValueError("no Bobs")
        return record

    till.keeps, till.shapes_batch, till.batch_status = keeps, _mixed, status
    shop = counter(write_class="B", batch=10, has_ref=has_ref)
    till.sell_to("ann", "bob", "cyd", "dan")
    shop.sync()
    till.shapes_batch = list
    shop.settled()
    assert till.names() == ["Ann", "Cyd", "Dan"]
    links = shop.rows(
        "select g.name, c.source_id from ops.crosswalk c join golden.customer g on g.id = c.canonical_id"
        " where c.system = 'till' and c.ended_at is null"
    )
    assert {r["name"]: till.records[r["source_id"]]["name"] for r in links} == {n: n for n in till.names()}
    [letter] = shop.rows("select reason from ops.dead_letter where state = 'open'")
    assert "no Bobs" in letter["reason"]
    [unasked] = shop.rows("select source_id from ops.finding where kind = 'unasked_answer' and state = 'open'")
    assert unasked["source_id"] == "T77"
    assert shop.states() == {"delivered": 3, "rejected": 1}
    assert shop.is_at_rest()
