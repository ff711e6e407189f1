"""When a planted fault is due, and what lying systems answer."""

from __future__ import annotations

import email.utils
import http.client
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from sandbox import asana, hubspot, runner, xero
from sandbox.faults import FaultPlan
from sandbox.runner import TENANT_ID, fill_store
from sandbox.seed import World, build_world
from sandbox.store import Store

COMPANIES = "/crm/v3/objects/companies"
INVOICES = "/api.xro/2.0/Invoices?page={page}"


# --------------------------------------------------------------------------------------------- when it is due


def hits(plan: FaultPlan, times: int) -> list[bool]:
    return [plan.take("GET", "/", "") is not None for _ in range(times)]


@pytest.mark.parametrize(
    ("schedule", "due"),
    [
        ({"from": 10}, [False, True, True, True, True, True]),
        ({"from": 10, "until": 30}, [False, True, True, False, False, False]),
        ({"every": 20, "for": 5}, [True, False, True, False, True, False]),
        ({"from": 10, "every": 20, "for": 5}, [False, True, False, True, False, True]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_schedule_counts_from_the_planting(schedule: dict[str, float], due: list[bool]) -> None:
    now = [1000.0]
    plan = FaultPlan(lambda: now[0])
    plan.plant({"kind": "status", **schedule})
    found = []
    for _ in due:
        found += hits(plan, 1)
        now[0] += 10
    assert found == due


def test_a_rate_hurts_its_share_and_the_same_requests_in_every_run() -> None:
    first, second = FaultPlan(), FaultPlan()
    for plan in (first, second):
        plan.plant({"kind": "status", "rate": 0.1, "seed": 3})
    found = hits(first, 2_000)
    assert 150 < sum(found) < 250
    assert found == hits(second, 2_000)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "status", "rate": 0}, "rate: expected"),
        ({"kind": "status", "rate": 1.5}, "rate: expected"),
        ({"kind": "status", "every": 10}, "for: expected"),
        ({"kind": "status", "every": 10, "for": 11}, "for: expected"),
        ({"kind": "retyped"}, "fields: expected"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_what_can_never_be_due_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FaultPlan().plant(wrong)


# --------------------------------------------------------------------------------------------- what is answered


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(seed=7, scale=0.05)


@pytest.fixture
def crm(world: World) -> TestClient:
    store = Store(":memory:")
    fill_store(store, world.crm)
    return TestClient(hubspot.create_app(store, "secret"), headers={"authorization": "Bearer secret"})


@pytest.fixture
def ledger(world: World) -> TestClient:
    store = Store(":memory:")
    fill_store(store, world.accounting)
    headers = {"authorization": "Bearer secret", "xero-tenant-id": TENANT_ID}
    return TestClient(xero.create_app(store, "secret", TENANT_ID), headers=headers)


@pytest.fixture
def work(world: World) -> TestClient:
    store = Store(":memory:")
    fill_store(store, world.asana)
    return TestClient(asana.create_app(store, "secret"), headers={"authorization": "Bearer secret"})


def plant(client: TestClient, **fault: Any) -> int:
    answer = client.post("/_sandbox/fault", json=fault)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def ids(answer: Any) -> list[str]:
    found = answer.json()
    [records] = [value for name, value in found.items() if isinstance(value, list)]
    return [str(one.get("id") or one.get("gid") or one.get("InvoiceID")) for one in records]


def test_an_empty_list_is_a_valid_last_page(crm: TestClient, ledger: TestClient, work: TestClient) -> None:
    for client in (crm, ledger, work):
        plant(client, kind="empty_list", count=-1)
    assert crm.get(COMPANIES).json() == {"results": []}
    assert crm.post(f"{COMPANIES}/search", json={}).json() == {"total": 0, "results": []}
    told = ledger.get(INVOICES.format(page=1)).json()
    assert (told["Invoices"], told["pagination"]["itemCount"], told["Status"]) == ([], 0, "OK")
    assert work.get("/api/1.0/users").json() == {"data": []}


def test_a_closed_cut_has_half_of_the_records_and_no_way_on(crm: TestClient, ledger: TestClient) -> None:
    whole, pages = crm.get(COMPANIES, params={"limit": 40}), ledger.get(INVOICES.format(page=1)).json()
    assert whole.json()["paging"]
    for client in (crm, ledger):
        plant(client, kind="cut_closed")
    cut = crm.get(COMPANIES, params={"limit": 40})
    assert ids(cut) == ids(whole)[:20]
    assert "paging" not in cut.json()
    told = ledger.get(INVOICES.format(page=1)).json()
    assert len(told["Invoices"]) == len(pages["Invoices"]) // 2
    assert told["pagination"] == pages["pagination"]


def test_a_duplicate_page_has_the_records_of_the_page_before_and_its_own_way_on(crm: TestClient) -> None:
    first = crm.get(COMPANIES, params={"limit": 20})
    after = first.json()["paging"]["next"]["after"]
    plant(crm, kind="duplicate_page")
    second = crm.get(COMPANIES, params={"limit": 20, "after": after})
    assert ids(second) == ids(first)
    assert second.json()["paging"]["next"]["after"] != after
    assert not set(ids(crm.get(COMPANIES, params={"limit": 20, "after": after}))) & set(ids(first))


def test_an_endless_page_leads_back_to_itself(crm: TestClient, ledger: TestClient) -> None:
    for client in (crm, ledger):
        plant(client, kind="endless_page")
    after, seen = "", []
    for _ in range(3):
        page = crm.get(COMPANIES, params={"limit": 20, **({"after": after} if after else {})})
        after = page.json()["paging"]["next"]["after"]
        seen.append((after, tuple(ids(page))))
    assert len(set(seen)) == 1
    pages = [ids(ledger.get(INVOICES.format(page=number))) for number in (1, 2, 900)]
    assert pages[0] == pages[1] == pages[2]


def test_a_wrong_id_in_the_answer_of_a_create(crm: TestClient, ledger: TestClient, work: TestClient) -> None:
    for client in (crm, ledger, work):
        plant(client, kind="wrong_id", method="POST")
    told = crm.post(COMPANIES, json={"properties": {"name": "A"}}).json()
    assert crm.get(f"{COMPANIES}/{told['id']}").status_code == 404
    told = ledger.post("/api.xro/2.0/Contacts", json={"Name": "Somebody new"}).json()
    assert ledger.get(f"/api.xro/2.0/Contacts/{told['Contacts'][0]['ContactID']}").status_code == 404
    workspace = work.get("/api/1.0/workspaces").json()["data"][0]["gid"]
    team = work.get(f"/api/1.0/workspaces/{workspace}/teams").json()["data"][0]["gid"]
    told = work.post("/api/1.0/projects", json={"data": {"name": "P", "workspace": workspace, "team": team}}).json()
    assert work.get(f"/api/1.0/projects/{told['data']['gid']}").status_code == 404


def test_a_create_may_answer_with_another_record_s_id_or_nothing(crm: TestClient) -> None:
    other = ids(crm.get(COMPANIES))[0]
    plant(crm, kind="wrong_id", method="POST", id=other)
    assert crm.post(COMPANIES, json={"properties": {"name": "A"}}).json()["id"] == other
    plant(crm, kind="empty_after", method="POST")
    answer = crm.post(COMPANIES, json={"properties": {"name": "B"}})
    assert (answer.status_code, answer.content) == (201, b"")


def test_a_stale_read_shows_things_as_they_stood(crm: TestClient) -> None:
    record = ids(crm.get(COMPANIES))[0]
    fault = plant(crm, kind="stale_read")
    made = crm.post(COMPANIES, json={"properties": {"name": "Unseen"}}).json()["id"]
    crm.patch(f"{COMPANIES}/{record}", json={"properties": {"phone": "+441134960009"}})
    phone = {"properties": "phone"}
    assert crm.get(f"{COMPANIES}/{made}").status_code == 404
    assert crm.get(f"{COMPANIES}/{record}", params=phone).json()["properties"]["phone"] != "+441134960009"
    crm.delete("/_sandbox/faults", params={"id": fault})
    assert crm.get(f"{COMPANIES}/{made}").status_code == 200
    assert crm.get(f"{COMPANIES}/{record}", params=phone).json()["properties"]["phone"] == "+441134960009"


@pytest.mark.parametrize(
    ("how", "is_so"),
    [
        ("number", lambda found: isinstance(found["name"], float)),
        ("object", lambda found: isinstance(found["name"], dict)),
        ("list", lambda found: isinstance(found["name"], list)),
        ("null", lambda found: found["name"] is None),
        ("gone", lambda found: "name" not in found),
        ("name:title", lambda found: "name" not in found and found["title"]),
        ({"value": "gone"}, lambda found: found["name"] == "gone"),
        (17, lambda found: found["name"] == 17),
    ],
    ids=lambda value: "" if callable(value) else str(value),
)
def test_fields_come_in_other_types(crm: TestClient, how: Any, is_so: Any) -> None:
    plant(crm, kind="retyped", fields={"properties.name": how})
    results = crm.get(COMPANIES, params={"properties": "name"}).json()["results"]
    assert all(is_so(one["properties"]) for one in results)


def test_a_search_finds_nothing_of_what_was_just_created(crm: TestClient) -> None:
    plant(crm, kind="search_lag", seconds=0.2)
    crm.post(COMPANIES, json={"properties": {"name": "Lately", "concord_id": "g-late"}})
    wanted = {"filterGroups": [{"filters": [{"propertyName": "name", "operator": "EQ", "value": "Lately"}]}]}
    assert crm.post(f"{COMPANIES}/search", json=wanted).json()["total"] == 0
    assert crm.get(f"{COMPANIES}/g-late", params={"idProperty": "concord_id"}).status_code == 200, "no search"
    time.sleep(0.25)
    assert crm.post(f"{COMPANIES}/search", json=wanted).json()["total"] == 1


def test_a_clock_that_is_off_shows_in_the_date_header_and_in_change_marks(crm: TestClient) -> None:
    def date(answer: Any) -> float:
        return email.utils.parsedate_to_datetime(answer.headers["date"]).timestamp()

    fault = plant(crm, kind="clock", seconds=3_600)
    made = crm.post(COMPANIES, json={"properties": {"name": "Later"}})
    assert abs(date(made) - time.time() - 3_600) < 60
    assert made.json()["createdAt"] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 3_000))
    crm.delete("/_sandbox/faults", params={"id": fault})
    again = crm.post(COMPANIES, json={"properties": {"name": "Now"}})
    assert abs(date(again) - time.time()) < 60
    assert again.json()["createdAt"] < made.json()["createdAt"]


# --------------------------------------------------------------------------------------------- on the wire


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[runner.Running]:
    with runner.start(tmp_path_factory.mktemp("sandbox"), scale=0.03) as running:
        yield running


def get(served: runner.Running, path: str, **fault: Any) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(urlsplit(served.crm_url).netloc, timeout=10)
    connection.request("POST", "/_sandbox/fault", json.dumps(fault))
    assert connection.getresponse().read()
    connection.request("GET", path, headers={"authorization": f"Bearer {served.tokens['crm']}"})
    answer = connection.getresponse()
    try:
        return answer, answer.read()
    finally:
        connection.close()


def test_a_closed_cut_has_no_length_and_ends_with_the_connection(served: runner.Running) -> None:
    answer, body = get(served, f"{COMPANIES}?limit=10", kind="cut_closed")
    assert answer.getheader("content-length") is None
    assert answer.getheader("transfer-encoding") is None
    assert len(json.loads(body)["results"]) == 5


@pytest.mark.parametrize("at", [0, 37])
def test_a_body_is_cut_at_the_byte_that_was_asked_for(served: runner.Running, at: int) -> None:
    with pytest.raises(http.client.IncompleteRead) as cut:
        get(served, COMPANIES, kind="truncated", at=at)
    assert len(cut.value.partial) == at


def test_one_date_header(served: runner.Running) -> None:
    answer, _ = get(served, COMPANIES, kind="delay", seconds=0)
    assert len(answer.headers.get_all("date") or []) == 1
