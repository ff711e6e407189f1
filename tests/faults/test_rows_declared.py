"""Fault matrix, declarations (rows 10, 59): the version that works is one, and a bad or an old one changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from canonical.problems import Refused
from tasks import steps, versions
from tasks.landscape import load
from tasks.sync import PlainSteps, Summary, begin, sync
from tasks.versions import OldDeclarations
from tasks.world import World
from tests.fixtures.database import TestDatabase
from tests.fixtures.shelf import Shelf, ShelfBench

SHEET = "mappings/shop.csv"


@pytest.fixture
def bench(tmp_path: Path, database: TestDatabase) -> Iterator[ShelfBench]:
    with Shelf() as running:
        made = ShelfBench(running, tmp_path / "land", database)
        yield made
        made.world.close()


@pytest.fixture
def deploy(bench: ShelfBench) -> Iterator[Callable[..., World]]:
    """Another deploy of the same landscape, with words of its mapping sheet replaced."""
    made: list[World] = []

    def other(old: str = "", new: str = "") -> World:
        sheet = bench.folder / SHEET
        text = sheet.read_text(encoding="utf-8")
        assert old in text
        sheet.write_text(text.replace(old, new), encoding="utf-8")
        made.append(World(load(bench.folder), bench.folder))
        sheet.write_text(text, encoding="utf-8")
        return made[-1]

    yield other
    for world in made:
        world.close()


def run(world: World) -> Summary:
    sync_id = begin(world, "all", "full")
    return sync(world, "all", PlainSteps(world, sync_id), sync_id=sync_id, mode="full")


NAME, SHOUTED = "shop,bookings.name,canonical,booking.name,,", "shop,bookings.name,canonical,booking.name,upper,"


@pytest.mark.faults
def test_row_10_two_deploys_with_different_mappings_overlap(bench: ShelfBench, deploy: Callable[..., World]) -> None:
    """The older version is refused once the newer was at work, before it plans or writes anything."""
    bench.source.fill(8)
    old, new = deploy(), deploy(NAME, SHOUTED)
    run(old)
    assert run(new).trouble == []
    assert set(bench.names().values()) == {f"GUEST {n} LTD" for n in range(8)}
    before = {i: dict(e) for i, e in bench.source.ledger.items()}
    for _ in range(2):
        with pytest.raises(OldDeclarations, match="concord check --activate"):
            run(old)
    assert bench.source.ledger == before
    pinned = bench.rows("select distinct declaration from ops.sync order by 1")
    assert {r["declaration"] for r in pinned} == {old.landscape.digest, new.landscape.digest}
    assert run(new).target_writes == 0
    assert bench.agrees()


def test_row_10_a_run_under_way_when_a_newer_version_is_put_to_work(
    bench: ShelfBench, deploy: Callable[..., World]
) -> None:
    """It ends before its next round, and says why."""
    bench.source.fill(8)
    old, new = deploy(), deploy(NAME, SHOUTED)
    sync_id = begin(old, "all", "full")
    begin(new, "all", "full")
    with pytest.raises(OldDeclarations):
        sync(old, "all", PlainSteps(old, sync_id), sync_id=sync_id, mode="full")
    assert bench.names() == {}
    (row,) = bench.rows("select state, error from ops.sync where id = :id", id=sync_id)
    assert row["state"] == "failed"
    assert "older version" in row["error"]
    run(new)
    assert len(bench.names()) == 8


@pytest.mark.faults
def test_row_59_an_old_version_put_back(bench: ShelfBench, deploy: Callable[..., World]) -> None:
    """Only by a person's word, by name and with a reason; then it works again and the newer one is the old one."""
    bench.source.fill(8)
    old, new = deploy(), deploy(NAME, SHOUTED)
    run(old)
    run(new)
    assert versions.put_back(old, by="head", reason="nobody likes capitals")
    assert run(old).trouble == []
    assert set(bench.names().values()) == {f"Guest {n} Ltd" for n in range(8)}
    with pytest.raises(OldDeclarations):
        run(new)
    said = bench.rows("select actor from ops.audit where action = 'declaration.activated' and actor = 'head'")
    assert len(said) == 1
    kept = bench.rows("select activated_by, activated_because from ops.declaration order by activated_at desc limit 1")
    assert kept == [{"activated_by": "head", "activated_because": "nobody likes capitals"}]
    assert run(old).target_writes == 0
    assert bench.agrees()


@pytest.mark.faults
def test_row_59_bad_declarations_pushed_while_running(bench: ShelfBench, deploy: Callable[..., World]) -> None:
    """The last good version stays at work in what runs and in what starts; where none ever worked it is refused."""
    bench.source.fill(4)
    sheet = bench.folder / SHEET
    good = sheet.read_text(encoding="utf-8")
    sheet.write_text(good.replace("booking.country,country", "booking.contry,country"), encoding="utf-8")
    with pytest.raises(Refused):
        steps.opened(bench.folder)
    run(bench.world)  # the version that was read before works on
    bench.source.put("new", name="New Ltd")
    started = steps.opened(bench.folder)
    assert started.landscape.digest == bench.world.landscape.digest
    bad = steps.refused(bench.folder)
    assert bad is not None
    assert SHEET in str(bad.problems[0])
    run(started)
    assert "New Ltd" in bench.names().values()
    started.close()
    sheet.write_text(good, encoding="utf-8")
    assert steps.opened(bench.folder).landscape.digest == bench.world.landscape.digest
    assert steps.refused(bench.folder) is None
    assert bench.is_quiet()


@pytest.mark.faults
def test_row_59_declarations_that_would_rewrite_very_many_records(
    bench: ShelfBench, deploy: Callable[..., World]
) -> None:
    """Golden records are not rewritten before a person agrees; what is only added flows; accepted, it is done once."""
    bench.source.page_size = 50
    bench.source.fill(80)
    run(deploy())
    new = deploy(NAME, SHOUTED)
    for _ in range(2):
        assert [t.kind for t in run(new).trouble] == ["GateStopped"]
    assert {r["name"] for r in bench.rows("select name from golden.booking")} == {f"Guest {n} Ltd" for n in range(80)}
    assert set(bench.names().values()) == {f"Guest {n} Ltd" for n in range(80)}
    (finding,) = bench.rows("select id, kind, ours, because from ops.finding where state = 'open'")
    assert (finding["kind"], finding["ours"]) == ("mass_rewrite", "80")
    assert finding["because"] == "new declarations would rewrite 80 of 80 records of shop/bookings"
    bench.accept(finding["id"])
    done = run(new)
    assert done.trouble == []
    assert {r["name"] for r in bench.rows("select name from golden.booking")} == {f"GUEST {n} LTD" for n in range(80)}
    assert done.held == 80, "what targets are told of it is held by their own brake"
    assert set(bench.names().values()) == {f"Guest {n} Ltd" for n in range(80)}
    assert bench.agrees()
