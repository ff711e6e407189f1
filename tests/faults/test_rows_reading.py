"""Fault matrix, reading (rows 1, 2, 28-37): what a source answers is believed only as far as it can be true.

The shop is a process of its own thread that answers over a real socket; what is asked afterwards is what stands in the
target, in the ledger, and whether one more full cycle has anything left to do.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from prefect.server.schemas.schedules import CronSchedule

from staging import crash
from tasks import extract as reading
from tasks import incidents
from tests.fixtures.badsource import LIST, Reply
from tests.fixtures.database import TestDatabase
from tests.fixtures.shelf import Fault, Shelf, ShelfBench


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


@pytest.fixture(autouse=True)
def _told_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few records are compared with what is landed as many are."""
    monkeypatch.setattr(reading, "MANY", 1)


class Killed(BaseException):
    """As if the process had ended here: nothing that follows is done."""


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of crash points to die at, each once, in the order in which they are come to."""
    wanted: list[str] = []

    def point(name: str) -> None:
        if wanted and wanted[0] == name:
            wanted.pop(0)
            raise Killed(name)

    for place in ("tasks.extract", "tasks.stage", "tasks.resolve"):
        monkeypatch.setattr(f"{place}.crash_point", point)
    assert set(crash.POINTS) >= {"extract.landing", "extract.landed", "resolve.chunk", "resolve.committed"}
    yield wanted
    assert wanted == [], "a point that was never come to proves nothing"


# ---------------------------------------------------------------------------------------------------- 1 and 2: kill -9


@pytest.mark.faults
@pytest.mark.parametrize("point", ["extract.landing", "extract.landed"])
def test_row_01_killed_while_a_page_is_landed(bench: ShelfBench, kill: list[str], point: str) -> None:
    """The page is fetched again: no gap and no double row, because its cursor was committed with it or not at all."""
    bench.source.fill(25)
    bench.sync()
    bench.source.put("r0003", name="Moved Ltd")
    bench.source.put("new", name="New Ltd")
    before = bench.cursor()
    kill.append(point)
    with pytest.raises(Killed):
        bench.sync("incremental")
    landed = bench.rows("select from landing.record where source_id = 'new'")
    assert bool(landed) == (bench.cursor() != before), "the cursor never passes what was not landed"

    bench.sync("incremental")
    assert sorted(bench.names().values()).count("New Ltd") == 1
    assert "Moved Ltd" in bench.names().values()
    assert len(bench.names()) == 26
    assert bench.is_quiet()


@pytest.mark.parametrize("point", ["resolve.chunk", "resolve.committed"])
def test_row_02_killed_while_records_are_matched(bench: ShelfBench, kill: list[str], point: str) -> None:
    """Links, golden records and planned writes of a chunk exist all together or not at all."""
    bench.source.fill(12)
    kill.append(point)
    with pytest.raises(Killed):
        bench.sync()
    counts = bench.rows(
        "select (select count(*) from ops.crosswalk) as links, (select count(*) from golden.booking) as golden,"
        " (select count(*) from ops.outbox) as writes"
    )[0]
    assert set(counts.values()) == ({0} if point == "resolve.chunk" else {12})
    assert bench.agrees()

    bench.sync()
    assert len(bench.names()) == 12
    assert bench.is_quiet()


# --------------------------------------------------------------------------------------- 28 to 30: answers that are not


def _fails_once(made: Reply, *, page: str = "1") -> Fault:
    """This answer instead of one page, one time."""
    left = [made]

    def fault(path: str, query: object) -> Reply | None:
        assert isinstance(query, dict)
        return left.pop() if left and path == LIST and query.get("page", "0") == page else None

    return fault


def _whole(bench: ShelfBench, page: int) -> bytes:
    return json.dumps(bench.source._list({"page": str(page)})).encode()


@pytest.mark.faults
def test_row_28_json_cut_short_of_its_length(bench: ShelfBench) -> None:
    """A body shorter than its length is an error, nothing is taken for gone, and the next sync reads on."""
    bench.source.fill(25)
    bench.sync()
    bench.source.fault = _fails_once(Reply(body=_whole(bench, 1), cut=40))
    done = bench.sync()
    assert [(t.step, t.stream) for t in done.trouble] == [("extract", "bookings")]
    assert len(bench.live()) == 25
    assert len(bench.names()) == 25
    assert bench.is_quiet()


@pytest.mark.faults
@pytest.mark.parametrize("page", [1, 2], ids=["many records short", "few records short"])
def test_row_28_cut_at_a_place_where_it_still_parses(bench: ShelfBench, page: int) -> None:
    """A close-delimited body that ends at a valid boundary gives itself away by the total: the sweep is incomplete."""
    bench.source.fill(25)
    bench.sync()
    whole = json.loads(_whole(bench, page))
    short = json.dumps({**whole, "data": whole["data"][:3], "next": None}).encode()
    bench.source.fault = _fails_once(Reply(body=short, is_open=True), page=str(page))
    before = bench.cursor()
    bench.source.put("r0000", name="Moved Ltd")
    bench.sync()
    (reading,) = bench.rows(
        "select is_complete, deleted from landing.extract_run where system = 'shop' order by id offset 1 limit 1"
    )
    assert (reading["is_complete"], reading["deleted"]) == (False, 0)
    assert bench.cursor() == before
    assert len(bench.live()) == 25
    bench.sync()
    assert "Moved Ltd" in bench.names().values()
    assert bench.is_quiet()


NOT_A_LIST = {
    "html-login-page": Reply(body=b"<html><form>Log in</form></html>", content_type="text/html"),
    "html-that-says-it-is-json": Reply(body=b"<html>Maintenance</html>"),
    "nothing": Reply(body=b""),
    "204": Reply(status=204),
    "error-object": Reply(body=b'{"error": "try again"}'),
    "error-object-beside-null": Reply(body=b'{"error": "try again", "data": null}'),
    "a-string": Reply(body=b'"ok"'),
    "list-of-another-shape": Reply(body=b'{"data": {"id": "x"}}'),
}


@pytest.mark.faults
@pytest.mark.parametrize("name", NOT_A_LIST)
def test_row_29_an_answer_with_200_that_is_no_list(bench: ShelfBench, name: str) -> None:
    """It is refused by its content type and shape; it never counts as an empty page, and nothing is deleted."""
    bench.source.fill(15)
    bench.sync()
    for page in ("0", "1"):
        bench.source.fault = _fails_once(NOT_A_LIST[name], page=page)
        done = bench.sync()
        assert [t.step for t in done.trouble] == ["extract"]
        assert done.target_writes == 0
    assert len(bench.live()) == 15
    assert len(bench.names()) == 15
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_30_an_empty_list_where_there_were_records(bench: ShelfBench) -> None:
    """The drop is held and said, nothing is deleted, and when the records show again all is as before."""
    bench.source.fill(40)
    bench.sync()
    kept = dict(bench.source.records)
    bench.source.records.clear()
    for _ in range(3):
        done = bench.sync("incremental" if _ else "full")
        (trouble,) = done.trouble
        assert trouble.kind == "CountDrop"
        assert "shows 0" in trouble.cause
        assert "40" in trouble.cause
    assert len(bench.live()) == 40
    assert bench.rows("select from ops.outbox where op in ('archive', 'delete')") == []
    bench.source.records.update(kept)
    assert bench.is_quiet()
    assert bench.rows("select from ops.finding where state = 'open'") == []


@pytest.mark.faults
def test_row_30_a_drop_that_a_person_believes(bench: ShelfBench) -> None:
    """Accepted by name, the records that two sweeps miss and their own 404 confirms are gone; others stay guarded."""
    bench.source.fill(40)
    bench.sync()
    for number in range(10):
        del bench.source.records[f"r{number:04}"]
    assert [t.kind for t in bench.sync().trouble] == ["CountDrop"]
    (finding,) = bench.rows("select id, kind, ours, theirs, owner from ops.finding where state = 'open'")
    assert (finding["kind"], finding["ours"], finding["theirs"]) == ("count_drop", "40", "30")
    assert finding["owner"] == "head (Ada Moss)"
    bench.accept(finding["id"])
    for _ in range(2):
        assert bench.sync().trouble == []
    assert len(bench.live()) == 30
    (hold,) = bench.rows("select op, writes from ops.hold where state = 'open'")
    assert (hold["op"], hold["writes"]) == ("archive", 10), "the brake on deletes still asks before anything is told"
    assert len(bench.names()) == 40
    bench.source.records.clear()
    assert [t.kind for t in bench.sync().trouble] == ["CountDrop"]


# ------------------------------------------------------------------------------------------- 31 and 32: losing the way


@pytest.mark.faults
def test_row_31_a_page_that_comes_twice(bench: ShelfBench) -> None:
    """Its records are counted as repeated, once each in every place."""
    bench.source.fill(25)
    bench.source.fault = _fails_once(Reply(body=_again(bench, 0, following=1)), page="1")
    bench.sync()
    assert len(bench.names()) <= 25
    bench.sync()
    assert len(bench.names()) == 25
    assert bench.is_quiet()


def _again(bench: ShelfBench, page: int, following: int) -> bytes:
    """A page's records with another next page."""
    found = bench.source._list({"page": str(page)})
    return json.dumps({**found, "next": following + 1}).encode()


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["the-same-page-for-ever", "tokens-in-a-circle"])
def test_row_31_a_walk_without_an_end(bench: ShelfBench, kind: str) -> None:
    """The loop guard ends it after a few requests; nothing is deleted and the cursor does not move."""
    bench.source.fill(25)
    bench.sync()
    before = bench.cursor()
    bench.source.put("r0001", name="Moved Ltd")
    bench.source.requests.clear()

    def fault(path: str, query: object) -> Reply | None:
        assert isinstance(query, dict)
        if path != LIST:
            return None
        number = int(query.get("page", 0))
        following = number + 1 if kind == "the-same-page-for-ever" else 1
        shown = bench.source._list({"page": "0" if kind == "the-same-page-for-ever" else str(number % 2)})
        return Reply(body=json.dumps({**shown, "next": following}).encode())

    bench.source.fault = fault
    done = bench.sync()
    assert [t.kind for t in done.trouble] == ["SystemFault"]
    assert len(bench.source.requests) < 12
    assert bench.cursor() == before
    assert len(bench.live()) == 25
    bench.source.fault = None
    bench.sync()
    assert "Moved Ltd" in bench.names().values()
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_31_a_token_that_expires_in_the_middle(bench: ShelfBench) -> None:
    """410 starts the window again in the same sync; what was read before is repeated, not doubled."""
    bench.source.fill(35)
    bench.source.fault = _fails_once(Reply(status=410, body=b"{}"), page="2")
    done = bench.sync()
    assert done.trouble == []
    assert len(bench.names()) == 35
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_31_a_token_that_expires_every_time(bench: ShelfBench) -> None:
    """After a few new starts it is the system's trouble, and the lane ends."""
    bench.source.fill(35)
    bench.source.fault = lambda path, query: Reply(status=410) if query.get("page") == "2" else None
    done = bench.sync()
    assert [t.kind for t in done.trouble] == ["WalkExpired"]
    assert len(bench.source.requests) < 30
    bench.source.fault = None
    bench.sync()
    assert len(bench.names()) == 35
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_32_records_edited_typed_and_deleted_while_pages_are_walked(bench: ShelfBench) -> None:
    """None is lost after the next overlap, and none that only moved between pages is taken for gone."""
    bench.source.fill(45)
    bench.sync()
    bench.source.tick(hours=1)
    steps = iter(range(100))

    def fault(path: str, query: object) -> Reply | None:
        if path == LIST:
            at = next(steps)
            if at < 5:
                bench.source.put(f"r000{at}", name=f"Moved {at} Ltd")  # goes from the first page to the last
                bench.source.put(f"typed{at}", name=f"Typed {at} Ltd")
                bench.source.records.pop(f"r003{at}")
                bench.source.tick(seconds=5)
        return None

    bench.source.fault = fault
    bench.sync()
    moving = {f"r000{at}" for at in range(5)}
    assert moving <= bench.live()
    bench.source.fault = None
    bench.sync("incremental")
    for _ in range(3):  # what is gone is gone after two complete sweeps and its own 404
        bench.sync()
    assert bench.live() == set(bench.source.records)
    names = set(bench.names().values())
    assert {f"Moved {at} Ltd" for at in range(5)} | {f"Typed {at} Ltd" for at in range(5)} <= names
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_32_gone_is_what_two_sweeps_miss_and_its_own_404_confirms(bench: ShelfBench) -> None:
    """One sweep is no proof, and neither are two while the record still answers by its id."""
    bench.source.fill(10)
    bench.sync()
    hidden = bench.source.records.pop("r0001")
    bench.source.hidden["r0001"] = hidden
    bench.source.records.pop("r0002")
    bench.sync()
    assert bench.live() == {f"r{n:04}" for n in range(10)}, "one sweep"
    bench.sync("incremental")  # the second is due by itself
    assert bench.live() == {f"r{n:04}" for n in range(10) if n != 2}, "the hidden one answers when it is asked for"
    assert len(bench.names()) == 9
    bench.source.records["r0001"] = bench.source.hidden.pop("r0001")
    bench.sync()
    assert len(bench.names()) == 9
    assert bench.is_quiet()


# ---------------------------------------------------------------------------------------------- 33 to 35: change marks


@pytest.mark.faults
@pytest.mark.parametrize("granularity", [timedelta(seconds=1), timedelta(days=1)], ids=["a-second", "a-day"])
def test_row_33_many_equal_marks_over_the_edge_of_a_page(bench: ShelfBench, granularity: timedelta) -> None:
    """Records of one mark are read on both sides of a page's edge, and again at the next reading: `>=`, never `>`."""
    bench.source.granularity = granularity
    for number in range(25):
        bench.source.put(f"r{number}", name=f"Guest {number} Ltd")
    bench.sync()
    assert len(bench.names()) == 25
    bench.source.put("r24", name="Changed in the same moment Ltd")
    bench.source.put("late", name="Typed in the same moment Ltd")
    bench.sync("incremental")
    assert {"Changed in the same moment Ltd", "Typed in the same moment Ltd"} <= set(bench.names().values())
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_33_a_late_row_with_an_old_mark(bench: ShelfBench) -> None:
    """What arrives within the overlap is read by the next sync; what is older, by the next complete sweep."""
    bench.source.fill(5)
    bench.sync()
    bench.source.tick(minutes=30)
    bench.source.put("r0000", name="Moves the cursor Ltd")
    bench.sync("incremental")
    near = (bench.source.now - timedelta(seconds=40)).isoformat().replace("+00:00", "Z")
    bench.source.put("near", at=near, name="A little late Ltd")
    bench.source.put("far", at="2025-12-01T00:00:00Z", name="Far too late Ltd")
    bench.sync("incremental")
    assert "A little late Ltd" in bench.names().values()
    assert "Far too late Ltd" not in bench.names().values()
    with bench.world.transaction() as conn:
        conn.exec_driver_sql("update landing.cursor set last_sweep_at = now() - interval '8 days'")
    bench.sync("incremental")
    assert "Far too late Ltd" in bench.names().values()
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_33_a_stream_without_order_moves_its_cursor_only_when_complete(
    bench: ShelfBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest record comes first and the walk breaks off: what stands behind it is not passed over."""
    monkeypatch.setattr(reading, "GROUP_RECORDS", 5)  # each page is landed by itself
    bench.source.is_sorted = False
    bench.source.put("newest", at="2026-01-06T00:00:00Z", name="Newest Ltd")
    bench.source.fill(25)
    bench.source.now = bench.source.now + timedelta(days=2)
    bench.source.fault = lambda path, query: Reply(status=503) if query.get("page") == "2" else None
    bench.sync()
    assert "Newest Ltd" in bench.names().values(), "what was read is not read for nothing"
    assert bench.cursor() is None
    bench.source.fault = None
    bench.sync("incremental")
    assert len(bench.names()) == 26
    assert bench.is_quiet()


@pytest.mark.faults
@pytest.mark.parametrize("minutes", [10, -10], ids=["ahead", "behind"])
def test_row_34_the_sources_clock_differs_from_ours(bench: ShelfBench, minutes: int) -> None:
    """The window ends by the source's own clock, so nothing is missed however far ours is away."""
    from datetime import UTC, datetime

    bench.source.now = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=minutes)
    bench.source.fill(0)
    bench.source.put("one", name="One Ltd")
    bench.sync()
    for number in range(3):
        bench.source.tick(seconds=20)
        bench.source.put(f"more{number}", name=f"More {number} Ltd")
        done = bench.sync("incremental")
        assert done.trouble == []
    assert len(bench.names()) == 4
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_34_the_sources_clock_jumps_back_an_hour(bench: ShelfBench) -> None:
    """A cursor that lies in the source's future is not asked with: the stream is swept, said, and set right."""
    bench.source.fill(5)
    bench.sync()
    bench.source.tick(hours=-1)
    bench.source.put("r0000", name="Changed in the doubled hour Ltd")
    done = bench.sync("incremental")
    assert [t.kind for t in done.trouble] == ["FutureCursor"]
    assert "Changed in the doubled hour Ltd" in bench.names().values()
    bench.source.put("r0001", name="And another Ltd")
    assert bench.sync("incremental").trouble == []
    assert "And another Ltd" in bench.names().values()
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_34_one_record_dated_2999(bench: ShelfBench) -> None:
    """The record is staged and its mark is refused and reported; it moves no cursor, and others are read on."""
    bench.source.fill(3)
    bench.source.put("odd", at="2999-01-01T00:00:00Z", name="From the future Ltd")
    for _ in range(2):
        incidents.conclude(bench.world, "all", bench.sync())
    (told,) = bench.rows("select kind, cause, next_step from ops.incident where state = 'open'")
    assert told["cause"].startswith("shop/bookings, 1 record: a record's change mark lies in the future")
    assert told["next_step"] == "see them: concord findings list --kind future_mark"
    assert "From the future Ltd" in bench.names().values()
    cursor = bench.cursor()
    assert cursor is not None
    assert cursor < "2027"
    (finding,) = bench.rows("select kind, source_id, theirs, owner from ops.finding where state = 'open'")
    assert (finding["kind"], finding["source_id"], finding["theirs"]) == ("future_mark", "odd", "2999-01-01T00:00:00Z")
    bench.source.tick(minutes=5)
    bench.source.put("r0001", name="Later Ltd")
    bench.sync("incremental")
    assert "Later Ltd" in bench.names().values()
    assert bench.is_quiet()
    bench.source.put("odd", name="Dated right Ltd")
    incidents.conclude(bench.world, "all", bench.sync("incremental"))
    assert bench.rows("select from ops.finding where state = 'open'") == []
    assert bench.rows("select from ops.incident where state = 'open'") == []
    assert bench.is_quiet()


@pytest.mark.faults
@pytest.mark.parametrize("hours", [24, -1], ids=["a-day-ahead", "an-hour-back"])
def test_row_35_our_own_clock_jumps(bench: ShelfBench, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """What is read, swept and let go is asked of the source's clock and of the database's: ours changes nothing."""
    from datetime import datetime, tzinfo

    shift = timedelta(0)

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Jumping:
            return cls.fromtimestamp((datetime.now(tz) + shift).timestamp(), tz)

    real = time.time
    monkeypatch.setattr("connectors.paging.marks.datetime", Jumping)
    monkeypatch.setattr("connectors.http.outcome.datetime", Jumping)
    monkeypatch.setattr(time, "time", lambda: real() + shift.total_seconds())
    bench.source.fill(5)
    bench.sync()
    for number, shift in enumerate((timedelta(hours=hours), timedelta(0))):  # noqa: B007 - read by the clock
        bench.source.tick(minutes=20)
        bench.source.put(f"r000{number}", name=f"Changed {number} Ltd")
        done = bench.sync("incremental")
        assert done.trouble == []
        assert f"Changed {number} Ltd" in bench.names().values()
    modes = bench.rows("select mode from landing.extract_run where system = 'shop' order by id")
    assert [m["mode"] for m in modes[1:]] == ["incremental"] * (len(modes) - 1), "no sweep was due early"
    assert bench.is_quiet()


@pytest.mark.faults
@pytest.mark.parametrize(
    "night",
    ["2028-02-28T23:50:00", "2026-12-31T23:50:00", "2026-03-29T00:50:00", "2026-10-25T00:50:00"],
    ids=["29-february", "new-year", "summer-time-begins", "summer-time-ends"],
)
def test_row_35_nights_that_calendars_trip_over(bench: ShelfBench, night: str) -> None:
    """Changes on both sides of the hour are read once each; a nightly schedule fires once."""
    from datetime import UTC, datetime

    bench.source.now = datetime.fromisoformat(night).replace(tzinfo=UTC)
    for number in range(5):
        bench.source.put(f"r{number}", name=f"Guest {number} Ltd")
        bench.source.tick(minutes=10)
        assert bench.sync("incremental").trouble == []
    assert len(bench.names()) == 5
    assert bench.is_quiet()
    begin = datetime.fromisoformat(night).replace(tzinfo=UTC) - timedelta(hours=2)
    nightly = CronSchedule(cron="30 1 * * *", timezone="Europe/London")
    fired = asyncio.run(nightly.get_dates(n=10, start=begin, end=begin + timedelta(hours=24)))
    assert len(fired) == 1


# ---------------------------------------------------------------------------------- 36 and 37: another shape, other ids


def _drift(bench: ShelfBench) -> list[tuple[str, str, str, str]]:
    """What is open of drift: kind, field, what was expected, what was found."""
    rows = bench.rows("select kind, field, ours, theirs from ops.finding where state = 'open' order by kind, field")
    return [(r["kind"], r["field"], r["ours"], r["theirs"]) for r in rows]


def _settled(bench: ShelfBench, count: int = 120) -> str | None:
    """A shop that was read often enough for its records' look to be known; gives its cursor."""
    bench.source.page_size = 40
    bench.source.fill(count)
    bench.sync()
    bench.source.tick(hours=1)
    return bench.cursor()


CHANGES = {
    "number-to-text": (("price", "dear"), ("price", "number", "text")),
    "text-to-object": (("name", {"first": "Ann"}), ("name", "text", "object")),
    "gone": (("name", None), ("name", "text", "absent")),
}


@pytest.mark.faults
@pytest.mark.parametrize("name", CHANGES)
def test_row_36_a_mapped_field_of_another_type_or_gone(bench: ShelfBench, name: str) -> None:
    """From some page on: the stream stops with its cursor where it was and nothing blanked, until a person looks."""
    before = _settled(bench)
    (field, value), found = CHANGES[name]
    for number in range(60):
        bench.source.put(f"r{number:04}", **{field: value})
        if value is None:
            del bench.source.records[f"r{number:04}"][field]
    bench.source.put("r0100", name="Other Ltd")
    names = bench.names()
    done = bench.sync("incremental")
    assert [t.kind for t in done.trouble] == ["SchemaDrift"]
    assert "60 of 61 records are not as before" in done.trouble[0].cause
    assert bench.cursor() == before
    assert _drift(bench) == [("schema_drift", *found)]
    assert bench.names() == names
    assert bench.quarantine() == []
    assert [t.kind for t in bench.sync().trouble] == ["SchemaDrift"], "a sweep is stopped as well"

    for number in range(60):  # set right at the source
        bench.source.put(f"r{number:04}", name=f"Guest {number} Ltd", price=12.5)
    assert bench.sync("incremental").trouble == []
    assert _drift(bench) == []
    assert "Other Ltd" in bench.names().values()
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_36_a_new_look_that_a_person_accepts(bench: ShelfBench) -> None:
    """Accepted by name, the other type is read from then on, and what rules make of it is theirs to say."""
    _settled(bench)
    for number in range(60):
        bench.source.put(f"r{number:04}", price=f"1{number}.50")
    assert [t.kind for t in bench.sync("incremental").trouble] == ["SchemaDrift"]
    (finding,) = bench.rows("select id from ops.finding where state = 'open'")
    bench.accept(finding["id"])
    done = bench.sync("incremental")
    assert done.trouble == []
    assert bench.rows("select price::text from golden.booking where name = 'Guest 59 Ltd'") == [{"price": "159.50"}]


@pytest.mark.faults
def test_row_36_a_few_rows_of_another_type(bench: ShelfBench) -> None:
    """Up to four rows are set aside one by one with field, expected and found; the rest of the stream goes on."""
    _settled(bench)
    for number in range(3):
        bench.source.put(f"r{number:04}", name=["a", "list"])
    bench.source.put("r0100", name="Other Ltd")
    done = bench.sync("incremental")
    assert done.trouble == []
    assert "Other Ltd" in bench.names().values()
    kept = bench.quarantine()
    assert [(e["source_id"], e["scope"]) for e in kept] == [(f"r{n:04}", "unreadable") for n in range(3)]
    assert {e["reason"] for e in kept} == {"not as before: name: expected text, found list"}
    bench.nothing_is_lost()
    for number in range(3):
        bench.source.put(f"r{number:04}", name=f"Right {number} Ltd")
    bench.sync("incremental")
    assert bench.quarantine() == []
    assert {"Right 0 Ltd", "Right 1 Ltd", "Right 2 Ltd"} <= set(bench.names().values())
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_36_a_few_rows_at_a_time_add_up(bench: ShelfBench) -> None:
    """Three rows now and three later are six: what trickles in stops the stream as well."""
    _settled(bench)
    for number in range(3):
        bench.source.put(f"r{number:04}", name=["a", "list"])
    assert bench.sync("incremental").trouble == []
    bench.source.tick(hours=1)
    for number in range(3, 6):
        bench.source.put(f"r{number:04}", name=["a", "list"])
    assert [t.kind for t in bench.sync("incremental").trouble] == ["SchemaDrift"]


@pytest.mark.faults
def test_row_36_a_field_that_is_new(bench: ShelfBench) -> None:
    """It is kept in what is landed, reported once with where it is, and changes nothing."""
    _settled(bench)
    bench.source.put("r0001", vat_exempt=True)
    bench.source.put("r0002", vat_exempt=False)
    for _ in range(2):
        assert bench.sync("incremental").trouble == []
        assert _drift(bench) == [("new_field", "vat_exempt", None, None)]
    (kept,) = bench.rows("select payload from landing.raw_record where source_id = 'r0001' order by id desc limit 1")
    assert json.loads(kept["payload"])["vat_exempt"] is True
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_36_a_choice_that_nobody_declared(bench: ShelfBench) -> None:
    """A record with an unknown code is quarantined with its last good values kept; a flood of them stops the batch."""
    _settled(bench)
    bench.source.put("r0001", state="Z", name="Changed Ltd")
    bench.sync("incremental")
    (entry,) = bench.quarantine()
    assert (entry["source_id"], entry["field"]) == ("r0001", "status")
    assert "Guest 1 Ltd" in bench.names().values()
    bench.source.tick(hours=1)
    for number in range(60):
        bench.source.put(f"r{number:04}", state="Z")
    assert [t.kind for t in bench.sync("incremental").trouble] == ["GateStopped"]
    assert len(bench.quarantine()) == 1
    for number in range(60):
        bench.source.put(f"r{number:04}", state="C")
    assert bench.sync("incremental").trouble == []
    assert bench.quarantine() == []
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_37_ids_become_ids_of_another_kind(bench: ShelfBench) -> None:
    """Numbers that turn into UUIDs would be a second record of everything: the stream stops before the first."""
    bench.source.page_size = 40
    for number in range(120):
        bench.source.put(str(1000 + number), name=f"Guest {number} Ltd")
    bench.sync()
    old = dict(bench.source.records)
    bench.source.tick(hours=1)
    bench.source.records.clear()
    for number in range(120):
        bench.source.put(f"6f9619ff-8b86-d011-b42d-00c04fc9{number:04x}", name=f"Guest {number} Ltd")
    for mode in ("incremental", "full"):
        assert [t.kind for t in bench.sync(mode).trouble] == ["SchemaDrift"]
    assert _drift(bench) == [("schema_drift", "(id)", "integer", "uuid")]
    assert len(bench.names()) == 120
    assert bench.live() == set(old)
    bench.source.records = old
    assert bench.sync().trouble == []
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_37_ids_that_differ_in_case_alone(bench: ShelfBench) -> None:
    """One is set aside; when all come in other letters the stream stops. No record is ever written over another."""
    _settled(bench)
    bench.source.put("R0001", name="Shouting Ltd")
    assert bench.sync("incremental").trouble == []
    assert [e["source_id"] for e in bench.quarantine()] == ["R0001"]
    assert "Shouting Ltd" not in bench.names().values()
    old = {i: r for i, r in bench.source.records.items() if i != "R0001"}
    bench.source.records = {i.upper(): {**r, "id": i.upper()} for i, r in old.items()}
    assert [t.kind for t in bench.sync().trouble] == ["SchemaDrift"]
    assert len(bench.quarantine()) == 1
    assert bench.live() == set(old)
    bench.source.records = old
    assert bench.sync().trouble == []
    assert len(bench.names()) == 120


@pytest.mark.faults
def test_row_37_an_id_used_again_for_another_record(bench: ShelfBench) -> None:
    """The record that was read under the id stays as it is everywhere, until a person says that it is the same."""
    bench.source.fill(20)
    bench.sync()
    names = bench.names()
    bench.source.put("r0007", name="Zebra Trading GmbH", note="another note", price=9)
    for mode in ("incremental", "full"):
        assert bench.sync(mode).trouble == []
        assert bench.names() == names
    (entry,) = bench.quarantine()
    assert (entry["source_id"], entry["rule"]) == ("r0007", "same_record")
    (finding,) = bench.rows("select id, kind, source_id from ops.finding where state = 'open'")
    assert (finding["kind"], finding["source_id"]) == ("id_reused", "r0007")
    bench.accept(finding["id"])
    assert bench.sync("incremental").trouble == []
    assert "Zebra Trading GmbH" in bench.names().values()
    assert bench.quarantine() == []
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_37_all_ids_used_again_for_other_records(bench: ShelfBench) -> None:
    """Where nearly every id stands for another record the stream stops: nothing is written over anything."""
    bench.source.page_size = 40
    bench.source.fill(60)
    bench.sync()
    names = bench.names()
    for number in range(60):
        bench.source.put(f"r{number:04}", name=f"Zebra{number} GmbH", note=f"other {number}")
    bench.source.put("r0000", name="Yak GmbH")
    done = bench.sync("incremental")
    assert [t.kind for t in done.trouble] == ["GateStopped"]
    assert "fail same_record" in done.trouble[0].cause
    assert bench.names() == names
    assert bench.quarantine() == []
