"""The Asana-shaped work management: what a connector relies on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from sandbox.asana import BASE, create_app
from sandbox.asana_seed import FIELD_GID, OPTIONS, AsanaProject, AsanaTask, AsanaUser, asana_docs, project_gid, user_gid
from sandbox.asana_work import TEAM, WORKSPACE
from sandbox.oauth import CLIENT_ID, CLIENT_SECRET
from sandbox.runner import fill_store
from sandbox.store import Store

PLACE = {"workspace": WORKSPACE["gid"], "team": TEAM["gid"]}
USERS = [AsanaUser(1, "Ada Moss", "ada@wholesale.example"), AsanaUser(2, "Tom Okafor", "tom@wholesale.example")]
AT = datetime(2025, 6, 1, 8)
SEEDED = [
    AsanaProject(1, "Catalogue", AT, owner=1, due_on=date(2025, 9, 1), colour="green", custom={"Kind": "Internal"}),
    AsanaProject(2, "Move", AT, is_archived=True, colour="complete", custom={"Number": "P-2", "Budget": 900.5}),
    AsanaProject(3, "Fair", AT),
]
TASKS = [AsanaTask(n, 1 + n % 2, f"Task {n}", datetime(2025, 6, n)) for n in range(1, 6)]


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(":memory:")
    fill_store(store, asana_docs(USERS, SEEDED, TASKS))
    yield store
    store.close()


@pytest.fixture
def work(store: Store) -> TestClient:
    return client_of(store)


def client_of(store: Store, token: str = "secret", **limits: Any) -> TestClient:
    app = create_app(store, "secret", "app", **limits)
    return TestClient(app, base_url=f"http://testserver{BASE}", headers={"authorization": f"Bearer {token}"})


def create(work: TestClient, **data: Any) -> dict[str, Any]:
    answer = work.post("/projects", json={"data": {**PLACE, **data}})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()["data"]
    return made


def refused(answer: Any, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["errors"][0]["message"])


def test_a_wrong_token_gets_asanas_body(work: TestClient) -> None:
    answer = work.get("/users/me", headers={"authorization": "Bearer wrong"})
    assert refused(answer, 401) == "Not Authorized"
    assert answer.json()["errors"][0]["help"]


def test_too_many_requests_are_told_when_to_come_back(store: Store) -> None:
    work = client_of(store, minute_limit=2)
    answers = [work.get("/users/me") for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 200, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61


def test_pages_show_each_record_once_and_end_without_a_token(work: TestClient) -> None:
    asked: dict[str, Any] = {"workspace": WORKSPACE["gid"], "limit": 2}
    first = work.get("/projects", params=asked).json()
    second = work.get("/projects", params={**asked, "offset": first["next_page"]["offset"]}).json()
    assert [one["name"] for one in first["data"] + second["data"]] == ["Catalogue", "Move", "Fair"]
    assert second["next_page"] is None
    assert first["data"][0].keys() == {"gid", "resource_type", "name"}


@pytest.mark.parametrize("offset", ["made-up", "", "W10"])
def test_a_token_that_was_never_given_is_refused(work: TestClient, offset: str) -> None:
    asked = {"workspace": WORKSPACE["gid"], "limit": 2, "offset": offset}
    assert "pagination token is invalid" in refused(work.get("/projects", params=asked))


def test_a_token_is_good_for_its_own_question_only(work: TestClient) -> None:
    asked: dict[str, Any] = {"workspace": WORKSPACE["gid"], "limit": 1}
    offset = work.get("/projects", params=asked).json()["next_page"]["offset"]
    other = {**asked, "archived": "true", "offset": offset}
    assert "pagination token is invalid" in refused(work.get("/projects", params=other))


@pytest.mark.parametrize("limit", ["0", "101", "x"])
def test_a_page_has_a_hundred_records_at_most(work: TestClient, limit: str) -> None:
    assert refused(work.get("/projects", params={"workspace": WORKSPACE["gid"], "limit": limit})).startswith("limit")


def test_only_the_chosen_fields_are_shown(work: TestClient) -> None:
    fields = "name,owner,current_status.color,custom_fields.name,custom_fields.enum_value.name"
    shown = work.get(f"/projects/{project_gid(1)}", params={"opt_fields": fields}).json()["data"]
    assert shown.keys() == {"gid", "name", "owner", "current_status", "custom_fields"}
    assert shown["owner"] == {"gid": user_gid(1), "resource_type": "user"}
    assert shown["current_status"]["color"] == "green"
    kind = next(one for one in shown["custom_fields"] if one["name"] == "Kind")
    assert kind["enum_value"]["name"] == "Internal"
    assert kind["gid"] == FIELD_GID["Kind"]


def test_archived_projects_are_listed_unless_asked_otherwise(work: TestClient) -> None:
    def names(**query: str) -> list[str]:
        answer = work.get("/projects", params={"workspace": WORKSPACE["gid"], **query})
        return [one["name"] for one in answer.json()["data"]]

    assert names() == ["Catalogue", "Move", "Fair"]
    assert names(archived="true") == ["Move"]
    assert names(archived="false") == ["Catalogue", "Fair"]


def test_a_project_is_created_changed_and_deleted(work: TestClient) -> None:
    customs = {FIELD_GID["Number"]: "P-9", FIELD_GID["Kind"]: OPTIONS["Order"], FIELD_GID["Budget"]: 12.5}
    made = create(work, name="New", owner="tom@wholesale.example", custom_fields=customs)
    path = f"/projects/{made['gid']}"
    assert made["owner"]["name"] == "Tom Okafor"
    assert {one["name"]: one["display_value"] for one in made["custom_fields"]}["Kind"] == "Order"
    changed = work.put(path, json={"data": {"name": "Newer", "custom_fields": {FIELD_GID["Number"]: None}}}).json()
    assert changed["data"]["modified_at"] > made["modified_at"]
    assert {one["name"]: one["display_value"] for one in changed["data"]["custom_fields"]}["Number"] is None
    same = work.put(path, json={"data": {"name": "Newer"}}).json()
    assert same["data"]["modified_at"] == changed["data"]["modified_at"]
    assert work.delete(path).json() == {"data": {}}
    assert "Unknown object" in refused(work.get(path), 404)


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"team": None}, "team: Missing input"),
        ({"workspace": "1"}, "workspace: Unknown object"),
        ({"name": ""}, "name: Missing input"),
        ({"due_on": "31/12/2026"}, "due_on: Not a valid date"),
        ({"start_on": "2026-01-01"}, "start_on: due_on or due_at must be present"),
        ({"start_on": "2026-01-01", "due_on": "2026-01-01"}, "start_on: Must be before"),
        ({"owner": "nobody@elsewhere.example"}, "owner: Not a user"),
        ({"custom_fields": {"1": "x"}}, "custom_fields: Custom field with ID 1"),
        (
            {"custom_fields": {FIELD_GID["Budget"]: "12"}},
            f"custom_fields: {FIELD_GID['Budget']}: Value is not a number",
        ),
        ({"custom_fields": {FIELD_GID["Kind"]: "Order"}}, f"custom_fields: {FIELD_GID['Kind']}: Not a recognized"),
        ({"archived": "yes"}, "archived: Value is not a boolean"),
        ({"completed": True}, "completed: Cannot write this property"),
    ],
    ids=lambda value: value.split(":")[0] if isinstance(value, str) else "",
)
def test_bad_values_are_refused_by_field(work: TestClient, data: dict[str, Any], field: str) -> None:
    answer = work.post("/projects", json={"data": {"name": "x", **PLACE, **data}})
    assert field in refused(answer, 404 if "Unknown" in field else 400)


def test_dates_come_in_pairs(work: TestClient) -> None:
    made = create(work, name="Dated", start_on="2026-01-05", due_on="2026-02-04")
    path = f"/projects/{made['gid']}"
    assert "due_on or due_at must be present" in refused(work.put(path, json={"data": {"start_on": "2026-01-06"}}))
    both = {"start_on": "2026-01-06", "due_on": "2026-02-04"}
    assert work.put(path, json={"data": both}).json()["data"]["start_on"] == "2026-01-06"
    assert work.put(path, json={"data": {"due_on": None}}).json()["data"]["start_on"] is None


@pytest.mark.parametrize(
    ("kind", "colour", "is_done"),
    [("on_track", "green", False), ("on_hold", "blue", False), ("complete", "complete", True)],
)
def test_a_status_update_colours_the_project(work: TestClient, kind: str, colour: str, is_done: bool) -> None:
    update = {"parent": project_gid(3), "status_type": kind, "text": "So it is"}
    assert work.post("/status_updates", json={"data": update}).status_code == 201
    shown = work.get(f"/projects/{project_gid(3)}").json()["data"]
    assert (shown["current_status"]["color"], shown["completed"]) == (colour, is_done)
    assert (shown["completed_at"] is not None) == is_done


def test_tasks_are_asked_for_by_project_and_change_mark(work: TestClient) -> None:
    def names(**query: str) -> list[str]:
        answer = work.get("/tasks", params={"project": project_gid(2), **query})
        return [one["name"] for one in answer.json()["data"]]

    assert names() == ["Task 1", "Task 3", "Task 5"]
    assert names(modified_since="2025-06-03T00:00:00Z") == ["Task 3", "Task 5"]
    assert refused(work.get("/tasks", params={"workspace": WORKSPACE["gid"]}))
    assert "datetime" in refused(work.get("/tasks", params={"project": project_gid(2), "modified_since": "lately"}))


def test_a_task_moves_between_projects_and_outlives_them(work: TestClient) -> None:
    task = work.post("/tasks", json={"data": {"name": "Pack", "projects": [project_gid(3)]}}).json()["data"]
    path = f"/tasks/{task['gid']}"
    work.post(f"{path}/addProject", json={"data": {"project": project_gid(1)}})
    work.post(f"{path}/removeProject", json={"data": {"project": project_gid(3)}})
    assert [one["gid"] for one in work.get(path).json()["data"]["projects"]] == [project_gid(1)]
    work.delete(f"/projects/{project_gid(1)}")
    assert work.get(path).json()["data"]["projects"] == []


def test_external_data_is_for_the_app_alone(store: Store, work: TestClient) -> None:
    app = client_of(store, "app")
    data = {"name": "Pack", "projects": [project_gid(3)], "external": {"gid": "t/1", "data": "x"}}
    refused(work.post("/tasks", json={"data": data}), 403)
    made = app.post("/tasks", json={"data": data}).json()["data"]
    assert app.get("/tasks/external:t%2F1").json()["data"]["gid"] == made["gid"]
    assert "external" in refused(app.post("/tasks", json={"data": data}))
    assert "external" in app.get(f"/tasks/{made['gid']}").json()["data"]
    assert "external" not in work.get(f"/tasks/{made['gid']}").json()["data"]
    assert work.get("/tasks/external:t%2F1").status_code == 404


def test_a_batch_answers_for_each_action_in_order(work: TestClient) -> None:
    good = {
        "relative_path": "/projects",
        "method": "post",
        "data": {"name": "A", **PLACE},
        "options": {"fields": ["name"]},
    }
    actions = [
        good,
        {**good, "data": {"name": "B"}},
        {
            "relative_path": "/projects",
            "method": "get",
            "data": {"workspace": WORKSPACE["gid"]},
            "options": {"limit": 1},
        },
        {"relative_path": "/projects?limit=1", "method": "get"},
        {"relative_path": "/nowhere", "method": "get"},
    ]
    found = work.post("/batch", json={"data": {"actions": actions}}).json()["data"]
    assert [one["status_code"] for one in found] == [201, 400, 200, 400, 404]
    assert found[0]["body"]["data"]["name"] == "A"
    assert found[2]["body"]["next_page"]["offset"]


@pytest.mark.parametrize("count", [0, 11])
def test_a_batch_has_ten_actions_at_most(work: TestClient, count: int) -> None:
    actions = [{"relative_path": "/users/me", "method": "get"}] * count
    refused(work.post("/batch", json={"data": {"actions": actions}}))


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"name": "x"}'], ids=["no json", "a list", "no envelope"])
def test_a_body_without_its_envelope_is_refused(work: TestClient, content: bytes) -> None:
    refused(work.post("/projects", content=content))


def test_a_person_edits_in_asana(work: TestClient) -> None:
    def edit(stream: str, gid: str, **fields: Any) -> Any:
        return work.post("http://testserver/_sandbox/edit", json={"stream": stream, "id": gid, "fields": fields})

    before = work.get(f"/projects/{project_gid(1)}").json()["data"]
    edit("projects", project_gid(1), name="Catalogue 2026", status="blue", custom_fields={FIELD_GID["Number"]: "P-1"})
    after = work.get(f"/projects/{project_gid(1)}").json()["data"]
    assert (after["name"], after["current_status"]["color"]) == ("Catalogue 2026", "blue")
    assert after["modified_at"] > before["modified_at"]
    edit("users", user_gid(2), name="Thomas Okafor")
    assert work.get(f"/users/{user_gid(2)}").json()["data"]["name"] == "Thomas Okafor"
    edit("projects", project_gid(2), deleted=True)
    refused(work.get(f"/projects/{project_gid(2)}"), 404)
    assert edit("projects", project_gid(1), due_on="soon").status_code == 400
    assert edit("projects", "1", name="x").status_code == 404
    state = work.get("http://testserver/_sandbox/state").json()
    assert state["records"] == {"projects": 2, "tasks": 5, "users": 2}


def test_what_was_written_survives_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "asana.sqlite")
    fill_store(store, asana_docs(USERS, SEEDED))
    made = create(client_of(store), name="Kept")
    store.close()
    again = Store(tmp_path / "asana.sqlite")
    assert client_of(again).get(f"/projects/{made['gid']}").json()["data"]["name"] == "Kept"
    assert create(client_of(again), name="Next")["gid"] != made["gid"]
    again.close()


def test_an_app_s_token_lets_in_until_it_ends(work: TestClient, store: Store) -> None:
    asked = {"client_id": CLIENT_ID, "redirect_uri": "http://localhost/", "response_type": "code", "state": "s"}
    nobody = TestClient(work.app)
    back = nobody.get("/-/oauth_authorize", params=asked, follow_redirects=False)
    code = back.headers["location"].partition("code=")[2].partition("&")[0]
    client = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "redirect_uri": "http://localhost/"}
    form = {"grant_type": "authorization_code", "code": code, **client}
    token = nobody.post("/-/oauth_token", data=form).json()["access_token"]
    app = {"authorization": f"Bearer {token}"}
    task = {"data": {"name": "Pack", "projects": [project_gid(3)], "external": {"gid": "t-1"}}}
    assert work.post("/tasks", json=task, headers=app).json()["data"]["external"] == {"gid": "t-1"}
    work.post("http://testserver/_sandbox/oauth/withdraw", json={})
    refused(work.get("/users/me", headers=app), 403)
    work.post("http://testserver/_sandbox/oauth/expire", json={})
    refused(work.get("/users/me", headers=app), 401)
    writes = [one["path"] for one in store.requests(writes_only=True)]
    assert writes == [f"{BASE}/tasks"]
