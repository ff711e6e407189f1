"""The Asana-shaped sandbox judged by Asana's published description: every kind of its answers.

The description stands beside the checkout (CONCORD_VENDOR_SPECS); without it these tests are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_core.exceptions import OpenAPIError
from starlette.testclient import TestClient

from connectors.asana.kinds import kind_of
from sandbox.asana import create_app
from sandbox.asana_seed import FIELD_GID, OPTIONS
from sandbox.asana_work import TEAM, WORKSPACE
from sandbox.runner import fill_store
from sandbox.seed import build_world
from sandbox.store import Store
from tests.contract.asana_spec import BASE, HOST, Judge

PLACE = {"workspace": WORKSPACE["gid"], "team": TEAM["gid"]}


@pytest.fixture(scope="module")
def judge(vendor_specs: Path) -> Judge:
    return Judge(vendor_specs)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    store = Store(tmp_path_factory.mktemp("work") / "asana.sqlite")
    fill_store(store, build_world(seed=7, scale=0.03).asana)
    headers = {"authorization": "Bearer app", "accept": "application/json"}
    with TestClient(create_app(store, "secret", "app"), base_url=f"{HOST}{BASE}", headers=headers) as client:
        yield client
    store.close()


def judged(judge: Judge, answer: httpx.Response) -> Any:
    """The answer's content, after the description agreed with the request and the answer."""
    judge.exchange(answer.request, answer)
    return answer.json()


def fields(stream: str) -> str:
    options = {"external": True} if stream == "tasks" else {}
    return ",".join(kind_of("work", stream, options).fields)


def first_project(client: TestClient) -> str:
    return str(client.get("/projects", params={"workspace": WORKSPACE["gid"]}).json()["data"][0]["gid"])


@pytest.mark.parametrize("stream", ["projects", "users", "tasks"])
@pytest.mark.parametrize("is_full", [True, False], ids=["all fields", "compact"])
def test_every_seeded_record_is_as_described(judge: Judge, client: TestClient, stream: str, is_full: bool) -> None:
    place = {"project": first_project(client)} if stream == "tasks" else {"workspace": WORKSPACE["gid"]}
    asked = {**place, "limit": "2", **({"opt_fields": fields(stream)} if is_full else {})}
    page = judged(judge, client.get(f"/{stream}", params=asked))
    assert page["data"]
    while page["next_page"]:
        page = judged(judge, client.get(f"/{stream}", params={**asked, "offset": page["next_page"]["offset"]}))
        assert page["data"]


@pytest.mark.parametrize("stream", ["projects", "users", "tasks"])
def test_one_record_is_as_described(judge: Judge, client: TestClient, stream: str) -> None:
    place = {"project": first_project(client)} if stream == "tasks" else {"workspace": WORKSPACE["gid"]}
    gid = client.get(f"/{stream}", params=place).json()["data"][0]["gid"]
    assert judged(judge, client.get(f"/{stream}/{gid}"))["data"]["gid"] == gid
    assert judged(judge, client.get(f"/{stream}/{gid}", params={"opt_fields": fields(stream)}))["data"]["gid"] == gid


@pytest.mark.parametrize(
    "path",
    [
        "/workspaces",
        "/workspaces/{w}",
        "/workspaces/{w}/custom_fields",
        "/workspaces/{w}/teams",
        "/workspaces/{w}/users",
    ],
)
def test_the_place_is_as_described(judge: Judge, client: TestClient, path: str) -> None:
    assert judged(judge, client.get(path.format(w=WORKSPACE["gid"])))["data"]


def test_a_project_s_story_is_as_described_at_every_step(judge: Judge, client: TestClient) -> None:
    customs = {
        FIELD_GID["Concord ID"]: "g-1",
        FIELD_GID["Kind"]: OPTIONS["Order"],
        FIELD_GID["Budget"]: 1250.5,
        FIELD_GID["Hand-over"]: {"date": "2026-05-01"},
    }
    dates = {"start_on": "2026-01-12", "due_on": "2026-04-30"}
    project = {"name": "Order 17", "notes": "…", **dates, "custom_fields": customs, **PLACE}
    made = judged(judge, client.post("/projects", json={"data": project}))["data"]
    path = f"/projects/{made['gid']}"
    shown = {one["name"]: one for one in made["custom_fields"]}
    assert (shown["Kind"]["enum_value"]["name"], shown["Budget"]["number_value"]) == ("Order", 1250.5)
    status = {"parent": made["gid"], "status_type": "complete", "text": "Delivered"}
    judged(judge, client.post("/status_updates", json={"data": status}))
    done = judged(judge, client.get(path))["data"]
    assert (done["completed"], done["current_status"]["color"]) == (True, "complete")
    emptied = {"owner": None, "start_on": None, "due_on": None, "archived": True}
    assert judged(judge, client.put(path, json={"data": emptied}))["data"]["archived"] is True
    task = {"name": "Pack", "projects": [made["gid"]], "assignee": "me", "external": {"gid": "t-1", "data": "x"}}
    kept = judged(judge, client.post("/tasks", json={"data": task}))["data"]
    assert judged(judge, client.get("/tasks/external:t-1"))["data"]["gid"] == kept["gid"]
    judged(judge, client.put(f"/tasks/{kept['gid']}", json={"data": {"completed": True}}))
    judged(judge, client.post(f"/tasks/{kept['gid']}/removeProject", json={"data": {"project": made["gid"]}}))
    judged(judge, client.post(f"/tasks/{kept['gid']}/addProject", json={"data": {"project": made["gid"]}}))
    since = {"project": made["gid"], "modified_since": made["created_at"], "limit": 10}
    assert [one["gid"] for one in judged(judge, client.get("/tasks", params=since))["data"]] == [kept["gid"]]
    judged(judge, client.delete(f"/tasks/{kept['gid']}"))
    judged(judge, client.delete(path))
    assert judged(judge, client.get(path))["errors"]


def test_a_batch_is_as_described_action_by_action(judge: Judge, client: TestClient) -> None:
    actions = [
        {"relative_path": "/projects", "method": "post", "data": {"name": "Batch", **PLACE}},
        {"relative_path": "/projects", "method": "post", "data": {"name": "No place"}},
        {"relative_path": "/users/me", "method": "get", "options": {"fields": ["email"]}},
        {"relative_path": "/projects/1", "method": "delete"},
    ]
    found = judged(judge, client.post("/batch", json={"data": {"actions": actions}}))["data"]
    assert [one["status_code"] for one in found] == [201, 400, 200, 404]


@pytest.mark.parametrize(
    ("method", "path", "data"),
    [
        ("POST", "/projects", {"name": "x", "workspace": WORKSPACE["gid"]}),
        ("POST", "/projects", {**PLACE, "name": "x", "custom_fields": {"1": "x"}}),
        ("PUT", "/projects/1", {"name": "x"}),
        ("POST", "/batch", {"actions": []}),
        ("GET", "/projects", None),
        ("GET", "/tasks", None),
    ],
    ids=["no team", "no such custom field", "no such project", "no action", "no workspace", "no project"],
)
def test_refusals_are_as_described(judge: Judge, client: TestClient, method: str, path: str, data: Any) -> None:
    refused = client.request(method, path, json={"data": data} if data is not None else None)
    assert refused.status_code in (400, 404)
    assert judged(judge, refused)["errors"][0]["message"]


def test_the_judge_sees_a_spoiled_answer(judge: Judge, client: TestClient) -> None:
    answer = client.get(f"/projects/{first_project(client)}")
    for good, bad in ((b'"color":"green"', b'"color":"mauve"'), (b'"archived"', b'"archieved"')):
        spoiled = answer.content.replace(good, bad)
        assert spoiled != answer.content
        with pytest.raises(OpenAPIError):
            judged(judge, httpx.Response(200, content=spoiled, headers=answer.headers, request=answer.request))
