"""What proofs and rehearsals conclude from what was seen: counts, limits, words; which systems have twins."""

from __future__ import annotations

import fcntl
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from apps.proving import scenario, twins
from apps.proving.evidence import difference, ignoring
from apps.proving.figures import figures
from apps.proving.ground import Ground, GroundBusy
from apps.proving.paper import report
from apps.proving.prove import NoCell, prove, told
from apps.proving.rehearsal import Change, Day, Sample
from apps.proving.verdict import Cell, Proof
from tasks import landscape

GOOD = Cell("deliver.sent:1", "kill", hurt=1, is_recovered=True, recovery_seconds=4.0)

# ------------------------------------------------------------------------------------------------ prove


@pytest.mark.parametrize(
    "broken",
    [
        {"lost": 1},
        {"doubled": 1},
        {"written_again": 1},
        {"sums_off": 1},
        {"is_recovered": False},
        {"recovery_seconds": 60.1},
        {"said": ("the restarted run failed",)},
    ],
    ids=lambda value: next(iter(value)),
)
def test_one_broken_promise_breaks_the_proof(broken: dict[str, object]) -> None:
    bad = replace(GOOD, **broken)  # type: ignore[arg-type]
    assert GOOD.holds
    assert not bad.holds
    assert told(bad).startswith("BROKEN")
    proof = Proof((GOOD, bad), 2, 1)
    assert not proof.holds
    assert [one["name"] for one in proof.as_dict()["failed"]] == ["deliver.sent:1"]


def test_a_restart_of_the_database_may_take_twice_as_long() -> None:
    assert replace(GOOD, kind="database", recovery_seconds=119.0).holds
    assert not replace(GOOD, kind="database", recovery_seconds=121.0).holds


def test_a_point_that_is_never_come_to_proves_nothing_and_breaks_nothing() -> None:
    missed = Cell("deliver.sent:9", "kill")
    proof = Proof((GOOD, missed), 1, 9)
    assert proof.holds
    assert (proof.as_dict()["cells"], proof.as_dict()["not_reached"]) == (1, 1)
    assert not Proof((missed,), 1, 9).holds, "nothing was proved"


def test_counts_add_up() -> None:
    again = replace(GOOD, kind="again", hurt=5, recovery_seconds=9.0)
    database = replace(GOOD, kind="database", hurt=6, recovery_seconds=70.0)
    found = Proof((GOOD, again, replace(GOOD, kind="zombie"), database), 17, 3, skipped=2).as_dict()
    assert (found["killed"], found["stopped"], found["database_restarts"], found["recovered"]) == (6, 1, 6, 4)
    assert (found["slowest_recovery_seconds"], found["slowest_after_database_seconds"]) == (9.0, 70.0)
    assert found["holds"]


@pytest.mark.parametrize(
    ("found", "lost", "doubled"),
    [
        (Counter(a=1, b=1), 0, 0),
        (Counter(a=1), 1, 0),
        (Counter(a=1, b=2), 0, 1),
        (Counter(a=1, b=1, c=1), 0, 1),
        (Counter(a=1, c=1), 1, 0),
    ],
    ids=["the same", "one is missing", "one is there twice", "one that nobody made", "one is different"],
)
def test_what_is_lost_and_what_is_doubled(found: Counter[str], lost: int, doubled: int) -> None:
    apart = difference({"crm/contacts": Counter(a=1, b=1)}, {"crm/contacts": found})
    assert (apart.lost, apart.doubled, bool(apart)) == (lost, doubled, bool(lost or doubled))


def test_the_demo_has_twins_of_all_its_systems() -> None:
    found = twins.of(landscape.load(twins.DEMO), twins.DEMO)
    assert found.http == {"crm": "crm", "accounting": "accounting", "projects": "asana"}
    assert (found.alerts, set(found.databases), set(found.files)) == (
        "alerts",
        {"legacy", "warehouse"},
        {"hr", "workbook"},
    )


def test_systems_without_a_twin_are_named_all_at_once(tmp_path: Path) -> None:
    text = (twins.DEMO / "landscape.yaml").read_text()
    (tmp_path / "landscape.yaml").write_text(text)
    with pytest.raises(twins.NoTwin) as none:
        twins.of(landscape.load(twins.DEMO), tmp_path)
    assert set(none.value.systems) == {"legacy", "warehouse"}, "databases of one's own are not the demo's"


# ------------------------------------------------------------------------------------------------ rehearse


@pytest.mark.parametrize("name", scenario.names())
def test_scenarios_that_come_with_concord_are_well_formed(name: str) -> None:
    day = scenario.read(name, 10)
    assert day.calm.load == 60
    assert day.phase_at(0.1) is not None
    assert day.load_at(0.1) == 6
    assert day.load_at(0.95) == 0, "in the end what is left is worked off"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a", "expected changes_per_minute"),
        ("{name: a, means: b, changes_per_minute: 0, phases: []}", "above 0"),
        ("{name: a, means: b, changes_per_minute: 6, phases: [{name: x, from: 20%, until: 10%}]}", "follow each other"),
        (
            "{name: a, means: b, changes_per_minute: 6, phases:"
            " [{name: x, from: 0%, until: 10%}, {name: y, from: 5%, until: 20%}]}",
            "phase 2",
        ),
        (
            "{name: a, means: b, changes_per_minute: 6, phases: [{name: x, from: 0%, until: 10%, hurts: crm}]}",
            "both or neither",
        ),
        ("{name: a, means: b, changes_per_minute: 6, phases: [{name: x, from: 0%, until: 1%, k: 1}]}", "unknown key k"),
        ("{", "while parsing"),
    ],
    ids=["half of it", "no work", "backwards", "on top of each other", "no fault", "a slip", "no YAML"],
)
def test_a_file_that_is_no_scenario_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "day.yaml"
    file.write_text(text)
    with pytest.raises(scenario.BadScenario, match=said):
        scenario.read(str(file), 10)


def day(**late: float | None) -> Day:
    """A christmas in which every change took 10 s, but those of (phase word) took what is given."""
    found = Day(scenario.read("christmas", 10), 3)
    for phase in found.scenario.phases:
        for number in range(4):
            took = next((s for word, s in late.items() if word in phase.name), 10.0)
            found.changes.append(Change(number, "r", 0.0, phase.name, {"legacy": took}))
    found.samples = [Sample(share / 100, 3, 500.0) for share in range(100)]
    found.drained_seconds = 12.0
    integrations = landscape.load(twins.DEMO).integrations
    found.rounds = {name: [20.0 * n for n in range(1, 9)] for name in integrations}
    found.after, found.before = {"hold": 3, "review": 5}, {"hold": 1, "review": 5}
    return found


def test_a_day_that_went_well() -> None:
    found = figures(day(), landscape.load(twins.DEMO).integrations)
    assert found.holds
    assert found.needed_a_person == {"hold": 2}
    told_of = report(found)
    assert "**Concord kept up.**" in told_of
    assert "Every change arrived everywhere it should." in told_of
    assert "- 2 sets of writes that wait for an approval." in told_of


def test_a_system_that_is_late_because_another_is_down_is_named() -> None:
    found = figures(day(ledger=13.0), landscape.load(twins.DEMO).integrations)
    assert [(one.phase, one.system, one.times_normal) for one in found.late] == [("the ledger is down", "legacy", 1.3)]
    assert not found.holds
    assert "legacy (1.3 × normal while the ledger is down)" in report(found)


def test_what_the_slow_system_itself_feeds_may_be_late() -> None:
    found = figures(day(CRM=50.0), landscape.load(twins.DEMO).integrations)
    assert found.holds


def test_a_change_that_never_arrives_breaks_the_day() -> None:
    found = figures(day(login=None), landscape.load(twins.DEMO).integrations)
    assert (found.missing, found.holds) == (4, False)
    assert "4 changes did not arrive" in report(found)


def test_an_sla_is_held_against_its_schedule_and_the_slowest_round() -> None:
    slow = day()
    slow.rounds["customer-details"] = [2_000.0, 4_000.0]
    found = figures(slow, landscape.load(twins.DEMO).integrations)
    [broken] = found.broken
    assert (broken.integration, broken.gap_seconds, broken.expected_seconds) == ("customer-details", 900.0, 2_900.0)
    assert "| customer-details | 15 min | 33 min | 48 min | 45 min | **no** |" in report(found)


def test_memory_that_grows_breaks_the_day() -> None:
    grown = day()
    grown.samples = [Sample(share / 100, 3, 500.0 + 10 * share) for share in range(100)]
    found = figures(grown, landscape.load(twins.DEMO).integrations)
    assert not found.is_flat
    assert "**growing**" in report(found)


def test_two_at_once_do_not_share_a_ground(tmp_path: Path) -> None:
    (tmp_path / "prove.lock").touch()
    with (tmp_path / "prove.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = twins.of(landscape.load(twins.DEMO), twins.DEMO)
        with pytest.raises(GroundBusy), Ground(tmp_path / "prove", found, 0.05):
            pass


def test_members_that_may_differ_are_left_out() -> None:
    ours = {"accounting/contacts": Counter({'{"ContactNumber": "a", "Name": "X"}': 1})}
    theirs = {"accounting/contacts": Counter({'{"ContactNumber": "b", "Name": "X"}': 1})}
    assert difference(ours, theirs)
    same = [ignoring(one, frozenset({"ContactNumber"})) for one in (ours, theirs)]
    assert not difference(*same)


def test_cells_that_nobody_has_are_refused_before_anything_is_started(tmp_path: Path) -> None:
    found = twins.of(landscape.load(twins.DEMO), twins.DEMO)
    with pytest.raises(NoCell, match="nonsense"):
        prove(tmp_path / "prove", found, print, only="nonsense")
    assert not (tmp_path / "prove").exists()
