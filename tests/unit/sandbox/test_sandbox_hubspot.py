"""The HubSpot-shaped CRM: what a connector relies on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from sandbox.hubspot import create_app
from sandbox.runner import fill_store
from sandbox.seed import World, build_world
from sandbox.store import Store

OBJECTS = "/crm/v3/objects"
COMPANIES = f"{OBJECTS}/companies"
CONTACTS = f"{OBJECTS}/contacts"


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(seed=7, scale=0.1)


@pytest.fixture
def store(world: World) -> Iterator[Store]:
    store = Store(":memory:")
    fill_store(store, world.crm)
    yield store
    store.close()


@pytest.fixture
def crm(store: Store) -> TestClient:
    return TestClient(create_app(store, "secret"), headers={"authorization": "Bearer secret"})


def everything(crm: TestClient, path: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        answer = crm.get(path, params={"limit": 100, **query, **({"after": after} if after else {})}).json()
        found += answer["results"]
        after = answer.get("paging", {}).get("next", {}).get("after")
        if after is None:
            return found


def test_a_wrong_token_gets_hubspots_body(crm: TestClient) -> None:
    answer = crm.get(COMPANIES, headers={"authorization": "Bearer wrong"})
    assert answer.status_code == 401
    assert answer.json()["category"] == "INVALID_AUTHENTICATION"
    assert {"status", "message", "correlationId"} <= answer.json().keys()


def test_pages_show_each_live_record_once(crm: TestClient, world: World) -> None:
    found = everything(crm, COMPANIES)
    ids = [one["id"] for one in found]
    live = {doc["id"] for doc in world.crm["companies"] if not doc["archived"] and "merged_into" not in doc}
    assert len(ids) == len(set(ids))
    assert set(ids) == live
    assert not any(one["archived"] for one in found)


def test_the_bin_is_listed_apart(crm: TestClient, world: World) -> None:
    found = everything(crm, COMPANIES, archived="true")
    deleted = {one["id"] for one in world.truth["deleted"] if one["stream"] == "companies"}
    assert {one["id"] for one in found} == deleted
    assert all(one["archived"] and one["archivedAt"] for one in found)


def test_only_wanted_properties_and_associations_are_shown(crm: TestClient) -> None:
    found = crm.get(CONTACTS, params={"limit": 5, "properties": "email,phone", "associations": "companies"}).json()
    first, last = found["results"][0], found["results"][-1]
    assert {"email", "phone", "createdate", "lastmodifieddate", "hs_object_id"} == last["properties"].keys()
    assert first["associations"]["companies"]["results"][0]["type"] == "contact_to_company"


@pytest.mark.parametrize("limit", ["101", "0", "x"])
def test_a_page_has_a_hundred_records_at_most(crm: TestClient, limit: str) -> None:
    answer = crm.get(COMPANIES, params={"limit": limit})
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_a_record_is_created_changed_and_archived(crm: TestClient) -> None:
    made = crm.post(COMPANIES, json={"properties": {"name": "New Ltd", "domain": "NEW.example ", "concord_id": "g1"}})
    assert made.status_code == 201
    assert made.json()["properties"]["domain"] == "new.example"
    path = f"{COMPANIES}/{made.json()['id']}"
    changed = crm.patch(path, json={"properties": {"name": "Newer Ltd"}}).json()
    assert changed["updatedAt"] > made.json()["updatedAt"]
    assert changed["properties"]["hs_lastmodifieddate"] == changed["updatedAt"]
    again = crm.patch(path, json={"properties": {"name": "Newer Ltd"}}).json()
    assert again["updatedAt"] == changed["updatedAt"]
    by_key = crm.get(f"{COMPANIES}/g1", params={"idProperty": "concord_id", "properties": "name"}).json()
    assert by_key["properties"]["name"] == "Newer Ltd"
    assert crm.delete(path).status_code == 204
    assert crm.get(path).status_code == 404
    assert crm.get(path, params={"archived": "true"}).json()["archived"] is True


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"nmae": "x"}, "PROPERTY_DOESNT_EXIST"),
        ({"email": "no mail"}, "INVALID_EMAIL"),
        ({"hs_lead_status": "MAYBE"}, "INVALID_OPTION"),
        ({"customer_since": "30/02/2024"}, "INVALID_DATE"),
        ({"balance_due": "1,00"}, "INVALID_DOUBLE"),
        ({"hs_lastmodifieddate": "2024-01-01"}, "READ_ONLY_VALUE"),
    ],
    ids=["unknown property", "bad mail", "unknown option", "bad date", "bad number", "server's property"],
)
def test_bad_values_are_refused_by_property(crm: TestClient, properties: dict[str, str], code: str) -> None:
    answer = crm.post(COMPANIES, json={"properties": properties})
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")
    assert answer.json()["errors"][0]["code"] == code


def test_two_contacts_never_share_a_mail_address(crm: TestClient) -> None:
    first = crm.post(CONTACTS, json={"properties": {"email": "one@only.example"}}).json()
    answer = crm.post(CONTACTS, json={"properties": {"email": "ONE@only.example"}})
    assert (answer.status_code, answer.json()["category"]) == (409, "CONFLICT")
    assert first["id"] in answer.json()["message"]


def test_search_finds_what_changed_since(crm: TestClient) -> None:
    before = everything(crm, COMPANIES)
    edited = before[3]["id"]
    changed = crm.patch(f"{COMPANIES}/{edited}", json={"properties": {"phone": "+441134960000"}}).json()
    filters = [{"propertyName": "hs_lastmodifieddate", "operator": "GTE", "value": changed["updatedAt"]}]
    asked = {"filterGroups": [{"filters": filters}], "sorts": [{"propertyName": "hs_lastmodifieddate"}], "limit": 200}
    found = crm.post(f"{COMPANIES}/search", json=asked).json()
    assert [one["id"] for one in found["results"]] == [edited]
    assert found["total"] == 1


def test_search_pages_in_the_order_asked_for(crm: TestClient) -> None:
    asked: dict[str, Any] = {"filterGroups": [], "sorts": ["lastmodifieddate"], "limit": 90, "properties": ["email"]}
    found: list[dict[str, Any]] = []
    while True:
        answer = crm.post(f"{CONTACTS}/search", json=asked).json()
        found += answer["results"]
        if "paging" not in answer:
            break
        asked["after"] = answer["paging"]["next"]["after"]
    marks = [one["properties"]["lastmodifieddate"] for one in found]
    assert marks == sorted(marks)
    assert len({one["id"] for one in found}) == len(found) == answer["total"]


@pytest.mark.parametrize(
    "asked", [{"limit": 201}, {"limit": 100, "after": "9901"}], ids=["page above 200", "beyond 10,000 results"]
)
def test_search_has_the_vendors_limits(crm: TestClient, asked: dict[str, Any]) -> None:
    assert crm.post(f"{COMPANIES}/search", json={"filterGroups": [], **asked}).status_code == 400


def test_each_input_of_a_batch_has_its_own_outcome(crm: TestClient) -> None:
    inputs = [
        {"properties": {"name": "A"}, "objectWriteTraceId": "t1"},
        {"properties": {"name": "B", "email": "bad"}, "objectWriteTraceId": "t2"},
    ]
    answer = crm.post(f"{COMPANIES}/batch/create", json={"inputs": inputs})
    assert answer.status_code == 207
    body = answer.json()
    assert [one["objectWriteTraceId"] for one in body["results"]] == ["t1"]
    assert body["numErrors"] == 1
    assert body["errors"][0]["objectWriteTraceId"] == "t2"
    assert body["errors"][0]["context"]["index"] == ["1"]


def test_upsert_creates_once_and_updates_after(crm: TestClient) -> None:
    asked = {"inputs": [{"idProperty": "concord_id", "id": "g7", "properties": {"name": "Seven"}}]}
    first = crm.post(f"{COMPANIES}/batch/upsert", json=asked).json()["results"][0]
    second = crm.post(f"{COMPANIES}/batch/upsert", json=asked).json()["results"][0]
    assert (first["new"], second["new"]) == (True, False)
    assert first["id"] == second["id"]
    assert first["updatedAt"] == second["updatedAt"]


def test_batches_read_update_and_archive(crm: TestClient) -> None:
    ids = [one["id"] for one in everything(crm, COMPANIES)[:3]]
    update = {"inputs": [{"id": one, "properties": {"city": "Leeds"}} for one in ids]}
    assert crm.post(f"{COMPANIES}/batch/update", json=update).status_code == 200
    read = {"inputs": [{"id": one} for one in ids], "properties": ["city"]}
    cities = [one["properties"]["city"] for one in crm.post(f"{COMPANIES}/batch/read", json=read).json()["results"]]
    assert cities == ["Leeds"] * 3
    assert crm.post(f"{COMPANIES}/batch/archive", json={"inputs": [{"id": ids[0]}]}).status_code == 204
    answer = crm.post(f"{COMPANIES}/batch/read", json=read)
    assert (answer.status_code, len(answer.json()["results"])) == (207, 2)
    assert crm.post(f"{COMPANIES}/batch/read", json={"inputs": [{"id": "1"}] * 101}).status_code == 400


def test_the_loser_of_a_merge_answers_with_the_survivor(crm: TestClient, world: World) -> None:
    seeded = next(one for one in world.truth["merged"] if one["stream"] == "companies")
    assert crm.get(f"{COMPANIES}/{seeded['loser']}").json()["id"] == seeded["id"]
    survivor, loser = (one["id"] for one in everything(crm, COMPANIES)[:2])
    asked = {"primaryObjectId": survivor, "objectIdToMerge": loser}
    merged = crm.post(f"{COMPANIES}/merge", json=asked).json()
    assert loser in merged["properties"]["hs_merged_object_ids"].split(";")
    assert crm.get(f"{COMPANIES}/{loser}").json()["id"] == survivor
    assert loser not in {one["id"] for one in everything(crm, COMPANIES)}


def test_a_contact_is_attached_to_a_company(crm: TestClient) -> None:
    contact = crm.post(CONTACTS, json={"properties": {"firstname": "A", "email": "a@b.example"}}).json()["id"]
    company = everything(crm, COMPANIES)[0]["id"]
    path = f"/crm/v4/objects/contacts/{contact}/associations/default/companies/{company}"
    assert crm.put(path).status_code == 200
    found = crm.get(f"{CONTACTS}/{contact}", params={"associations": "companies"}).json()
    assert found["associations"]["companies"]["results"][0]["id"] == company


def test_the_rolling_limit_answers_429(store: Store) -> None:
    crm = TestClient(create_app(store, "secret", limit=3), headers={"authorization": "Bearer secret"})
    answers = [crm.get(COMPANIES) for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429]
    assert answers[3].json()["policyName"] == "TEN_SECONDLY_ROLLING"


def test_a_ticket_belongs_to_a_company_and_follows_it_into_a_merge(crm: TestClient, world: World) -> None:
    tickets = f"{OBJECTS}/tickets"
    live = [doc["id"] for doc in world.crm["companies"] if not doc["archived"] and "merged_into" not in doc]
    asked = {"subject": "Late", "hs_ticket_category": "BILLING_ISSUE", "hs_pipeline_stage": "1"}
    about = [{"to": {"id": live[0]}, "types": []}]
    made = crm.post(tickets, json={"properties": asked, "associations": about}).json()
    shown = crm.get(f"{tickets}/{made['id']}", params={"associations": "companies"}).json()
    assert shown["associations"]["companies"]["results"] == [{"id": live[0], "type": "ticket_to_company"}]
    crm.post(f"{COMPANIES}/merge", json={"primaryObjectId": live[1], "objectIdToMerge": live[0]})
    shown = crm.get(f"{tickets}/{made['id']}", params={"associations": "companies"}).json()
    assert [one["id"] for one in shown["associations"]["companies"]["results"]] == [live[1]]


def test_a_ticket_s_stage_and_category_are_checked(crm: TestClient) -> None:
    for name, value in (("hs_pipeline_stage", "9"), ("hs_ticket_category", "RANT"), ("closed_date", "2025-01-01")):
        answer = crm.post(f"{OBJECTS}/tickets", json={"properties": {"subject": "x", name: value}})
        assert answer.status_code == 400, name
