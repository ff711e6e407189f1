"""Rows of the fault matrix about delivery: each write once, whatever is cut, lost, doubled or made up on the way."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

from staging import delivery, holds
from staging.crash import VARIABLE
from tasks.deliver import deliver
from tasks.sync import SyncBusy
from tasks.world import World
from tests.fixtures.cutwire import CutWire
from tests.fixtures.database import TestDatabase
from tests.fixtures.patience import until
from tests.fixtures.till import LEASE, Counter, Till

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


def ended(process: subprocess.Popen[str], seconds: float = 90) -> tuple[int, str]:
    """How a process ended, and what it said."""
    out, said = process.communicate(timeout=seconds)
    return process.returncode, out + said


def is_stopped(process: subprocess.Popen[str]) -> bool:
    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED


# ---------------------------------------------------------------------------- 3, 7, 8, 9: killed, stopped, paused, many

POINTS = ("deliver.claimed", "deliver.sending", "deliver.sent", "deliver.settling", "deliver.settled")


def _killed_at() -> Iterator[Any]:
    for write_class in ("A", "B"):
        for point in POINTS:
            is_quick = (write_class, point) == ("B", "deliver.sent")
            yield pytest.param(write_class, point, marks=() if is_quick else pytest.mark.faults, id=write_class + point)


@pytest.mark.parametrize(("write_class", "point"), list(_killed_at()))
def test_row_03_killed_while_delivering(till: Till, counter: Open, write_class: str, point: str) -> None:
    """Killed at any moment of a delivery, the next one looks what became of it: each record exists once."""
    shop = counter(write_class=write_class, batch=2)
    till.sell_to("ann", "bob", "cyd")
    shop.ready()
    code, said = ended(shop.worker(**{VARIABLE: point}))
    assert code == -signal.SIGKILL, said
    shop.settled()
    assert till.names() == ["Ann", "Bob", "Cyd"]
    assert shop.states() == {"delivered": 3}
    assert shop.is_at_rest()


def test_row_03_killed_before_the_answer_is_stored_class_c(till: Till, counter: Open) -> None:
    """Where nobody can look, what may have been sent is not sent again: a person is asked."""
    shop = counter(write_class="C")
    till.sell_to("ann")
    shop.ready()
    code, said = ended(shop.worker(**{VARIABLE: "deliver.sent"}))
    assert code == -signal.SIGKILL, said
    shop.settled()
    assert till.names() == ["Ann"]
    assert shop.states() == {"held": 1}
    assert shop.is_at_rest()


@pytest.mark.faults
def test_row_07_asked_to_stop_in_the_middle_of_a_batch(till: Till, counter: Open) -> None:
    """SIGTERM lets the write at hand end and be stored; it ends with 0, and the rest goes out with the next run."""
    shop = counter(write_class="B")
    till.sell_to(*(f"buyer{n}" for n in range(12)))
    till.befall("delay", count=-1, seconds=0.4)
    shop.ready()
    command = [sys.executable, "-m", "apps.cli", "--landscape", str(shop.folder), "deliver"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(60, "it sends nothing", till.creates, every=0.02)
    process.terminate()
    began = time.monotonic()
    code, said = ended(process, 30)
    assert (code, "stopped as asked" in said) == (0, True), said
    assert time.monotonic() - began < 30
    states = shop.states()
    assert states.keys() == {"delivered", "ready"}, "nothing is left in flight"
    assert states["delivered"] == len(till.records)
    till.troubles.clear()
    shop.settled()
    assert len(set(till.names())) == len(till.records) == 12
    assert shop.is_at_rest()


@pytest.mark.faults
def test_row_07_asked_to_stop_in_the_middle_of_a_sync(till: Till, counter: Open) -> None:
    """SIGTERM ends a whole sync the same way: what was written is stored, and the run does not count as complete."""
    shop = counter(write_class="B")
    till.sell_to(*(f"buyer{n}" for n in range(12)))
    till.befall("delay", count=-1, seconds=0.4)
    command = [sys.executable, "-m", "apps.cli", "--landscape", str(shop.folder), "sync", "--without-prefect"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(120, "it sends nothing", till.creates, every=0.02)
    process.terminate()
    code, said = ended(process, 30)
    assert code == 0, said
    [run] = shop.rows("select state, error from ops.sync")
    assert (run["state"], "stopped as asked" in run["error"]) == ("abandoned", True)
    assert shop.states().keys() == {"delivered", "ready"}
    till.troubles.clear()
    shop.settled()
    assert len(set(till.names())) == len(till.records) == 12
    assert shop.is_at_rest()


@pytest.mark.faults
@pytest.mark.parametrize(
    "point",
    ["deliver.sending", *(pytest.param(p, marks=pytest.mark.faults) for p in ("deliver.claimed", "deliver.sent"))],
)
@pytest.mark.parametrize("write_class", ["B", pytest.param("C", marks=pytest.mark.faults)])
def test_row_08_a_worker_that_slept_past_its_lease_writes_nothing(
    till: Till, counter: Open, write_class: str, point: str
) -> None:
    """Another one has taken its writes over: what it would have sent is not sent, and what it stores finds no row."""
    shop = counter(write_class=write_class)
    till.sell_to("ann")
    shop.ready()
    sleeper = shop.worker(**{VARIABLE: f"{point}:1:stop", LEASE: "1.5"})
    try:
        until(60, "it never came there", lambda: is_stopped(sleeper), every=0.02)
        time.sleep(3 * 1.5)
        shop.settled()  # the other worker
        before = (shop.states(), len(till.writes()), shop.rows("select * from ops.crosswalk order by id"))
        sleeper.send_signal(signal.SIGCONT)
        code, said = ended(sleeper)
    finally:
        sleeper.kill()
    assert code == 0, said
    assert (shop.states(), len(till.writes()), shop.rows("select * from ops.crosswalk order by id")) == before
    if write_class == "C" and point != "deliver.claimed":
        assert shop.states() == {"held": 1}, "whether it was sent cannot be known: a person is asked"
    else:
        assert till.names() == ["Ann"]
    assert shop.is_at_rest()


def test_row_08_what_a_worker_stores_that_has_lost_its_writes(till: Till, counter: Open) -> None:
    """Every statement of a worker finds only writes that it still holds; of two that take over, one does."""
    shop = counter(write_class="B")
    till.sell_to("ann")
    shop.ready()
    lane, names = ("till", "buyers", "customer", "create"), tuple(shop.world.landscape.integrations)
    with shop.world.transaction() as conn:
        claimed = delivery.claim(conn, lane, names, worker="a", limit=5, lease_seconds=0.0)
    [write] = [int(row["id"]) for row in claimed]
    with shop.world.transaction() as conn:
        assert delivery.take_over(conn, claimed, worker="b", lease_seconds=60) == {write}
    answer = pl.DataFrame(
        {
            "outbox_id": [write], "state": ["ready"], "source_id": ["T1"], "reason": ["late"], "wait_seconds": [0.0],
            "is_counted": [True],
        }
    )  # fmt: skip
    with shop.world.transaction() as conn:
        assert delivery.take_over(conn, claimed, worker="c", lease_seconds=60) == set()
        assert delivery.sending(conn, [write], worker="a", lease_seconds=60, request="r/1", is_again=False) == set()
        assert delivery.renew(conn, [write], worker="a", lease_seconds=60) == set()
        assert delivery.settle(conn, answer, worker="a") == set()
        assert delivery.park(conn, [write], "late", 1, worker="a") == 0
        assert delivery.again(conn, [write], "late", worker="a") == 0
    [kept] = shop.rows("select state, claimed_by, source_id, request from ops.outbox")
    assert kept == {"state": "unknown", "claimed_by": "b", "source_id": None, "request": None}


def test_row_09_two_syncs_of_one_integration_at_once(till: Till, counter: Open) -> None:
    """One of them takes the lane and does all of it; the other is told who is at it, and touches nothing."""
    shop = counter(write_class="B")
    till.sell_to("ann", "bob")
    till.befall("delay", method="GET", path="/shop", seconds=1.0)
    other = Counter.beside(shop)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(one.sync) for one in (shop, other)]
        errors = [one.exception() for one in asked]
    other.close()
    assert [type(error) for error in errors if error] == [SyncBusy]
    assert len([a for a in till.asked if a.path == "/shop"]) == 1
    assert till.names() == ["Ann", "Bob"]
    assert shop.is_at_rest()


def test_row_09_four_workers_on_one_outbox(till: Till, counter: Open) -> None:
    """They share the work: each write is sent once, by one of them."""
    shop = counter(write_class="B", batch=3)
    names = [f"buyer{n}" for n in range(40)]
    till.sell_to(*names)
    till.befall("delay", count=-1, seconds=0.02)
    shop.ready()
    worlds = [World.of(shop.folder) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda world: deliver(world, tuple(world.landscape.integrations)), worlds))
    for world in worlds:
        world.close()
    assert sum(d.writes for d in done) == 40
    assert sorted(till.names()) == sorted(name.title() for name in names)
    till.troubles.clear()
    assert shop.is_at_rest()


@pytest.mark.faults
def test_row_09_four_processes_on_one_outbox(till: Till, counter: Open) -> None:
    """Started at once, each write is sent once; one of them that dies leaves its writes to the others."""
    shop = counter(write_class="B", batch=3)
    names = [f"buyer{n}" for n in range(60)]
    till.sell_to(*names)
    till.befall("delay", count=-1, seconds=0.1)
    shop.ready()
    workers = [shop.worker(**({VARIABLE: "deliver.sent:2"} if n == 0 else {})) for n in range(4)]
    codes = [ended(worker)[0] for worker in workers]
    assert codes == [-signal.SIGKILL, 0, 0, 0]
    till.troubles.clear()
    shop.settled()
    assert sorted(till.names()) == sorted(name.title() for name in names)
    assert shop.is_at_rest()


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
    with shop.world.transaction() as conn:
        holds.reject(conn, hold["id"], by="head", reason="it is there")
    shop.settled()
    assert till.names() == ["Ann"]
    till.sell_to("ann", note="moved house")
    shop.sync()
    assert shop.states() == {"held": 1}, "what may be there is asked about again when it changes"
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
        pytest.param("empty", {}, marks=pytest.mark.faults, id="201 without a body"),
        pytest.param("answers", {"body": {"id": "T404"}}, marks=pytest.mark.faults, id="the id of no record"),
        pytest.param("answers", {"body": lambda told: {**told, "id": "T1"}}, id="the id of another record"),
        pytest.param("accepted", {"seconds": 0.0}, marks=pytest.mark.faults, id="202, done a little later"),
        pytest.param("accepted", {"seconds": -1.0}, id="202, never done"),
    ],
)
@pytest.mark.parametrize("write_class", ["A", pytest.param("B", marks=pytest.mark.faults)])
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


@pytest.mark.parametrize("write_class", ["B", "C"])
def test_row_25_an_id_that_cannot_be_read_back_yet(till: Till, counter: Open, write_class: str) -> None:
    """An answer that names only an id is believed when its record was read; until then the write stays unknown."""
    shop = counter(write_class=write_class)
    till.sell_to("ann")
    till.befall("answers", body=lambda told: {"id": told["id"]}, count=-1)
    hidden = till.befall("status", method="GET", path="/till/T", status=503, count=-1)
    shop.sync()
    assert shop.states() == {"unknown": 1}
    assert shop.rows("select 1 from ops.crosswalk where system = 'till'") == []
    hidden.count = 0
    shop.settled()
    assert till.names() == ["Ann"]
    assert len(till.creates()) == 1
    assert shop.states() == {"delivered": 1}
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
    assert shop.is_at_rest()


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


@pytest.mark.faults
def test_row_26_a_key_that_is_still_worked_on_is_no_refusal(till: Till, counter: Open) -> None:
    """409 and 422 about a key say that something was sent under it: it is asked again or looked for, never buried."""
    shop = counter(write_class="A")
    till.sell_to("ann")
    till.befall("reset_after")
    till.befall("status", status=409, body={"error": "a request with this idempotency key is in progress"})
    till.befall("status", status=422, body={"error": "Idempotency-Key was used for another body"})
    shop.sync()
    shop.settled()
    assert till.names() == ["Ann"]
    assert shop.rows("select 1 from ops.dead_letter") == []
    assert shop.states() == {"delivered": 1}
    assert shop.is_at_rest()


@pytest.mark.faults
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
    time.sleep(2.2)
    shop.sync()
    shop.sync()  # what was found is brought up to date at the latest now
    assert till.names() == ["Ann"]
    assert len(till.creates()) == 1
    assert shop.is_at_rest()


# ------------------------------------------------------------------------------------------------------ 38: batches


def _mixed(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Another order, one left out, and one that nobody asked about."""
    kept = [one for one in results if (one.get("record") or {}).get("name") != "Cyd"]
    stranger = {"ref": "99999", "record": {"id": "T77", "name": "Somebody else"}}
    return [stranger, *reversed(kept)]


@pytest.mark.parametrize("status", [pytest.param(200, marks=pytest.mark.faults), 207])
@pytest.mark.parametrize("has_ref", [True, False], ids=["told by reference", "told by content"])
def test_row_38_each_item_of_a_batch_has_its_own_outcome(till: Till, counter: Open, status: int, has_ref: bool) -> None:
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


# --------------------------------------------------------------------------------------- 12: a commit without an answer


@pytest.fixture
def wire(database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[CutWire]:
    """Our database, reached over a wire that can be cut; whoever opens a connection from now on goes over it."""
    url = database.app_url
    with CutWire(str(url.host), int(url.port or 5432)) as wire:
        over = url.set(host="127.0.0.1", port=wire.port).render_as_string(hide_password=False)
        monkeypatch.setenv("CONCORD_DATABASE_URL", f"{over}?sslmode=disable&gssencmode=disable")
        yield wire


@pytest.mark.faults
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("what", ["land pages", "release", "settle answers"])
def test_row_12_the_connection_is_lost_during_a_commit(
    wire: CutWire, till: Till, counter: Open, moment: Any, what: str
) -> None:
    """A token decides whether the work is done: nothing is repeated that stands, nothing is lost that does not."""
    shop = counter(write_class="B")
    till.sell_to("ann", "bob")
    wire.cut, wire.count, wire.every = moment, 1, what.encode()
    done = shop.sync()
    assert wire.cuts == 1
    assert done.trouble == []
    assert till.names() == ["Ann", "Bob"]
    assert len(till.creates()) == 2
    assert shop.rows("select sum(received)::int as n from landing.extract_run")[0]["n"] >= 2
    assert len(shop.rows("select 1 from landing.raw_record where system = 'shop'")) == 2
    assert len(shop.rows("select 1 from ops.attempt")) == 2
    assert shop.states() == {"delivered": 2}
    assert shop.is_at_rest()


# ------------------------------------------------------------------------------- 39: a target that keeps something else


def _shortened(record: dict[str, Any]) -> dict[str, Any]:
    """Trimmed, lower-cased, and without the field that it does not know."""
    return {"name": str(record["name"])[:12].strip().lower(), "email": record.get("email")}


@pytest.mark.parametrize(
    "is_read",
    [
        pytest.param(True, id="read back with its stream"),
        pytest.param(False, marks=pytest.mark.faults, id="only written to"),
    ],
)
def test_row_39_a_target_that_trims_and_ignores_in_silence(till: Till, counter: Open, is_read: bool) -> None:
    """What it made of our write is what it is compared with: it is written once, not again and again."""
    till.keeps = _shortened
    shop = counter(write_class="B", is_read=is_read)
    till.sell_to("maximiliana featherstonehaugh", note="likes blue", email="max@example.com")
    shop.sync()
    for _ in range(3):
        assert shop.sync("full").target_writes == 0
    assert len(till.writes()) == 1
    [shadow] = shop.rows("select asked ->> 'name' as asked, read ->> 'name' as read from ops.shadow")
    assert shadow == {"asked": "Maximiliana Featherstonehaugh", "read": "maximiliana"}
    till.sell_to("maximiliana featherstonehaugh", note="likes red", email="max@example.com")
    shop.sync()
    assert len(till.writes()) == 2, "what changed at its source is told"
    assert shop.is_at_rest()


@pytest.mark.faults
def test_row_39_a_job_of_the_target_that_undoes_our_write_again_and_again(till: Till, counter: Open) -> None:
    """It is put back a few times, then left alone and told as a finding: no war without an end."""
    shop = counter(write_class="B", is_read=True)
    till.sell_to("ann", note="likes blue")
    shop.sync()
    for _ in range(8):
        for record in till.records.values():
            record["note"] = "see file"
        shop.sync("full")
    written = [a for a in till.writes() if a.method == "PATCH"]
    assert 1 <= len(written) <= 4
    kinds = {r["kind"] for r in shop.rows("select kind from ops.finding where state = 'open'")}
    assert "edit_war" in kinds
    assert shop.is_at_rest()


# ---------------------------------------------------------------------------------------------------- 54: parents first


def test_row_54_children_wait_for_their_parent_where_everybody_sees_it(till: Till, counter: Open) -> None:
    """A write that refers to a record which is not there yet waits, is counted and explained, and goes by itself."""
    refused = {"is_on": True}

    def keeps(record: dict[str, Any]) -> dict[str, Any]:
        if refused["is_on"] and record["name"] == "Boss":
            raise ValueError("no room for bosses")
        return record

    till.keeps = keeps
    shop = counter(write_class="B")
    till.sell_to("boss", note="of all")
    till.sell_to("ann", "bob", boss="boss")
    done = shop.sync()
    assert (done.rejected, done.waiting) == (1, 2)
    assert till.names() == []
    waits = shop.rows("select refs -> 0 ->> 'entity' as parent from ops.outbox where state = 'waiting'")
    assert [w["parent"] for w in waits] == ["customer", "customer"]
    shop.run("update ops.outbox set released_at = now() - interval '25 hours' where state = 'waiting'")
    shop.sync()
    found = shop.rows("select because from ops.finding where kind = 'unresolved_reference' and state = 'open'")
    assert len(found) == 2
    refused["is_on"] = False
    till.sell_to("boss", note="of all of them")
    shop.sync()
    shop.sync()
    assert till.names() == ["Ann", "Bob", "Boss"]
    [boss] = [r["id"] for r in till.records.values() if r["name"] == "Boss"]
    assert {r["boss"] for r in till.records.values() if r["name"] != "Boss"} == {boss}
    assert shop.rows("select 1 from ops.finding where kind = 'unresolved_reference' and state = 'open'") == []
    assert shop.is_at_rest()


@pytest.mark.faults
def test_row_54_records_that_refer_to_each_other_are_reported(till: Till, counter: Open) -> None:
    """Two that are each other's parent, and one that is its own, are set aside with the reason; the others arrive."""
    shop = counter(write_class="B")
    till.sell_to("ann", boss="bob")
    till.sell_to("bob", boss="ann")
    till.sell_to("cyd", boss="cyd")
    till.sell_to("dan")
    shop.sync()
    assert till.names() == ["Dan"]
    found = shop.rows("select source_id, rule from ops.quarantine where state = 'open' order by 1")
    assert [(r["source_id"], r["rule"]) for r in found] == [("ann", "circle"), ("bob", "circle"), ("cyd", "circle")]
    till.sell_to("bob")
    till.customers["bob"].pop("boss", None)
    shop.sync()
    shop.sync()
    assert till.names() == ["Ann", "Bob", "Dan"]
    assert shop.is_at_rest()
