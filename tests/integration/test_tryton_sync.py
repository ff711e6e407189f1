"""The main job against a real ERP: customers of the CRM and parties of a Tryton server come to agree.

Everything is judged from outside: by what Tryton's own client protocol and the CRM's store show, never by what
Concord says it did. The systems are brought into agreement once for all tests; each leaves them agreeing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from connectors.protocol import Page, Unreachable
from staging.engine import transaction
from tests.fixtures.crm_erp import (
    CASES,
    Business,
    Row,
    changed,
    companies,
    held,
    line_of,
    named,
    opened,
    phone,
    plain_customers,
    running_business,
    says,
    synced,
    tax_id,
    tax_ids,
    value,
)

if TYPE_CHECKING:
    from tasks.sync import Mode
    from tests.fixtures.database import TestDatabase

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def business(module_database: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Business]:
    """The CRM, the ERP and Concord, agreeing."""
    with running_business(tmp_path_factory.mktemp("crm_erp"), module_database) as agreed:
        yield agreed


def reviews(business: Business, party: int) -> list[Row]:
    """What is asked about a party."""
    return business.rows(
        "select id, system, stream, source_id, other from ops.review where state = 'open' and system = 'erp'"
        " and source_id = :party",
        party=str(party),
    )


def answered(business: Business, party: int, verdict: str) -> None:
    """A person's answer, as `concord reviews answer` gives it."""
    from staging import queues, verdicts

    [review] = reviews(business, party)
    entity = business.world.landscape.model["customer"]
    with transaction(business.world.engine) as conn:
        queues.answer_review(conn, review["id"], verdict, by="head-of-sales", reason="asked them")
        verdicts.match_again(conn, entity, [(review["system"], review["stream"], review["source_id"])])


@pytest.mark.parametrize("case", [case for case in CASES if case != "doubtful"])
def test_a_customer_that_the_erp_knows_is_matched_and_brought_up_to_date(business: Business, case: str) -> None:
    for company, party in business.seeded[case]:
        assert named(business.after, company["name"]) == [party]
        assert says(business.after[party], company)
        assert [i for i, row in business.after.items() if tax_id(company) in tax_ids(row)] == [party]


def test_what_agrees_already_is_not_written(business: Business) -> None:
    for party in [*(party for _, party in business.seeded["same"]), *business.suppliers]:
        assert business.after[party] == business.before[party]


@pytest.mark.parametrize(
    ("case", "part", "kind", "fields"),
    [
        ("phone", "contact_mechanisms", "phone", ["value"]),
        ("email", "contact_mechanisms", "email", ["value"]),
        ("address", "addresses", None, ["street", "city"]),
        ("no_tax_id", "identifiers", None, ["type", "code", "active"]),
        ("name", "", None, []),
    ],
    ids=["phone", "email", "address", "no_tax_id", "name"],
)
def test_only_what_differs_is_written(
    business: Business, case: str, part: str, kind: str | None, fields: list[str]
) -> None:
    for _, party in business.seeded[case]:
        before, after = business.before[party], business.after[party]
        line = line_of(after, part, kind) if part else ""
        expected = {(part, line, field) for field in (*fields, "write_date")} if part else {("name",)}
        assert changed(before, after) <= expected, "something else was written"
        assert {field for *_, field in changed(before, after)} >= set(fields or ["name"])


def test_customers_that_the_erp_lacks_are_created_there_once(business: Business) -> None:
    known = {company["id"] for found in business.seeded.values() for company, _ in found}
    lacking = [company for company in plain_customers(companies()) if company["id"] not in known]
    assert len(lacking) > 5
    for company in lacking:
        [party] = named(business.after, company["name"])
        assert party not in business.before
        assert says(business.after[party], company)
        [address] = business.after[party]["addresses"].values()
        assert address["country"] is not None


def test_nobody_is_created_who_is_no_active_customer_or_twice(business: Business) -> None:
    new = {party: row for party, row in business.after.items() if party not in business.before}
    assert business.first.targets["erp/parties"]["created"] == len(new)
    active = {tax_id(company) for company in companies() if company["lifecyclestage"] in ("customer", "evangelist")}
    created = [number for row in new.values() for number in tax_ids(row)]
    assert len(created) == len(set(created)) == len(new)
    assert set(created) <= active


def test_a_doubtful_party_waits_for_a_person_who_decides(business: Business) -> None:
    """Neither linked nor written to, and its likely customer is not created beside it, until somebody answers."""
    (one, same), (other, different) = business.seeded["doubtful"]
    for company, party in business.seeded["doubtful"]:
        assert named(business.after, company["name"]) == [party]
        assert business.after[party] == business.before[party]
        [review] = reviews(business, party)
        assert review["other"].endswith(f"companies\x1f{company['id']}")
    answered(business, same, "link")
    answered(business, different, "separate")
    business.sync()
    now = held(business.erp)
    assert named(now, one["name"]) == [same]
    assert says(now[same], one)
    [created] = [party for party in named(now, other["name"]) if party != different]
    assert now[different] == business.before[different]
    assert says(now[created], other)


@pytest.mark.parametrize("mode", ["incremental", "full"])
def test_another_sync_writes_nothing_anywhere(business: Business, mode: Mode) -> None:
    parties, crm_writes = held(business.erp), business.crm_writes()
    summary = business.sync(mode)
    assert (summary.target_writes, summary.golden_versions, summary.trouble) == (0, 0, [])
    assert held(business.erp) == parties
    assert business.crm_writes() == crm_writes


@pytest.mark.parametrize("origin", ["matched", "created"])
def test_an_edit_of_a_field_that_the_erp_does_not_own_is_found_and_put_back(business: Business, origin: str) -> None:
    company, party = business.seeded["same"][0]
    if origin == "created":
        known = {company["id"] for found in business.seeded.values() for company, _ in found}
        company = next(c for c in plain_customers(companies()) if c["id"] not in known)
        [party] = named(business.after, company["name"])
    before = held(business.erp)
    line = line_of(before[party], "contact_mechanisms", "phone")
    spelled = value(before[party], "phone")
    business.erp.rpc("model.party.contact_mechanism.write", [int(line)], {"value": "020 7946 0555"})
    crm_writes = business.crm_writes()
    summary = business.sync()
    after = held(business.erp)
    [finding] = business.rows(
        "select field, ours, theirs, action, state from ops.finding where kind = 'unauthorised_edit'"
        " and system = 'erp' and source_id = :party",
        party=str(party),
    )
    assert (finding["field"], finding["ours"], finding["theirs"]) == ("phone", spelled, "020 7946 0555")
    assert (finding["action"], finding["state"]) == ("restore", "corrected")
    assert phone({"phone": value(after[party], "phone")}) == phone(company)
    assert summary.target_writes == 1
    assert changed(before[party], after[party]) <= {
        ("contact_mechanisms", line, "value"),
        ("contact_mechanisms", line, "write_date"),
    }
    assert {i: row for i, row in after.items() if i != party} == {i: row for i, row in before.items() if i != party}
    assert business.crm_writes() == crm_writes


def test_an_edit_in_the_crm_reaches_its_party_and_nobody_else(business: Business) -> None:
    company, party = business.seeded["same"][1]
    before = held(business.erp)
    business.edit_company(company["id"], phone="020 7946 0777")
    summary = business.sync()
    after = held(business.erp)
    line = line_of(after[party], "contact_mechanisms", "phone")
    assert value(after[party], "phone") == "+442079460777"
    assert changed(before[party], after[party]) == {
        ("contact_mechanisms", line, "value"),
        ("contact_mechanisms", line, "write_date"),
    }
    assert {i: row for i, row in after.items() if i != party} == {i: row for i, row in before.items() if i != party}
    assert (summary.target_writes, summary.golden_versions) == (1, 1)


def test_an_edit_of_a_field_that_the_erp_owns_flows_to_the_crm(business: Business) -> None:
    company, party = business.seeded["same"][2]
    mechanism = {"party": party, "type": "website", "value": "https://shop.moved.example/start"}
    business.erp.rpc("model.party.contact_mechanism.create", [mechanism])
    parties, properties = held(business.erp), business.company(company["id"])
    summary = business.sync()
    now = business.company(company["id"])
    differing = {name for name in now if now[name] != properties[name]}
    assert now["domain"] == "shop.moved.example"
    assert differing == {"domain", "hs_lastmodifieddate"}
    assert held(business.erp) == parties
    assert summary.target_writes == 1


def test_nothing_is_created_in_an_erp_that_could_not_be_read(
    business: Business, database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun anew with an empty database, and without a look into the ERP before each create."""
    look = ",\n         find_by: {tax_identifier.full: tax_id}"
    world = opened(tmp_path / "landscape", business.crm, business.erp, database, without=look)
    parties = held(business.erp)

    def unreachable(*_: object) -> Iterator[Page]:
        raise Unreachable("no answer", where="erp")

    with closing(world):
        with monkeypatch.context() as patch:
            patch.setattr(world.connector("erp"), "read", unreachable)
            summary = synced(world)
        assert [(trouble.system, trouble.kind) for trouble in summary.trouble] == [("erp", "Unreachable")]
        assert held(business.erp) == parties
        assert synced(world).targets.get("erp/parties", {}).get("created", 0) == 0
        assert held(business.erp).keys() == parties.keys()
