"""What did not change is told from memory: nothing that lands may depend on whether it was."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from canonical import keys
from staging import heads, landing
from staging.engine import transaction
from tasks import extract as reading
from tests.fixtures.badsource import page, record
from tests.fixtures.bench import Bench

STRANGE = ["plain", 'quo"te', "com,ma", "new\nline", "cr\r\nlf", "Ünïcødé €", "null", "", " ", "\\N", "tab\there"]


def _land(ids: list[str], hashes: list[int | None], *, deleted: bool = False) -> None:
    with transaction() as conn:
        conn.execute(
            sa.text(
                "insert into landing.record (system, stream, source_id, raw_id, raw_hash, state, deleted)"
                " values ('s', 't', :id, :raw, :hash, 'staged', :deleted)"
            ),
            [
                {"id": i, "raw": n * 3_000, "hash": h, "deleted": deleted}
                for n, (i, h) in enumerate(zip(ids, hashes, strict=True))
            ],
        )


def test_only_a_live_record_with_the_very_same_bytes_is_the_same(database: Any) -> None:
    hashes = keys.raw_hashes([i.encode() for i in STRANGE])
    _land(STRANGE, list(hashes))
    _land(["written"], [None])
    _land(["gone"], [7], deleted=True)
    with transaction() as conn:
        known = heads.read(conn, "s", "t")
        others = heads.read(conn, "s", "another")
    assert len(known) == len(STRANGE)
    assert known.same(STRANGE, hashes).all()
    assert not known.same(STRANGE, [h + 1 for h in hashes]).any()
    assert not known.same(["written", "gone", "new"], [0, 7, hashes[0]]).any()
    assert not others.same(STRANGE, hashes).any()
    known.leave(["com,ma", "never seen"])
    assert known.same(STRANGE, hashes).tolist() == [i != "com,ma" for i in STRANGE]


def _seen(bench: Bench) -> dict[str, str]:
    rows = bench.rows(
        "select r.source_id, v.payload, r.raw_hash from landing.record r join landing.raw_record v on v.id = r.raw_id"
        " where r.system = 'shop' and not r.deleted"
    )
    hashed = keys.raw_hashes([r["payload"].encode() for r in rows])
    assert [r["raw_hash"] for r in rows] == hashed
    return {r["source_id"]: json.loads(r["payload"])["name"] for r in rows}


def _looked_up(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records each landing compared with the table."""
    found: list[int] = []
    land = landing.land_page

    def counted(*given: Any, **more: Any) -> landing.Landed:
        found.append(len(more["ids"]))
        return land(*given, **more)

    monkeypatch.setattr(landing, "land_page", counted)
    return found


@pytest.mark.parametrize("many", [1, 1_000_000], ids=["from memory", "looked up"])
@pytest.mark.parametrize("at_once", [4, 1_000], ids=["page by page", "all pages at once"])
@pytest.mark.parametrize("seed", range(2))
def test_the_last_version_of_a_walk_is_what_lands(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, seed: int, at_once: int, many: int
) -> None:
    """Records change, change back and come again on a later page, while and between the sweeps."""
    monkeypatch.setattr(reading, "MANY", many)
    monkeypatch.setattr(reading, "GROUP_RECORDS", at_once)
    looked_up = _looked_up(monkeypatch)
    choose = random.Random(seed)
    names = {f"r{n}": "first" for n in range(20)}
    for _ in range(6):
        ids = choose.sample(sorted(names), len(names))
        walked = [ids[start : start + 4] for start in range(0, len(ids), 4)]
        walked.insert(choose.randrange(len(walked)), choose.sample(ids, 4))  # these come twice
        walked.append(choose.sample(ids, 4))
        bodies = []
        for number, some in enumerate(walked):
            for i in some:
                if choose.random() < 0.3:
                    names[i] = choose.choice(["first", "second", "third"])
            after = number + 1 if number + 1 < len(walked) else None
            bodies.append(page(*(record(id=i, note=i, name=names[i]) for i in some), after=after))
        bench.source.pages = bodies
        found = reading.extract(bench.world, "shop", "bookings", mode="full", sync_id=None)
        counts = found.counts
        homes = counts.new + counts.changed + counts.unchanged + counts.repeated
        assert counts.received == sum(map(len, walked)) == homes
        assert _seen(bench) == names
    is_told = many == 1 and at_once == 4  # ids that come twice at once are looked up
    assert (min(looked_up[len(looked_up) // 6 :]) < 4) == is_told, "in the sweeps after the first"


@pytest.mark.parametrize(("total", "first_looked_up"), [(None, 4), (40, 0), (3, 4)], ids=["untold", "told", "wrong"])
def test_a_walk_that_shows_most_of_a_stream_is_told_from_memory(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, total: int | None, first_looked_up: int
) -> None:
    """Many systems show everything when they are asked for what changed since. Looked up group by group, a million
    records took as long again as reading them; `wrong`: the system says that there is less than it shows."""
    names = {f"r{n:02}": "first" for n in range(40)}
    walked = [sorted(names)[start : start + 4] for start in range(0, 40, 4)]

    def bodies() -> list[bytes]:
        last = len(walked) - 1
        return [
            page(*(record(id=i, note=i, name=names[i]) for i in some), after=n + 1 if n < last else None)
            for n, some in enumerate(walked)
        ]

    bench.source.pages = bodies()
    reading.extract(bench.world, "shop", "bookings", mode="incremental", sync_id=None)
    names |= {"r01": "second", "r30": "second"}
    bench.source.pages = bodies()
    monkeypatch.setattr(reading, "MANY", 1)
    monkeypatch.setattr(reading, "GROUP_RECORDS", 4)
    monkeypatch.setattr(landing, "WHOLE_STREAM", 2)
    ahead = reading.ahead
    monkeypatch.setattr(reading, "ahead", lambda pages: (replace(p, total=total) for p in ahead(pages)))
    looked_up = _looked_up(monkeypatch)
    found = reading.extract(bench.world, "shop", "bookings", mode="incremental", sync_id=None)
    assert (found.mode, found.counts.changed, found.counts.unchanged) == ("incremental", 2, 38)
    assert _seen(bench) == names
    told = [1, 0, 0, 0, 0, 0, 0, 1, 0, 0]  # what has changed of each group is looked up in any case
    assert looked_up == [4] * first_looked_up + told[first_looked_up:]


def test_what_we_wrote_is_a_change_when_it_is_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash is taken away when a write has settled: the same bytes are then news."""
    monkeypatch.setattr(reading, "MANY", 1)
    bench.source.pages = [page(*(record(id=f"r{n}", note=str(n), name="same") for n in range(5)))]
    reading.extract(bench.world, "shop", "bookings", mode="full", sync_id=None)
    with transaction() as conn:
        conn.execute(sa.text("update landing.record set raw_hash = null where source_id = 'r3'"))
    counts = reading.extract(bench.world, "shop", "bookings", mode="full", sync_id=None).counts
    assert (counts.unchanged, counts.changed) == (4, 1)
