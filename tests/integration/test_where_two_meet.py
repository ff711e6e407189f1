"""Where two workers, two syncs, twins or parents meet: each promise is shown from what the tables and targets hold."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from canonical import keys
from connectors.protocol import Receipt
from staging import backlog, delivery, dirty, landing, ledger, locks, staged, units
from staging.engine import Connection, transaction
from tasks import extract as reading
from tasks import settle as settling
from tasks.extract import extract
from tasks.plan import _enqueue
from tasks.resolve import resolve
from tasks.settle import Answer, Delivered
from tasks.stage import stage
from tasks.world import World
from tests.fixtures.badsource import page, record
from tests.fixtures.bench import Bench

LATER, LATEST = "2026-02-05T10:00:00Z", "2026-03-05T10:00:00Z"


def _golden(bench: Bench) -> list[dict[str, Any]]:
    return bench.rows("select name, version, deleted from golden.booking order by id")


def _ledger_holds(bench: Bench) -> bool:
    with bench.world.transaction() as conn:
        return [check for check in ledger.verify(conn) if not check.ok] == []


@pytest.mark.parametrize("is_known", [True, False], ids=["read before", "never read"])
def test_a_long_reading_of_a_shared_stream_holds_up_only_who_knows_nothing_of_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    """Another sync's sweep takes hours at a slow system: who has read the stream before goes on with what is landed."""
    monkeypatch.setattr(reading, "LANE_SECONDS", 0.2)
    if is_known:
        bench.run(page(record(id="A", note="N1", name="Acme")))
    bench.source.pages = [page(record(id="A", note="N1", name="Acme"), after=1), page(record(id="B", note="N2"))]
    is_reached, may_go_on = threading.Event(), threading.Event()
    answer = bench.source.answer

    def slow(method: str, target: str, body: bytes) -> Any:
        if "page=1" in target and not is_reached.is_set():
            is_reached.set()
            may_go_on.wait(30)
        return answer(method, target, body)

    monkeypatch.setattr(bench.source, "answer", slow)
    with ThreadPoolExecutor(2) as pool:
        sweep = pool.submit(extract, bench.world, "shop", "bookings", mode="full", sync_id=None)
        assert is_reached.wait(10)
        other = pool.submit(bench.sync, "incremental")
        if is_known:
            rested = other.result(20).rested
        else:
            time.sleep(1)
            assert not other.done()
        may_go_on.set()
        assert sweep.result(20).is_complete
        done = other.result(20)
    assert done.trouble == []
    if is_known:
        assert rested["shop/bookings"].startswith("somebody else is reading it")
        done = bench.sync("incremental")
    assert done.rested == {}
    assert {r["note"] for r in bench.rows("select note from golden.booking")} == {"N1", "N2"}
    assert _ledger_holds(bench)


def test_a_lane_that_was_waited_for_in_vain_leaves_nothing_behind(bench: Bench) -> None:
    shown = "select current_setting('lock_timeout') as lock, current_setting('statement_timeout') as statement"
    before = bench.rows(shown)
    with locks.lane(bench.world.engine, "one"), locks.lane(bench.world.engine, "one", wait=0.05) as other:
        assert other is None
    with ExitStack() as stack:  # every pooled connection, the one that waited among them
        for _ in range(5):
            conn = stack.enter_context(bench.world.engine.connect())
            assert [dict(r) for r in conn.execute(sa.text(shown)).mappings()] == before
    with locks.lane(bench.world.engine, "one", wait=False) as free:
        assert free is not None


@pytest.mark.parametrize("moment", ["set lock_timeout", "select pg_advisory_lock"])
def test_a_session_that_ends_while_a_lane_is_taken_is_begun_again(bench: Bench, moment: str) -> None:
    engine, ended = bench.world.engine, list[str]()

    def end(conn: sa.Connection, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(moment) and not ended:
            ended.append(statement)
            with transaction(engine) as other:
                pid = conn.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
                other.execute(sa.text("select pg_terminate_backend(:pid, 5000)"), {"pid": pid})

    def hold() -> bool:
        with locks.lane(engine, "one") as own:
            return own is not None

    sa.event.listen(engine, "before_cursor_execute", end)
    try:
        assert units.persist(engine, "hold", hold)
    finally:
        sa.event.remove(engine, "before_cursor_execute", end)
    assert ended
    with locks.lane(engine, "one", wait=False) as free:
        assert free is not None


def test_a_twin_merged_at_its_source_leaves_the_living_one_in_charge(bench: Bench) -> None:
    """Twins share an identifier; the primary one vanishes as the duplicate finding asked: nothing is archived."""
    bench.source.pages = [
        page(record(id="A", note="N1", name="Acme"), record(id="B", note="N1", name="Acme"), record(id="Z"))
    ]
    bench.sync()
    primaries = "select source_id from ops.crosswalk where system = 'shop' and is_primary and source_id in ('A', 'B')"
    (first,) = bench.rows(primaries)
    living = "B" if first["source_id"] == "A" else "A"
    bench.source.pages = [page(record(id=living, note="N1", name="Acme corrected", updated_at=LATER), record(id="Z"))]
    bench.sync()
    bench.sync()  # gone is what two sweeps did not show
    assert [r["source_id"] for r in bench.rows(primaries)] == [living]
    assert [r["name"] for r in _golden(bench) if not r["deleted"]].count("Acme corrected") == 1
    assert bench.rows("select 1 from ops.outbox where op = 'archive'") == []
    assert _ledger_holds(bench)


def test_a_version_staged_while_another_sync_resolves_is_not_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.source.pages = [page(record(id="A", name="one"))]
    bench.sync()
    bench.source.pages = [page(record(id="A", name="two", updated_at=LATER))]
    extract(bench.world, "shop", "bookings", mode="full", sync_id=None)
    stage(bench.world, "shop", "bookings", sync_id=None, docs_dir=None)
    other = World(bench.world.landscape, bench.world.folder, bench.world.engine)
    real, fired = staged.settle, []

    def meanwhile(*args: Any) -> None:
        if not fired:
            fired.append(True)
            bench.source.pages = [page(record(id="A", name="three", updated_at=LATEST))]
            extract(other, "shop", "bookings", mode="full", sync_id=None)
            stage(other, "shop", "bookings", sync_id=None, docs_dir=None)
        real(*args)

    monkeypatch.setattr(staged, "settle", meanwhile)
    resolve(bench.world, "booking", sync_id=None, integrations=("bookings-to-books",))
    monkeypatch.setattr(staged, "settle", real)
    bench.sync()
    assert [r["name"] for r in _golden(bench)] == ["three"]


def test_a_held_write_is_not_released_by_the_next_edit(bench: Bench) -> None:
    bench.source.pages = [page(record(id="A", name="one"))]
    bench.sync()
    declared = bench.world.folder / "landscape.yaml"
    text = declared.read_text()
    assert "    brake: {money" in text
    declared.write_text(text.replace("    brake: {money", "    ask_when: \"changed('price')\"\n    brake: {money"))
    bench.world = World.of(bench.world.folder)
    bench.sync()
    bench.source.pages = [page(record(id="A", name="one", price=b"13.00", updated_at=LATER))]
    bench.sync()
    held = "select fields from ops.outbox where state = 'held'"
    assert len(bench.rows(held)) == 1
    bench.source.pages = [page(record(id="A", name="renamed", price=b"13.00", updated_at=LATEST))]
    bench.sync()
    assert [sorted(r["fields"]) for r in bench.rows(held)] == [["name", "price"]]
    assert "13.00" not in str(bench.source.ledger)


def test_a_target_that_is_only_observed_is_told_nothing_of_what_was_open(bench: Bench) -> None:
    bench.source.pages = [page(record(id="A", name="one"))]
    bench.sync()
    with bench.world.transaction() as conn:
        conn.execute(sa.text("update ops.outbox set state = 'ready', op = 'update', source_id = 'L1'"))
    declared = bench.world.folder / "landscape.yaml"
    declared.write_text(declared.read_text().replace("mode: write", "mode: observe"))
    bench.world = World.of(bench.world.folder)
    bench.source.requests.clear()
    bench.sync()
    assert [r for r in bench.source.requests if not r.startswith("GET")] == []
    assert bench.rows("select state from ops.outbox") == [{"state": "superseded"}]


def test_a_worker_that_slept_changes_nothing_with_its_late_answers(bench: Bench) -> None:
    bench.source.pages = [page(record(id="A", name="one"))]
    bench.sync()
    target = bench.world.target("books")

    def written(version: int, worker: str) -> dict[str, Any]:
        with bench.world.transaction() as conn:
            conn.execute(
                sa.text(
                    "insert into ops.outbox (plan_id, integration, entity, canonical_id, version, system, stream, op,"
                    " source_id, payload, asked, fields, key, write_hash, state, because, claimed_by, attempts)"
                    " select plan_id, integration, entity, canonical_id, :v, system, stream, 'update', 'L1',"
                    " cast(:p as json), cast(:p as json), '{name}', :k, :k, 'inflight', 'b', :w, 1 from ops.outbox"
                    " order by id limit 1"
                ),
                {"v": version, "p": f'{{"name":"v{version}"}}', "k": f"k{version}", "w": worker},
            )
            return next(r for r in delivery.expired(conn))

    def answer(row: dict[str, Any], outcome: Any, worker: str) -> None:
        told = f'{{"id":"L1","name":"v{row["version"]}"}}'.encode()
        receipt = Receipt(str(row["id"]), outcome, source_id="L1", record=told, reason="late")
        settling.settle(bench.world, target, [Answer(row, receipt)], worker, Delivered())

    slept = written(2, "A")
    with bench.world.transaction() as conn:
        delivery.take_over(conn, [slept], worker="B", lease_seconds=100)
    answer(slept, "done", "B")
    answer(written(3, "B"), "done", "B")
    answer(slept, "rejected", "A")
    answer(slept, "done", "A")
    assert bench.rows("select asked ->> 'name' as name, version from ops.shadow") == [{"name": "v3", "version": 3}]
    assert bench.rows("select 1 from ops.dead_letter") == []


def test_a_refused_write_closes_when_its_correction_is_accepted(bench: Bench) -> None:
    bench.source.pages = [page(record(id="A", name="one"))]
    real = bench.source._ledger
    refusal = (422, "application/json", b'{"error": "no such name"}')
    bench.source._ledger = lambda method, *rest: refusal if method == "POST" else real(method, *rest)  # type: ignore[method-assign]
    bench.sync()
    assert bench.rows("select state from ops.dead_letter") == [{"state": "open"}]
    bench.source._ledger = real  # type: ignore[method-assign]
    bench.source.pages = [page(record(id="A", name="corrected", updated_at=LATER))]
    bench.sync()
    assert [r["state"] for r in bench.rows("select state from ops.dead_letter")] == ["resolved"]


def test_a_pair_noted_again_while_it_is_planned_is_planned_again(database: Any) -> None:
    columns = ("entity", "canonical_id", "integration", "system", "stream")
    pair = pl.DataFrame([("customer", "c1", "i", "acc", "contacts")], schema=columns, orient="row")
    with transaction() as conn:
        dirty.mark_dirty(conn, pair)
    with transaction() as changing:
        dirty.mark_dirty(changing, pair)
        with transaction() as planning:
            assert dirty.take_dirty(planning, "customer", "i", "acc", "contacts", 10).is_empty()
    with transaction() as conn:
        assert dirty.take_dirty(conn, "customer", "i", "acc", "contacts", 10).height == 1


def _land(conn: Connection, stream: str, ids: list[str], parents: list[str] | None, *, gone: bool, text: bytes) -> None:
    run = landing.begin(conn, sync_id=None, system="s", stream=stream, mode="full", cursor=None)
    landing.land_page(
        conn,
        run,
        system="s",
        stream=stream,
        ids=ids,
        payloads=[text] * len(ids),
        hashes=keys.raw_hashes([text] * len(ids)),
        changed=[None] * len(ids),
        deleted=[gone] * len(ids),
        parents=parents,
        refused=0,
    )
    if parents is not None or gone:
        backlog.dirty_parents(conn, "s", stream, "orders", "d")


def test_children_that_vanish_or_move_put_their_parents_back_to_work(database: Any) -> None:
    at_work = "select source_id from landing.record where stream = 'orders' and state = 'landed' order by 1"
    done = "update landing.record set state = 'staged', declared = 'd'"
    with transaction() as conn:
        _land(conn, "orders", ["O1", "O2"], None, gone=False, text=b"{}")
        _land(conn, "lines", ["L1", "L2"], ["O1", "O1"], gone=False, text=b'{"n":1}')
        conn.execute(sa.text(done))
        _land(conn, "lines", ["L2"], None, gone=True, text=b"{}")
        assert conn.execute(sa.text(at_work)).scalars().all() == ["O1"]
        conn.execute(sa.text(done))
        _land(conn, "lines", ["L1"], ["O2"], gone=False, text=b'{"n":2}')
        assert conn.execute(sa.text(at_work)).scalars().all() == ["O1", "O2"]


def _row(**given: Any) -> dict[str, Any]:
    return {
        "plan_id": 1, "integration": "i", "entity": "order", "canonical_id": "c1", "version": 1, "system": "acc",
        "stream": "invoices", "op": "create", "source_id": None, "payload": "{}", "asked": "{}", "before": "[]",
        "fields": ['"C"'], "refs": None, "key": "k", "write_hash": "h", "because": "b", "reason": None, **given,
    }  # fmt: skip


def test_a_waiting_write_follows_its_record_to_another_parent(database: Any) -> None:
    way: Any = SimpleNamespace(
        target=SimpleNamespace(system="acc", stream="invoices"), entity=SimpleNamespace(name="order")
    )
    ids = pl.DataFrame({"canonical_id": ["c1"]})

    def planned(parent: str) -> pl.DataFrame:
        refs = f'[{{"path":"C","entity":"customer","id":"{parent}"}}]'
        texts = dict.fromkeys(("source_id", "reason"), pl.String)
        return pl.DataFrame([_row(refs=refs)], schema_overrides=texts)

    with transaction() as conn:
        assert _enqueue(conn, way, planned("C1"), ids) == 1
        conn.execute(sa.text("update ops.outbox set state = 'waiting'"))
        assert _enqueue(conn, way, planned("C1"), ids) == 0
        assert _enqueue(conn, way, planned("C2"), ids) == 1
        states = conn.execute(sa.text("select state, refs -> 0 ->> 'id' from ops.outbox order by id")).all()
    assert [tuple(s) for s in states] == [("superseded", "C1"), ("planned", "C2")]


def test_what_was_taken_over_is_not_sent_by_the_one_who_looked_too_long(database: Any) -> None:
    columns = [c for c in _row() if c not in ("source_id", "refs", "reason")]
    values = {**{c: _row()[c] for c in columns}, "fields": ["C"]}
    names, marks = ", ".join(columns), ", ".join(f":{c}" for c in columns)
    with transaction() as conn:
        conn.execute(sa.text(f"insert into ops.outbox ({names}, state) values ({marks}, 'ready')"), values)
    lane = ("acc", "invoices", "order", "create")
    with transaction() as conn:
        (row,) = delivery.claim(conn, lane, ["i"], worker="A", limit=5, lease_seconds=0)
    with transaction() as conn:
        delivery.take_over(conn, [row], worker="B", lease_seconds=120)
        assert delivery.renew(conn, [row["id"]], worker="A", lease_seconds=120) == set()
