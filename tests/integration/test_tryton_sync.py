"""The main job against a real ERP: customers of the CRM and parties of a Tryton server come to agree.

Everything is judged from outside: by what Tryton's own client protocol and the CRM's store show, never by what
Concord says it did. The systems are brought into agreement once for all tests; each leaves them agreeing.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import phonenumbers
import pytest
import sqlalchemy as sa

from staging.engine import transaction

if TYPE_CHECKING:
    from sandbox.runner import Running
    from tasks.sync import Mode, Summary
    from tasks.world import World
    from tests.fixtures.database import TestDatabase
    from tests.fixtures.tryton import TrytonServer

pytestmark = pytest.mark.real

LANDSCAPE = Path(__file__).resolve().parent.parent / "fixtures" / "landscapes" / "crm_erp"
SCALE = 0.05
"""About 77 companies in the CRM."""
COUNTRY = {"United Kingdom": "GB", "France": "FR", "Germany": "DE", "Netherlands": "NL"}
SUPPLIERS = [
    f"{name} Supplies" for name in ("Anvil", "Beacon", "Cobalt", "Dunlin", "Ember", "Fathom", "Gannet", "Heron")
]
"""Parties of the ERP that the CRM knows nothing of."""
CASES = {
    "same": 5,  # the ERP says the same in its own spelling
    "phone": 3,
    "address": 3,
    "email": 2,
    "name": 2,
    "no_tax_id": 2,  # the same e-mail address, but no tax number
    "doubtful": 2,  # the same name and postcode, and nothing that identifies
}
"""What parties of the ERP differ in from the company they are, and how many do."""
PARTS = {
    "party": ("name", "active", "write_date"),
    "addresses": ("street", "postal_code", "city", "country", "active", "write_date"),
    "contact_mechanisms": ("type", "value", "active", "write_date"),
    "identifiers": ("type", "code", "active", "write_date"),
}
_MODELS = {
    "addresses": "party.address",
    "contact_mechanisms": "party.contact_mechanism",
    "identifiers": "party.identifier",
}
Row = dict[str, Any]
Company = dict[str, Any]
Held = dict[int, Row]
"""Party id → the party as Tryton holds it: its own fields, and its lines as {id: fields}."""


@dataclass
class Business:
    """The CRM, the ERP and Concord between them, after the first sync."""

    crm: Running
    erp: TrytonServer
    world: World
    seeded: dict[str, list[tuple[Company, int]]]
    """Case → (company of the CRM, id of its party in the ERP)."""
    suppliers: list[int]
    before: Held
    after: Held
    first: Summary

    def sync(self, mode: Mode = "incremental") -> Summary:
        return synced(self.world, mode)

    def company(self, company_id: str) -> Row:
        """A company's properties as the CRM holds them."""
        with sqlite3.connect(f"file:{self.crm.state_dir}/crm.sqlite?mode=ro", uri=True) as store:
            [row] = store.execute("select doc from record where stream = 'companies' and id = ?", [company_id])
        properties: Row = json.loads(row[0])["properties"]
        return properties

    def edit_company(self, company_id: str, **fields: str) -> None:
        """A person's edit in the CRM's own screen."""
        body = json.dumps({"stream": "companies", "id": company_id, "fields": fields}).encode()
        request = urllib.request.Request(
            f"{self.crm.crm_url}/_sandbox/edit", body, {"content-type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=10):
            pass

    def crm_writes(self) -> int:
        """How many writing requests the CRM has had."""
        with urllib.request.urlopen(f"{self.crm.crm_url}/_sandbox/requests?writes=1", timeout=10) as answer:
            return len(json.loads(answer.read())["requests"])

    def rows(self, query: str, **values: Any) -> list[Row]:
        """Rows of Concord's database."""
        with transaction(self.world.engine) as conn:
            return [dict(row) for row in conn.execute(sa.text(query), values).mappings()]


# ---------------------------------------------------------------------------------------------------- both systems


def companies() -> list[Company]:
    """The companies that the sandbox seeds."""
    from sandbox.seed import build_world

    return [
        {"id": doc["id"], **doc["properties"], "archived": doc["archived"]}
        for doc in build_world(7, SCALE).crm["companies"]
    ]


def tax_id(company: Company) -> str:
    return re.sub(r"\W", "", company["vat_number"] or "").upper()


def phone(company: Company) -> str | None:
    """The company's number in E.164; None where what stands there is none."""
    try:
        number = phonenumbers.parse(company["phone"], "GB")
    except phonenumbers.NumberParseException:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def street(company: Company) -> str:
    return "\n".join(line for line in (company["address"], company["address2"]) if line)


def plain_customers(found: list[Company]) -> list[Company]:
    """Active customers about whom the CRM says nothing odd, and says it once."""
    tax_ids = [tax_id(company) for company in found]
    names = [company["name"] for company in found]
    return [
        company
        for company in found
        if not company["archived"]
        and company["lifecyclestage"] == "customer"
        and "@" in (company["email"] or "")
        and not re.match(r"(accounts|info|office|sales)@", company["email"])
        and phone(company)
        and company["country"] in COUNTRY
        and tax_ids.count(tax_id(company)) == 1
        and names.count(company["name"]) == 1
    ]


def cast(found: list[Company]) -> dict[str, list[Company]]:
    """Which companies play which case."""
    pool = iter(plain_customers(found))
    return {case: [next(pool) for _ in range(count)] for case, count in CASES.items()}


def party_values(company: Company, countries: dict[str, int]) -> Row:
    """A party that says what the company says, in the ERP's own spelling."""
    number = tax_id(company)
    is_national = number.startswith("GB")
    identifier = {"type": "gb_vat" if is_national else "eu_vat", "code": number[2:] if is_national else number}
    address = {
        "street": street(company),
        "postal_code": company["zip"],
        "city": company["city"],
        "country": countries[COUNTRY[company["country"]]],
    }
    mechanisms = [{"type": "email", "value": company["email"]}, {"type": "phone", "value": company["phone"]}]
    return {
        "name": company["name"],
        "addresses": [["create", [address]]],
        "contact_mechanisms": [["create", mechanisms]],
        "identifiers": [["create", [identifier]]],
    }


def varied(case: str, values: Row) -> Row:
    """The party with what its case differs in."""
    [[_, [address]]], [[_, mechanisms]] = values["addresses"], values["contact_mechanisms"]
    if case == "phone":
        mechanisms[1]["value"] = "020 7946 0999"
    elif case == "address":
        address |= {"street": "1 Former Street", "city": "Oldtown"}
    elif case == "email":
        mechanisms[0]["value"] = "former@old-address.example"
    elif case == "name":
        values["name"] = re.sub(r"\b(Ltd|Limited|GmbH|SARL|B\.V\.)$", "(Holdings) \\1", values["name"])
    elif case == "no_tax_id":
        del values["identifiers"]
    elif case == "doubtful":
        del values["identifiers"], values["contact_mechanisms"]
    return values


def fill_erp(
    erp: TrytonServer, parts: dict[str, list[Company]]
) -> tuple[dict[str, list[tuple[Company, int]]], list[int]]:
    """Enters the parties, as people at the ERP would have; gives their ids by case, and the suppliers'."""
    erp.rpc("model.country.country.create", [{"name": "Netherlands", "code": "NL"}])
    rows = erp.rpc("model.country.country.search_read", [], 0, None, None, ["code"])
    countries = {row["code"]: row["id"] for row in rows}
    pairs = [(case, company) for case, found in parts.items() for company in found]
    values = [varied(case, party_values(company, countries)) for case, company in pairs]
    ids = erp.rpc("model.party.party.create", values)
    seeded: dict[str, list[tuple[Company, int]]] = {}
    for (case, company), party in zip(pairs, ids, strict=True):
        seeded.setdefault(case, []).append((company, party))
    return seeded, erp.rpc("model.party.party.create", [{"name": name} for name in SUPPLIERS])


def held(erp: TrytonServer) -> Held:
    """Every party with its lines, archived ones too, and the moments they were last written."""
    everything = {"active_test": False}
    ids = erp.rpc("model.party.party.search", [], 0, None, None, context=everything)
    parties = erp.rpc("model.party.party.read", ids, ["id", *PARTS["party"], *_MODELS], context=everything)
    lines = {
        name: {
            row.pop("id"): row
            for row in erp.rpc(
                f"model.{model}.read",
                sorted(i for party in parties for i in party[name]),
                ["id", *PARTS[name]],
                context=everything,
            )
        }
        for name, model in _MODELS.items()
    }
    return {
        party.pop("id"): {**party, **{name: {i: lines[name][i] for i in party[name]} for name in _MODELS}}
        for party in parties
    }


def value(party: Row, kind: str) -> str | None:
    """A party's first live contact mechanism of a kind."""
    rows = [row for row in party["contact_mechanisms"].values() if row["active"] and row["type"] == kind]
    return rows[0]["value"] if rows else None


def tax_ids(party: Row) -> list[str]:
    """A party's tax numbers with their country's prefix."""
    rows = [row for row in party["identifiers"].values() if row["active"]]
    return [
        ("GB" if row["type"] == "gb_vat" else "") + re.sub(r"\W", "", row["code"]).removeprefix("GB") for row in rows
    ]


# ------------------------------------------------------------------------------------------------------- the business


def synced(world: World, mode: Mode = "incremental") -> Summary:
    """One sync of every integration, in this process."""
    from tasks import sync as syncs

    sync_id = syncs.begin(world, "all", mode, started_by="a test")
    return syncs.sync(world, "all", syncs.PlainSteps(world, sync_id), sync_id=sync_id, mode=mode)


def opened(folder: Path, crm: Running, erp: TrytonServer, database: TestDatabase) -> World:
    """The landscape with these systems' addresses, its model applied."""
    from staging.engine import engine
    from staging.model_changes import apply, plan_changes
    from tasks.world import World

    shutil.copytree(LANDSCAPE, folder)
    file = folder / "landscape.yaml"
    text = file.read_text(encoding="utf-8")
    text = text.replace("http://127.0.0.1:9401", crm.crm_url).replace(
        "http://127.0.0.1:8091", erp.url.removesuffix("/erp/")
    )
    file.write_text(text, encoding="utf-8")
    world = World.of(folder)
    with transaction(engine("owner")) as conn:
        apply(conn, plan_changes(conn, world.landscape.model), database.app_url.username)
    return world


@pytest.fixture(scope="module")
def business(module_database: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Business]:
    """Both systems filled and brought into agreement once. The ERP is a server of its own: every party in it counts."""
    from sandbox import runner
    from tests.fixtures.tryton import running_tryton

    folder = tmp_path_factory.mktemp("crm_erp")
    (folder / "tryton").mkdir()
    with (
        running_tryton(folder / "tryton") as erp,
        runner.start(folder / "crm", scale=SCALE) as crm,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("CRM_TOKEN", crm.tokens["crm"])
        patch.setenv("ERP_KEY", erp.key)
        seeded, suppliers = fill_erp(erp, cast(companies()))
        before = held(erp)
        world = opened(folder / "landscape", crm, erp, module_database)
        try:
            first = synced(world)
            yield Business(crm, erp, world, seeded, suppliers, before, held(erp), first)
        finally:
            world.close()


# ------------------------------------------------------------------------------------------------------ what is shown


def changed(before: Row, after: Row) -> set[tuple[str, ...]]:
    """What of a party was written: its own fields, and (list, line's id, field). The party's own change mark tells
    nothing: Tryton moves it with any of its lines."""
    found: set[tuple[str, ...]] = {
        (name,) for name in PARTS["party"] if name != "write_date" and before[name] != after[name]
    }
    for part in _MODELS:
        for line in before[part].keys() | after[part].keys():
            was, now = before[part].get(line, {}), after[part].get(line, {})
            found |= {(part, str(line), name) for name in was.keys() | now.keys() if was.get(name) != now.get(name)}
    return found


def line_of(party: Row, part: str, kind: str | None = None) -> str:
    """The id of a party's one live line, of the kind where there are several."""
    [found] = [i for i, row in party[part].items() if row["active"] and kind in (None, row.get("type"))]
    return str(found)


def named(parties: Held, name: str) -> list[int]:
    return [party for party, row in parties.items() if row["name"] == name]


def says(party: Row, company: Company) -> bool:
    """Whether a party says all that the company says, in whatever spelling."""
    [address] = party["addresses"].values()
    spelled = value(party, "phone") or ""
    return (
        party["name"] == company["name"]
        and tax_ids(party) == [tax_id(company)]
        and value(party, "email") == company["email"]
        and phone({"phone": spelled}) == phone(company)
        and (address["street"], address["postal_code"], address["city"])
        == (street(company), company["zip"], company["city"])
    )


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
