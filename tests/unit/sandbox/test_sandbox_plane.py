"""What surrounds every system: the log that tests judge from, edits as a person makes them, faults on demand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from sandbox.hubspot import create_app
from sandbox.runner import fill_store
from sandbox.seed import build_world
from sandbox.store import Store

COMPANIES = "/crm/v3/objects/companies"


def client_of(store: Store) -> TestClient:
    return TestClient(create_app(store, "secret"), headers={"authorization": "Bearer secret"})


@pytest.fixture
def store() -> Store:
    store = Store(":memory:")
    fill_store(store, build_world(seed=7, scale=0.03).crm)
    return store


@pytest.fixture
def crm(store: Store) -> TestClient:
    return client_of(store)


def plant(crm: TestClient, **fault: Any) -> None:
    assert crm.post("/_sandbox/fault", json=fault).status_code == 201


def test_requests_are_logged_with_their_answers(crm: TestClient) -> None:
    crm.get(COMPANIES)
    crm.post(COMPANIES, json={"properties": {"name": "A"}})
    crm.post(f"{COMPANIES}/search", json={"filterGroups": []})
    found = crm.get("/_sandbox/requests").json()["requests"]
    assert [(one["method"], one["status"]) for one in found] == [("GET", 200), ("POST", 201), ("POST", 200)]
    writes = crm.get("/_sandbox/requests", params={"writes": 1, "since": found[0]["id"]}).json()["requests"]
    assert [one["body"] for one in writes] == ['{"properties":{"name":"A"}}']
    state = crm.get("/_sandbox/state").json()
    assert state["requests"] == {"total": 3, "writes": 1, "last_id": 3}
    assert state["records"]["companies"] == len(_live(crm))


def _live(crm: TestClient) -> list[Any]:
    return list(crm.post(f"{COMPANIES}/search", json={"filterGroups": [], "limit": 200}).json()["results"])


def test_a_person_s_edit_is_no_request_and_moves_the_mark(crm: TestClient) -> None:
    before = _live(crm)[0]
    edit = {"stream": "companies", "id": before["id"], "fields": {"phone": "+441134960001"}}
    assert crm.post("/_sandbox/edit", json=edit).status_code == 200
    after = crm.get(f"{COMPANIES}/{before['id']}", params={"properties": "phone"}).json()
    assert after["properties"]["phone"] == "+441134960001"
    assert after["updatedAt"] > before["updatedAt"]
    assert crm.get("/_sandbox/requests", params={"writes": 1}).json()["requests"] == []


@pytest.mark.parametrize(
    ("edit", "status"),
    [
        ({"stream": "companies", "id": "1", "fields": {}}, 404),
        ({"stream": "companies", "fields": {}}, 404),
        ({"stream": "companies", "id": "ID", "fields": {"email": "bad"}}, 400),
    ],
    ids=["unknown record", "no id", "refused value"],
)
def test_wrong_edits_are_refused(crm: TestClient, edit: dict[str, Any], status: int) -> None:
    if edit.get("id") == "ID":
        edit = {**edit, "id": _live(crm)[0]["id"]}
    assert crm.post("/_sandbox/edit", json=edit).status_code == status


def test_a_fault_hurts_the_matching_requests_and_then_is_over(crm: TestClient) -> None:
    plant(crm, kind="status", status=502, count=2, skip=1, match={"method": "GET", "path": "/companies"})
    assert [crm.get(COMPANIES).status_code for _ in range(4)] == [200, 502, 502, 200]
    assert crm.get("/_sandbox/faults").json()["faults"][0]["hits"] == 2
    assert [one["fault"] for one in crm.get("/_sandbox/requests").json()["requests"]] == ["", "status", "status", ""]


@pytest.mark.parametrize(
    ("kind", "stored"), [("reset_before", 0), ("reset_after", 1), ("status_after", 1), ("status", 0)]
)
def test_a_create_that_fails_may_have_happened(crm: TestClient, store: Store, kind: str, stored: int) -> None:
    count = len(store.stream("companies"))
    plant(crm, kind=kind, status=500, method="POST")
    if kind.startswith("reset"):
        with pytest.raises(ConnectionResetError):
            crm.post(COMPANIES, json={"properties": {"name": "Ambiguous"}})
    else:
        assert crm.post(COMPANIES, json={"properties": {"name": "Ambiguous"}}).status_code == 500
    assert len(store.stream("companies")) == count + stored


@pytest.mark.parametrize(("kind", "body"), [("html200", "<!doctype html>"), ("empty200", "")])
def test_a_success_that_is_none(crm: TestClient, kind: str, body: str) -> None:
    plant(crm, kind=kind)
    answer = crm.get(COMPANIES)
    assert answer.status_code == 200
    assert answer.text.startswith(body)
    assert "results" not in answer.text


def test_drops_arrive_whole(crm: TestClient) -> None:
    plant(crm, kind="drip", seconds=0, piece_bytes=7)
    assert crm.get(COMPANIES).json()["results"]


def test_faults_can_be_taken_back(crm: TestClient) -> None:
    plant(crm, kind="status", count=-1)
    assert crm.get(COMPANIES).status_code == 503
    crm.delete("/_sandbox/faults")
    assert crm.get(COMPANIES).status_code == 200


def test_an_unknown_fault_is_refused(crm: TestClient) -> None:
    assert "expected one of" in crm.post("/_sandbox/fault", json={"kind": "flood"}).json()["error"]
    assert "unknown fields: colour" in crm.post("/_sandbox/fault", json={"kind": "delay", "colour": 1}).json()["error"]


def test_state_and_log_survive_a_restart(tmp_path: Path) -> None:
    first = Store(tmp_path / "crm.sqlite")
    made = client_of(first).post(COMPANIES, json={"properties": {"name": "Kept", "concord_id": "g1"}}).json()
    second = Store(tmp_path / "crm.sqlite")  # the first is not closed: as after a kill
    crm = client_of(second)
    assert crm.get(f"{COMPANIES}/g1", params={"idProperty": "concord_id"}).json()["id"] == made["id"]
    assert crm.get("/_sandbox/state").json()["requests"]["writes"] == 1
    again = crm.post(COMPANIES, json={"properties": {"name": "Next"}}).json()
    assert int(again["id"]) == int(made["id"]) + 1
    first.close()
    second.close()
