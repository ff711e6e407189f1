"""Rows 50 and 51 of the fault matrix: a mass change stops before its first write, and what a person says is what is
done: once, in time, by somebody who may."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apps import exits
from staging import holds
from staging.crash import VARIABLE
from tasks import decide
from tests.fixtures.desk import BOSS, ENVIRONMENT, GUESTS, LOOSE, Desk, DeskBench
from tests.fixtures.said import Concord, speaker

TOP = Path(__file__).resolve().parents[2]
Change = Callable[[Desk], None]


@pytest.fixture
def concord(desk: DeskBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Concord:
    monkeypatch.setenv("CONCORD_APPROVAL_CODE", BOSS)
    return speaker(capsys)


def change(source: Desk, share: float, **members: Any) -> None:
    """Changes the first of the bookings, a minute later."""
    source.tick(minutes=1)
    for record_id in sorted(source.records)[: int(share * GUESTS)]:
        source.put(record_id, **{k: v(source.records[record_id]) if callable(v) else v for k, v in members.items()})


def approve(concord: Concord, hold: int, by: str = "boss") -> Any:
    return concord("holds", "approve", str(hold), "--by", by, "--reason", "seen and meant", "--yes")


MASSES: dict[str, tuple[Change, str]] = {
    "delete-30-percent": (lambda s: change(s, 0.3, gone=True), "12 archives"),
    "change-60-percent": (lambda s: change(s, 0.6, name=lambda r: r["name"].upper()), "24 updates"),
    "one-field-blanked-everywhere": (lambda s: change(s, 1.0, email=None), "40 field values turn empty"),
    "all-amounts-times-100": (lambda s: change(s, 1.0, price=lambda r: r["price"] * 100, count=2), "EUR moved"),
}


@pytest.mark.faults
@pytest.mark.parametrize(
    ("mass", "decision"),
    [
        *((mass, "approve") for mass in MASSES),
        ("change-60-percent", "reject"),
        *(pytest.param(mass, "reject", marks=pytest.mark.faults) for mass in MASSES if mass != "change-60-percent"),
    ],
)
def test_row_50_a_mass_change_waits_for_a_person(desk: DeskBench, concord: Concord, mass: str, decision: str) -> None:
    """It is held before the first write, with the count as its reason; the other target goes on; approved it is applied
    once, rejected nothing is."""
    act, because = MASSES[mass]
    before, papers = desk.source.written(), desk.source.written("/papers")
    act(desk.source)

    assert desk.sync().trouble == []

    assert desk.source.written() == before
    moved = desk.source.written("/papers") - papers
    assert moved > 0, "the other lane went on"
    [hold] = desk.holds()
    assert because in hold["reason"]
    assert "brake allows" in hold["reason"]
    assert hold["waiting"] == hold["writes"] == moved
    assert desk.agrees()

    said = concord("holds", decision, str(hold["id"]), "--by", "boss", "--reason", "seen and meant", "--yes")
    assert said.code == exits.DONE, said.err
    desk.sync()

    assert desk.source.written() - before == (moved if decision == "approve" else 0)
    assert desk.is_quiet()


@pytest.mark.faults
def test_row_50_a_trickle_is_counted_over_the_day(desk: DeskBench) -> None:
    """Four changes pass, four more within the day do not: what was let go in the last 24 hours counts along."""
    before = desk.source.written()
    change(desk.source, 0.1, name="Renamed Ltd")
    desk.sync()
    assert desk.source.written() - before == 4
    desk.source.tick(minutes=1)
    for number in range(20, 24):
        desk.source.put(f"r{number}", name="Renamed as well Ltd")
    desk.sync()
    assert desk.source.written() - before == 4
    assert "with the last 24 hours' 4" in desk.holds()[0]["reason"]
    desk.run_sql("update ops.outbox set released_at = released_at - interval '25 hours' where hold_id is null")
    desk.source.put("r30", name="Another day Ltd")
    desk.sync()
    assert desk.source.written() - before == 5
    assert desk.is_quiet()


def test_row_50_money_is_counted_over_the_day(desk: DeskBench) -> None:
    """Six per cent of the money moved pass, six more within the day do not, however few records they are."""
    before = desk.source.written()
    for record, price in (("r01", 340), ("r02", 340)):
        desk.source.tick(minutes=1)
        desk.source.put(record, price=price)
        desk.sync()
    assert desk.source.written() - before == 1
    [hold] = desk.holds()
    assert "480.00 EUR moved" in hold["reason"]
    assert desk.is_quiet()


@pytest.mark.faults
def test_row_50_a_persons_override_lets_it_go_and_is_kept(desk: DeskBench, concord: Concord) -> None:
    """While somebody has lifted the brake, the mass change goes in that person's name: approval, hashes and audit."""
    lift = ("holds", "override", "bookings-to-books", "--until", "2h", "--by", "boss", "--reason", "yearly renaming")
    assert concord(*lift).code == exits.REFUSED, "nobody was there to confirm"
    assert concord(*lift, "--yes").code == exits.DONE
    before = desk.source.written()
    change(desk.source, 0.6, name=lambda r: r["name"].upper())
    desk.sync()
    assert desk.source.written() - before == 24
    [kept] = desk.rows("select a.by, a.reason, a.write_hashes from ops.approval a join ops.hold h on h.id = a.hold_id")
    assert (kept["by"], len(kept["write_hashes"])) == ("boss", 24)
    assert "yearly renaming" in kept["reason"]
    audited = desk.rows("select action, actor from ops.audit where actor = 'boss' order by id")
    assert [a["action"] for a in audited] == ["brake.lifted", "hold.overridden"]
    assert (
        concord("holds", "override", "bookings-to-books", "--end", "--by", "boss", "--reason", "done", "--yes").code
        == 0
    )
    change(desk.source, 0.6, name=lambda r: r["name"].lower())
    desk.sync()
    assert desk.source.written() - before == 24
    assert desk.is_quiet()


# ----------------------------------------------------------------------------------------------------------------- 51


@pytest.fixture
def held(desk: DeskBench) -> int:
    """A hold over 20 new names."""
    change(desk.source, 0.5, name=lambda r: r["name"].upper())
    desk.sync()
    [hold] = desk.holds()
    assert hold["waiting"] == 20
    return int(hold["id"])


@pytest.mark.faults
def test_row_51_a_write_that_changed_falls_back_and_the_rest_apply(
    desk: DeskBench, concord: Concord, held: int
) -> None:
    """What changed between hold and approval is held anew, under its own number; the other 19 go, once."""
    before = desk.source.written()
    desk.source.tick(minutes=1)
    desk.source.put("r03", name="Quite Another Ltd")
    desk.sync()
    assert desk.source.written() == before, "the next edit does not pass the brake alone"
    _, anew = desk.holds()
    assert (anew["waiting"], anew["follows"]) == (1, held)
    assert f"changed since they were held behind hold {held}" in anew["reason"]
    assert approve(concord, held).code == exits.DONE
    desk.sync()
    assert desk.source.written() - before == 19
    assert "Quite Another Ltd" not in {e["name"] for e in desk.source.ledger.values()}
    assert approve(concord, anew["id"]).code == exits.DONE
    desk.sync()
    assert desk.source.written() - before == 20
    assert desk.is_quiet()


@pytest.mark.faults
def test_row_51_a_write_that_changes_while_a_person_reads_is_not_what_was_approved(desk: DeskBench, held: int) -> None:
    """The approval lists the hashes that were shown: what is not among them stays held."""
    shown = [w["write_hash"] for w in desk.rows("select write_hash from ops.outbox where state = 'held' order by id")]
    number = decide.decide(desk.world, held, "approve", by="boss", reason="as shown", hashes=shown[:15])
    assert number == 15
    assert [h["waiting"] for h in desk.holds()] == [5]
    [kept] = desk.rows("select write_hashes from ops.approval")
    assert kept["write_hashes"] == sorted(shown[:15])
    before = desk.source.written()
    desk.sync()
    assert desk.source.written() - before == 15
    assert desk.is_quiet()


def test_row_51_approved_twice_is_applied_once(desk: DeskBench, concord: Concord, held: int) -> None:
    """Two who approve at the same moment are one approval; a third is told that there is nothing to do."""
    ready = threading.Barrier(2)
    released: list[int] = []

    def at_once() -> None:
        ready.wait()
        with desk.world.transaction() as conn:
            released.append(holds.approve(conn, held, by="boss", reason="at once"))

    threads = [threading.Thread(target=at_once) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(released) == [0, 20]
    assert len(desk.rows("select id from ops.approval")) == 1
    before = desk.source.written()
    desk.sync()
    again = approve(concord, held)
    assert (again.code, "nothing to do" in again.err) == (exits.DONE, True)
    desk.sync()
    assert desk.source.written() - before == 20
    assert desk.is_quiet()


@pytest.mark.faults
def test_row_51_whoever_asked_for_the_writes_is_refused(desk: DeskBench, concord: Concord) -> None:
    """The person who applied the plan cannot approve its hold; another one can."""
    change(desk.source, 0.5, name=lambda r: r["name"].upper())
    plan = str(concord("plan", "--save", "--by", "clerk", "--json").json["saved_plan_id"])
    before = desk.source.written()
    assert concord("apply", plan, "--by", "boss", "--yes").code == exits.DONE
    [hold] = desk.holds()
    refused = approve(concord, hold["id"])
    assert refused.code == exits.REFUSED
    assert "somebody else must approve" in refused.err
    assert desk.source.written() == before
    os.environ["CONCORD_APPROVAL_CODE"] = ENVIRONMENT["CLERK_CODE"]
    assert approve(concord, hold["id"], by="clerk").code == exits.DONE
    desk.sync()
    assert desk.source.written() - before == 20
    assert desk.is_quiet()


@pytest.mark.faults
def test_row_51_four_eyes_ask_for_proof(desk: DeskBench, concord: Concord, held: int) -> None:
    """Where four eyes are declared, somebody without a personal code is refused, and a wrong code is."""
    desk.redeclare("    sla: {resolve: 4h}", "    sla: {resolve: 4h}\n    four_eyes: true")
    refused = approve(concord, held, by="head")
    assert (refused.code, "four_eyes" in refused.err) == (exits.REFUSED, True)
    assert approve(concord, held, by="clerk").code == exits.REFUSED, "the code is the boss's"
    assert [h["waiting"] for h in desk.holds()] == [20]
    assert approve(concord, held).code == exits.DONE


@pytest.mark.faults
def test_row_51_an_expired_hold_is_refused_and_asked_anew(desk: DeskBench, concord: Concord, held: int) -> None:
    """After its time an approval is refused in plain words, and the same writes wait behind a hold of their own."""
    desk.run_sql("update ops.hold set due_at = now() - interval '1 minute' where id = :id", id=held)
    before = desk.source.written()
    refused = approve(concord, held)
    assert refused.code == exits.REFUSED
    assert "expired" in refused.err
    desk.sync()
    assert desk.source.written() == before
    [anew] = desk.holds()
    assert (anew["follows"], anew["waiting"]) == (held, 20)
    assert str(anew["id"]) in refused.err
    [old] = desk.holds("expired")
    assert (old["closed_by"], "before anybody decided" in old["closed_because"]) == ("concord", True)
    assert approve(concord, anew["id"]).code == exits.DONE
    desk.sync()
    assert desk.source.written() - before == 20
    assert desk.is_quiet()


@pytest.mark.faults
def test_row_51_an_approval_that_grew_old_sends_nothing(desk: DeskBench, concord: Concord, held: int) -> None:
    """What was approved and not sent while the approval was good is held again."""
    assert approve(concord, held).code == exits.DONE
    desk.run_sql("update ops.approval set expires_at = now() - interval '1 minute'")
    before = desk.source.written()
    desk.sync()
    assert desk.source.written() == before
    [anew] = desk.holds()
    assert (anew["follows"], anew["waiting"]) == (held, 20)
    assert "while the approval was good" in anew["reason"]
    assert approve(concord, anew["id"]).code == exits.DONE
    desk.sync()
    assert desk.source.written() - before == 20
    assert desk.is_quiet()


@pytest.mark.faults
@pytest.mark.parametrize("moment", [pytest.param("deliver.claimed", marks=pytest.mark.faults), "deliver.sent"])
def test_row_51_approved_while_the_worker_is_dead_is_applied_on_restart(
    desk: DeskBench, concord: Concord, held: int, moment: str
) -> None:
    """Nobody runs when the hold is approved; a worker is killed over it, the next one brings it to its end, once."""
    assert approve(concord, held).code == exits.DONE
    before = {i: dict(e) for i, e in desk.source.ledger.items()}
    killed = subprocess.run(
        [sys.executable, "-m", "apps.cli", "deliver"], cwd=TOP, env={**os.environ, VARIABLE: moment},
        check=False, capture_output=True, timeout=60,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert desk.agrees()
    for _ in range(3):
        desk.run_sql("update ops.outbox set due_at = now() where state = 'ready'")
        desk.sync()
    changed = [i for i, e in desk.source.ledger.items() if e != before[i]]
    assert len(changed) == 20
    assert len(desk.source.ledger) == GUESTS
    assert desk.rows("select id from ops.outbox where state not in ('delivered', 'superseded')") == []
    assert desk.is_quiet()


@pytest.mark.faults
def test_row_51_a_held_parent_holds_only_its_own_children(desk: DeskBench, concord: Concord) -> None:
    """Children of a held create wait for it; other children go, and its own go when it does."""
    desk.redeclare(LOOSE, "ask_when: \"name == 'Held Parent Ltd'\"")
    desk.redeclare(
        "canonical,booking.parent,books,entries.parent_name,value_of name,",
        "canonical,booking.parent,books,entries.parent_id,,",
        file="mappings/shop.csv",
    )
    desk.sync()
    desk.source.tick(minutes=1)
    for name in ("Held Parent Ltd", "Free Parent Ltd"):
        desk.source.put(f"p-{name[:4]}", name=name, note=name)
        desk.source.put(f"c-{name[:4]}", name=f"Child of {name}", note=f"child {name}", parent=f"p-{name[:4]}")
    desk.sync()
    names = {e["name"] for e in desk.source.ledger.values()}
    assert {"Free Parent Ltd", "Child of Free Parent Ltd"} <= names
    assert not names & {"Held Parent Ltd", "Child of Held Parent Ltd"}
    [hold] = desk.holds()
    assert hold["waiting"] == 1, "the child waits, it is not held"
    assert approve(concord, hold["id"]).code == exits.DONE
    desk.sync()
    names = {e["name"] for e in desk.source.ledger.values()}
    assert {"Held Parent Ltd", "Child of Held Parent Ltd"} <= names
    assert desk.is_quiet()


@pytest.mark.faults
def test_row_51_a_hold_window_sends_the_last_version_only(desk: DeskBench) -> None:
    """In a declared delay nothing is sent; what changes meanwhile is sent as it stands when the time is over, once."""
    desk.redeclare("    sla: {resolve: 4h}", "    sla: {resolve: 4h}\n    hold: 1h")
    desk.sync()
    before = desk.source.written()
    for name in ("Typo Lt", "Typed Right Ltd"):
        desk.source.tick(minutes=1)
        desk.source.put("r01", name=name)
        desk.sync()
    assert desk.source.written() == before
    assert desk.rows("select id from ops.hold") == [], "a delay needs nobody"
    desk.run_sql("update ops.outbox set due_at = now() where state = 'ready'")
    desk.sync()
    assert desk.source.written() - before == 1
    assert "Typed Right Ltd" in {e["name"] for e in desk.source.ledger.values()}
    assert desk.is_quiet()
