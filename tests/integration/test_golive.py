"""Going live is a step: an observed target is planned and reported, and told nothing before a person says so (9.15)."""

from __future__ import annotations

import pytest

from apps import exits
from tests.fixtures.mainjob import MainJob
from tests.fixtures.outside import in_agreement
from tests.fixtures.said import Concord

pytestmark = pytest.mark.slow

OBSERVED = (
    '- {system: legacy, stream: clients, mode: write}\n    timing: {schedule: "*/15 * * * *"',
    '- {system: legacy, stream: clients}\n    timing: {schedule: "*/15 * * * *"',
)


@pytest.fixture
def observing(main_job: MainJob) -> MainJob:
    """The order database is told of customers no more: its target has the mode that is nobody's word, `observe`."""
    main_job.replace_in("landscape.yaml", *OBSERVED)
    return main_job


def move(job: MainJob) -> dict[tuple[str, str], str]:
    """A customer known everywhere gets another phone number in the CRM; gives its ids."""
    row = job.rows(
        "select g.id from golden.customer g join ops.crosswalk c on c.canonical_id = g.id and c.ended_at is null"
        " where g.phone is not null and g.status = 'active' and not g.deleted and not"
        " g.provisional && array['phone', 'email'] group by 1"
        " having count(*) = 3 and count(distinct c.system) = 3 order by 1 limit 1"
    )[0]
    ids = job.source_ids("customer", row["id"])
    job.edit("crm", "companies", ids["crm", "companies"], {"phone": "020 7946 0111"})
    return ids


def test_an_observed_target_is_planned_and_reported_and_told_nothing(observing: MainJob, concord: Concord) -> None:
    mark = observing.mark()
    move(observing)
    first = observing.sync()
    assert set(observing.written_since(mark)) == {"accounting"}
    assert first.targets["legacy/clients"]["observed"] == 1
    queued = "select count(*) from ops.outbox where sync_id = :id and system = 'legacy'"
    assert observing.value(queued, id=first.sync_id) == 0
    second = observing.sync()
    assert (second.target_writes, second.golden_versions) == (0, 0)
    assert "observed" not in second.targets.get("legacy/clients", {}), "it is said once, not with every sync"
    assert in_agreement()
    said = concord("status")
    assert "observed only: customer-details to legacy/clients" in said.out
    assert "concord golive customer-details" in said.out


def test_going_live_shows_the_first_plan_asks_and_lets_delivery_begin(observing: MainJob, concord: Concord) -> None:
    ids = move(observing)
    observing.sync()
    mark = observing.mark()
    refused = concord("golive", "customer-details")
    assert refused.code == exits.REFUSED
    assert "--yes" in refused.err
    assert "+442079460111" in refused.out, "the sample is shown before anybody is asked"
    observing.sync()
    assert observing.written_since(mark) == {}, "nobody has said yes"

    declared = (observing.folder / "landscape.yaml").read_text()
    made = concord("golive", "customer-details", "--yes", "--by", "integration-owner", "--json")
    assert made.code == exits.DONE, made.err
    shown = {t["system"]: t for t in made.json["targets"]}
    assert shown["legacy"]["updates"] == 1
    assert shown["legacy"]["linked"] > 10
    assert shown["legacy"]["agreeing"] == shown["legacy"]["linked"] - 1
    assert shown["accounting"]["declared"] == "write"
    assert (observing.folder / "landscape.yaml").read_text() == declared
    went = observing.rows("select system, stream, by, digest, saved_plan_id from ops.going_live where ended_at is null")
    assert [(w["system"], w["stream"], w["by"]) for w in went] == [("legacy", "clients", "integration-owner")]
    assert went[0]["digest"] == made.json["digest"]
    assert observing.written_since(mark) == {}, "the next sync sends it"

    observing.sync()
    [change] = observing.written_since(mark)["legacy"]
    assert (change["new"]["client_no"], change["new"]["tel"]) == (ids["legacy", "clients"], "+442079460111")
    assert in_agreement()
    again = observing.sync()
    assert (again.target_writes, again.golden_versions) == (0, 0)
    assert "live by integration-owner" in concord("status").out
    assert "nothing to do" in concord("golive", "customer-details", "--yes").out


def test_what_went_live_is_observed_again(observing: MainJob, concord: Concord) -> None:
    concord("golive", "customer-details", "--yes")
    observing.sync()
    assert concord("golive", "customer-details", "--back", "--yes", "--because", "wrong numbers").code == exits.DONE
    mark = observing.mark()
    move(observing)
    observing.sync()
    assert set(observing.written_since(mark)) == {"accounting"}
    assert "observed only" in concord("status").out
    ended = observing.rows("select ended_because from ops.going_live")
    assert ended == [{"ended_because": "wrong numbers"}]
    assert in_agreement()


def test_a_plan_does_not_send_what_is_only_observed(observing: MainJob, concord: Concord) -> None:
    move(observing)
    made = concord("plan", "customer-details", "--save", "--json").json
    assert {w["system"]: w["mode"] for w in made["writes"]} == {"accounting": "write", "legacy": "observe"}
    assert {t["system"]: t["verdict"] for t in made["targets"]} == {"accounting": "release", "legacy": "observe"}
    mark = observing.mark()
    assert concord("apply", str(made["saved_plan_id"]), "--yes").code == exits.DONE
    assert set(observing.written_since(mark)) == {"accounting"}
    assert in_agreement()


def test_from_then_on_the_brake_counts(observing: MainJob, concord: Concord) -> None:
    observing.replace_in("landscape.yaml", '{changes: "max(700, 60%)"', '{changes: "max(0, 0.1%)"')
    move(observing)
    seen = concord("golive", "customer-details", "--yes", "--json").json
    legacy = next(t for t in seen["targets"] if t["system"] == "legacy")
    assert "hold" in legacy["brake"][0]["because"], "said before anybody agrees"
    mark = observing.mark()
    observing.sync()
    assert "legacy" not in observing.written_since(mark)
    assert observing.value("select count(*) from ops.hold where system = 'legacy' and kind = 'brake'") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("all",), "one by one"),
        (("customer-detail",), "did you mean customer-details?"),
        (("customer-details", "--target", "crm"), "does not write to 'crm'"),
    ],
    ids=["all at once", "unknown", "a system it does not write to"],
)
def test_what_cannot_go_live_is_refused(
    main_job: MainJob, concord: Concord, arguments: tuple[str, ...], said: str
) -> None:
    found = concord("golive", *arguments, "--yes")
    assert found.code == exits.REFUSED
    assert said in found.err
