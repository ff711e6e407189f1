"""The Asana connector against work management of Asana's shape."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from canonical.declarations.connectors import default_streams, read_defaults
from canonical.landscape import Stream
from connectors import registry
from connectors.asana import Asana
from connectors.protocol import (
    Ambiguous,
    AuthFailed,
    Context,
    Misdeclared,
    Page,
    RateLimited,
    Source,
    SystemFault,
    Target,
    Transient,
    Write,
)
from sandbox.asana import create_app
from sandbox.asana_seed import (
    FIELD_GID,
    AsanaProject,
    AsanaTask,
    AsanaUser,
    asana_docs,
    project_gid,
    task_gid,
    user_gid,
)
from sandbox.asana_work import TEAM, WORKSPACE
from sandbox.runner import fill_store
from sandbox.store import Store
from tests.unit.connectors.conftest import Wire

Make = Callable[..., Asana]
AT = datetime(2025, 6, 1, 8)
USERS = [AsanaUser(1, "Ada Moss", "ada@wholesale.example"), AsanaUser(2, "Tom Okafor", "tom@wholesale.example")]
SEEDED = [AsanaProject(n, f"Project {n}", AT, is_archived=n % 50 == 0) for n in range(1, 121)]
TASKS = [AsanaTask(n, 1 + n % 3, f"Task {n}", datetime(2025, 6, 1 + n % 20)) for n in range(1, 41)]


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(":memory:")
    fill_store(store, asana_docs(USERS, SEEDED, TASKS))
    yield store
    store.close()


@pytest.fixture
def wire(store: Store) -> Wire:
    app = create_app(store, "secret", "app", minute_limit=100_000)
    return Wire(TestClient(app, base_url="https://app.asana.com")._transport)


@pytest.fixture
def make(wire: Wire) -> Iterator[Make]:
    made: list[Asana] = []

    def build(token: str = "secret", settings: dict[str, Any] | None = None, **options: Any) -> Asana:
        shipped = default_streams(read_defaults("asana", *registry.defaults("asana")))
        streams = {name: Stream(name, options=options.get(name, {})) for name in shipped}
        given = {"token": token, "team": TEAM["gid"], "requests_per_minute": 10**6, **(settings or {})}
        made.append(Asana(Context("work", given, streams), transport=wire))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture
def work(make: Make) -> Asana:
    return make()


def rows(pages: list[Page]) -> dict[str, bool]:
    return {record: gone for page in pages for record, gone in zip(page.ids, page.deleted, strict=True)}


def create(ref: str, **payload: Any) -> Write:
    return Write(ref, "create", None, payload, f"key-{ref}")


def update(source_id: str | None, **payload: Any) -> Write:
    return Write(f"u{source_id}", "update", source_id, payload, "k")


def outcomes(receipts: Any) -> list[str]:
    return [receipt.outcome for receipt in receipts]


def held(work: Asana, source_id: Any, stream: str = "projects") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(work.get(stream, [str(source_id)])[0].payload)
    return found


def asked(wire: Wire, method: str, part: str) -> list[httpx.Request]:
    return [one for one in wire.requests if one.method == method and part in one.url.path]


def test_roles_and_facts(work: Asana) -> None:
    assert isinstance(work, Source)
    assert isinstance(work, Target)
    assert work.facts("projects").write_class == "B"
    assert work.facts("projects").ops == {"create", "update", "archive", "delete"}
    assert work.facts("tasks").ops == {"create", "update", "delete"}
    assert work.facts("users").ops == frozenset()
    work.check()


def test_a_wrong_token_is_a_matter_for_a_person(make: Make) -> None:
    with pytest.raises(AuthFailed):
        make(token="wrong").check()


def test_a_workspace_that_cannot_be_seen_is_misdeclared(make: Make) -> None:
    with pytest.raises(Misdeclared, match="workspace"):
        make(settings={"workspace": "17"}).check()


def test_several_workspaces_ask_for_a_choice(make: Make, wire: Wire) -> None:
    two = {"data": [{"gid": "1", "name": "Wholesale"}, {"gid": "2", "name": "Private"}], "next_page": None}
    wire.intercept = lambda request: httpx.Response(200, json=two) if request.url.path.endswith("workspaces") else None
    with pytest.raises(Misdeclared, match=r"Wholesale \(1\), Private \(2\)"):
        make().check()


def test_a_sweep_reads_all_projects_and_says_which_are_archived(work: Asana) -> None:
    pages = list(work.read("projects", None))
    assert [len(page.ids) for page in pages] == [100, 20]
    assert [page.is_last for page in pages] == [False, True]
    assert {record for record, gone in rows(pages).items() if gone} == {project_gid(50), project_gid(100)}
    assert all(page.changed[0] == "2025-06-01T08:00:00.000Z" for page in pages)


def test_people_are_read_with_their_addresses(work: Asana) -> None:
    [page] = work.read("users", None)
    assert page.is_last
    assert json.loads(page.payloads[0]) == {
        "gid": user_gid(1),
        "name": "Ada Moss",
        "email": "ada@wholesale.example",
    }


def test_tasks_are_read_project_by_project_each_once(work: Asana, wire: Wire, store: Store) -> None:
    twice = {**store.stream("tasks")[task_gid(1)], "projects": [project_gid(1), project_gid(2)]}
    store.put("tasks", task_gid(1), twice)
    pages = list(work.read("tasks", None))
    ids = [record for page in pages for record in page.ids]
    assert sorted(ids) == sorted(task_gid(n) for n in range(1, 41))
    assert [page.is_last for page in pages] == [False] * (len(pages) - 1) + [True]
    assert pages[0].cursor == {}
    assert pages[-1].cursor == {"since": "2025-06-20T00:00:00.000Z"}


def test_the_next_read_of_tasks_asks_only_for_what_changed(work: Asana, wire: Wire) -> None:
    cursor = list(work.read("tasks", None))[-1].cursor
    made = work.write("tasks", [create("a", name="New", projects=[{"gid": project_gid(3)}])])[0]
    wire.requests.clear()
    pages = list(work.read("tasks", cursor))
    assert made.source_id in rows(pages)
    assert len(rows(pages)) < 10
    since = {one.url.params.get("modified_since") for one in asked(wire, "GET", "/tasks")}
    assert since == {"2025-06-19T23:58:00.000Z"}
    assert pages[-1].cursor["since"] > cursor["since"]


def test_tasks_of_declared_projects_alone_are_read(make: Make, wire: Wire) -> None:
    work = make(tasks={"projects": [project_gid(2)]})
    assert {json.loads(p)["projects"][0]["gid"] for page in work.read("tasks", None) for p in page.payloads} == {
        project_gid(2)
    }
    assert not asked(wire, "GET", "/projects")


def test_a_record_reads_the_same_whichever_way_it_came(work: Asana) -> None:
    writes = [create(str(n), name=f"New {n}", due_on="2026-02-01") for n in range(3)]
    receipts = work.write("projects", writes)
    alone = work.write("projects", [create("x", name="Alone")])[0]
    listed = {i: p for page in work.read("projects", None) for i, p in zip(page.ids, page.payloads, strict=True)}
    got = {one.id: one.payload for one in work.get("projects", list(listed)[-5:])}
    for receipt in [*receipts, alone]:
        assert listed[str(receipt.source_id)] == receipt.record == got[str(receipt.source_id)]


def test_what_is_gone_is_not_returned(work: Asana) -> None:
    assert work.get("projects", ["17", "no gid", "../users/me"]) == []


def test_what_became_private_is_not_taken_for_gone(work: Asana, wire: Wire) -> None:
    wire.intercept = lambda _: httpx.Response(403, json={"errors": [{"message": "You do not have access"}]})
    [record] = work.get("projects", [project_gid(1)])
    assert (record.id, record.payload, record.deleted) == (project_gid(1), b'{"gid":"%s"}' % record.id.encode(), False)


def test_a_page_token_that_is_no_longer_valid_is_tried_again(work: Asana, wire: Wire) -> None:
    def stale(request: httpx.Request) -> httpx.Response | None:
        if "offset" not in request.url.params:
            return None
        return httpx.Response(400, json={"errors": [{"message": "offset: Your pagination token has expired."}]})

    wire.intercept = stale
    with pytest.raises(Transient, match="next page"):
        list(work.read("projects", None))


def test_find_is_exact_and_sees_live_records_only(work: Asana) -> None:
    customs = [{"name": "Concord ID", "text_value": "g-1"}]
    first, second = work.write("projects", [create("a", name="Zoo", custom_fields=customs), create("b", name="zoo")])
    by_marker = {f"custom_fields[gid={FIELD_GID['Concord ID']}].text_value": "g-1"}
    assert [one.id for one in work.find("projects", {"name": "Zoo"})] == [first.source_id]
    assert [one.id for one in work.find("projects", by_marker)] == [first.source_id]
    work.write("projects", [Write("c", "archive", first.source_id, {}, "k")])
    assert work.find("projects", by_marker) == []
    assert work.find("projects", {"name": "Project 50"}) == []
    assert [one.id for one in work.find("projects", {"name": "zoo"})] == [second.source_id]


def test_many_looks_cost_one_reading_and_see_our_own_writes(work: Asana, wire: Wire) -> None:
    for n in range(20):
        assert work.find("projects", {"name": f"New {n}"}) == []
        work.write("projects", [create(str(n), name=f"New {n}")])
        assert len(work.find("projects", {"name": f"New {n}"})) == 1
    assert len(asked(wire, "GET", "/projects")) == 2


def test_a_lost_answer_is_looked_for_in_a_new_reading(work: Asana, wire: Wire, store: Store) -> None:
    assert work.find("projects", {"name": "Lost"}) == []

    def lost(request: httpx.Request) -> httpx.Response | None:
        if request.method != "POST":
            return None
        with wire.lock:
            wire.inner.handle_request(request)
        raise httpx.ReadError("cut")

    wire.intercept = lost
    with pytest.raises(Ambiguous):
        work.write("projects", [create("a", name="Lost")])
    wire.intercept = None
    assert len(work.find("projects", {"name": "Lost"})) == 1


def test_a_mixed_batch_has_an_outcome_for_each(work: Asana, wire: Wire) -> None:
    writes = [
        create("a", name="A"),
        create("b", name="B", due_on="tomorrow"),
        create("c", name="C", custom_fields=[{"gid": "1", "text_value": "x"}]),
        create("d", name="D", custom_fields=[{"name": "No such field", "text_value": "x"}]),
        create("e", name="E", custom_fields=[{"name": "Kind", "enum_value": {"name": "Side project"}}]),
    ]
    receipts = work.write("projects", writes)
    assert outcomes(receipts) == ["done", "rejected", "rejected", "rejected", "rejected"]
    assert [one.field for one in receipts] == [
        None,
        "due_on",
        "custom_fields",
        "custom_fields[name=No such field]",
        f"custom_fields[gid={FIELD_GID['Kind']}].enum_value.name",
    ]
    assert all(one.reason for one in receipts[1:])
    assert [len(body["data"]["actions"]) for body in wire.bodies("/batch")] == [3]


def test_values_arrive_in_the_forms_that_asana_takes(work: Asana) -> None:
    customs = [
        {"gid": FIELD_GID["Concord ID"], "text_value": "g-1"},
        {"name": "Kind", "enum_value": {"name": "Order"}},
        {"name": "Budget", "number_value": Decimal("1250.50")},
        {"name": "Hand-over", "date_value": {"date": "2026-05-01"}},
        {"name": "Number", "text_value": None},
    ]
    made = work.write(
        "projects",
        [
            create(
                "a", name="Order 17", notes=None, owner={"gid": user_gid(2)}, due_on="2026-04-30", custom_fields=customs
            )
        ],
    )[0]
    assert made.outcome == "done", made.reason
    record = held(work, made.source_id)
    shown = {one["name"]: one for one in record["custom_fields"]}
    assert record["owner"]["gid"] == user_gid(2)
    assert shown["Concord ID"]["text_value"] == "g-1"
    assert shown["Kind"]["enum_value"]["name"] == "Order"
    assert shown["Budget"]["number_value"] == 1250.5
    assert shown["Hand-over"]["date_value"] == {"date": "2026-05-01"}
    assert shown["Number"]["text_value"] is None


def test_an_update_writes_only_its_fields_and_empties(work: Asana, wire: Wire) -> None:
    customs = [{"name": "Number", "text_value": "P-1"}]
    made = work.write(
        "projects", [create("a", name="A", notes="x", owner={"gid": user_gid(1)}, custom_fields=customs)]
    )[0]
    wire.requests.clear()
    emptied = [{"gid": FIELD_GID["Number"], "text_value": None}]
    done = work.write("projects", [update(made.source_id, notes=None, owner={"gid": None}, custom_fields=emptied)])[0]
    assert done.outcome == "done"
    assert wire.bodies(f"/projects/{made.source_id}") == [
        {"data": {"notes": "", "owner": None, "custom_fields": {FIELD_GID["Number"]: None}}}
    ]
    record = held(work, made.source_id)
    assert (record["name"], record["notes"], record["owner"]) == ("A", "", None)


def test_a_start_date_travels_with_its_due_date(work: Asana) -> None:
    made = work.write("projects", [create("a", name="A", start_on="2026-01-05", due_on="2026-02-04")])[0]
    assert work.write("projects", [update(made.source_id, start_on="2026-01-07")])[0].outcome == "done"
    record = held(work, made.source_id)
    assert (record["start_on"], record["due_on"]) == ("2026-01-07", "2026-02-04")
    refused = work.write("projects", [update(project_gid(1), start_on="2026-01-07")])[0]
    assert (refused.outcome, refused.field) == ("rejected", "start_on")


def test_a_status_is_posted_once_and_only_when_it_differs(work: Asana, wire: Wire) -> None:
    made = work.write("projects", [create("a", name="A", current_status={"color": "green"})])[0]
    assert (made.outcome, made.record) == ("done", None)
    for colour in ("green", "complete", "complete"):
        assert work.write("projects", [update(made.source_id, current_status={"color": colour})])[0].outcome == "done"
    assert [body["data"]["status_type"] for body in wire.bodies("/status_updates")] == ["on_track", "complete"]
    record = held(work, made.source_id)
    assert (record["current_status"]["color"], record["completed"]) == ("complete", True)
    assert work.write("projects", [update(made.source_id, current_status={"color": None})])[0].outcome == "done"
    wrong = work.write("projects", [update(made.source_id, current_status={"color": "pink"})])[0]
    assert (wrong.outcome, wrong.field) == ("rejected", "current_status.color")


def test_a_created_project_keeps_its_gid_though_its_status_failed(work: Asana, wire: Wire) -> None:
    def refuse(request: httpx.Request) -> httpx.Response | None:
        if request.url.path.endswith("/status_updates"):
            return httpx.Response(403, json={"errors": [{"message": "You may not comment on this project"}]})
        return None

    wire.intercept = refuse
    made = work.write("projects", [create("a", name="A", current_status={"color": "green"})])[0]
    assert (made.outcome, made.field) == ("done", "current_status.color")
    assert made.source_id
    again = work.write("projects", [update(made.source_id, current_status={"color": "green"})])[0]
    assert (again.outcome, again.field) == ("rejected", "current_status.color")


def test_archives_and_deletes(work: Asana) -> None:
    first, second = work.write("projects", [create("a", name="A"), create("b", name="B")])
    archive = [Write("c", "archive", first.source_id, {}, "k"), Write("d", "archive", "17", {}, "k2")]
    assert outcomes(work.write("projects", archive)) == ["done", "done"]
    assert work.get("projects", [str(first.source_id)])[0].deleted
    delete = [Write("e", "delete", second.source_id, {}, "k"), Write("f", "delete", "17", {}, "k2")]
    assert outcomes(work.write("projects", delete)) == ["done", "done"]
    assert work.get("projects", [str(second.source_id)]) == []
    with pytest.raises(Misdeclared, match="archive"):
        work.write("tasks", [Write("g", "archive", task_gid(1), {}, "k")])
    with pytest.raises(Misdeclared, match="create"):
        work.write("users", [create("h", name="Eve")])


def test_tasks_are_completed_and_moved(work: Asana) -> None:
    place = [{"gid": project_gid(1)}]
    made = work.write("tasks", [create("a", name="Pack", projects=place, assignee={"gid": user_gid(1)})])[0]
    done = work.write("tasks", [update(made.source_id, completed=True, projects=[{"gid": project_gid(2)}])])[0]
    assert done.outcome == "done"
    record = held(work, made.source_id, "tasks")
    assert record["completed"] is True
    assert [one["gid"] for one in record["projects"]] == [project_gid(2)]


def test_external_data_finds_a_task_without_reading_them_all(make: Make, wire: Wire) -> None:
    work = make(token="app", tasks={"external": True})
    made = work.write("tasks", [create("a", name="Pack", projects=[project_gid(1)], external={"gid": "golden/1"})])[0]
    wire.requests.clear()
    assert [one.id for one in work.find("tasks", {"external.gid": "golden/1"})] == [made.source_id]
    assert work.find("tasks", {"external.gid": "golden/2"}) == []
    assert len(wire.requests) == 2
    with pytest.raises(Misdeclared, match="external"):
        make().find("tasks", {"external.gid": "golden/1"})


def test_without_its_team_a_project_is_refused_by_field(make: Make) -> None:
    work = make(settings={"team": None})
    assert [(one.outcome, one.field) for one in work.write("projects", [create("a", name="A")])] == [
        ("rejected", "team")
    ]


def test_a_batch_refused_as_a_whole_is_sent_one_by_one(work: Asana, wire: Wire) -> None:
    refusal = httpx.Response(400, json={"errors": [{"message": "no"}]})
    wire.intercept = lambda request: refusal if request.url.path.endswith("/batch") else None
    receipts = work.write("projects", [create("a", name="A"), create("b", name=" "), create("c", name="C")])
    assert outcomes(receipts) == ["done", "rejected", "done"]


@pytest.mark.parametrize(
    ("status", "headers", "outcome", "wait"),
    [(429, {"Retry-After": "30"}, "retry", 30.0), (500, {}, "unknown", None), (503, {}, "unknown", None)],
)
def test_an_action_s_own_trouble_is_its_own(
    work: Asana, wire: Wire, status: int, headers: dict[str, str], outcome: str, wait: float | None
) -> None:
    trouble = {"status_code": status, "headers": headers, "body": {"errors": [{"message": "trouble"}]}}
    good = {"status_code": 201, "headers": {}, "body": {"data": {"gid": "77", "name": "B"}}}
    wire.intercept = lambda _: httpx.Response(200, json={"data": [trouble, good]})
    first, second = work.write("projects", [update("76", name="A"), update("77", name="B")])
    assert (first.outcome, first.wait_seconds) == (outcome, wait)
    assert (second.outcome, second.source_id) == ("done", "77")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{", b'{"data": []}', b'{"data": [{"body": {}}, {"body": {}}]}'],
    ids=["nothing", "a page", "half", "no result", "no status"],
)
def test_a_batch_without_a_clear_answer_is_ambiguous(work: Asana, wire: Wire, body: bytes) -> None:
    wire.intercept = lambda request: httpx.Response(200, content=body) if request.method == "POST" else None
    with pytest.raises(Ambiguous):
        work.write("projects", [create("a", name="A"), create("b", name="B")])


@pytest.mark.parametrize("record", [{}, {"gid": None}, {"gid": "99"}, {"gid": 0}], ids=str)
def test_an_answer_about_no_or_another_record_is_unknown(work: Asana, wire: Wire, record: dict[str, Any]) -> None:
    wire.intercept = lambda request: httpx.Response(200, json={"data": record}) if request.method == "PUT" else None
    assert outcomes(work.write("projects", [update(project_gid(1), name="A")])) == ["unknown"]


def test_limits_are_respected(work: Asana, wire: Wire) -> None:
    slow_down = httpx.Response(429, headers={"retry-after": "100"}, json={"errors": [{"message": "slow down"}]})
    wire.intercept = lambda _: slow_down
    with pytest.raises(RateLimited) as caught:
        work.get("projects", [project_gid(1)])
    assert caught.value.wait_seconds == 100


def test_a_list_that_is_none_is_a_fault(work: Asana, wire: Wire) -> None:
    wire.intercept = lambda _: httpx.Response(200, json={"errors": []})
    with pytest.raises(SystemFault):
        list(work.read("projects", None))


@pytest.mark.parametrize(
    ("stream", "options"),
    [
        ("projects", {"external": True}),
        ("tasks", {"external": "yes"}),
        ("tasks", {"projects": "17"}),
        ("projects", {"more_fields": [1]}),
    ],
    ids=["external on projects", "external in words", "projects no list", "fields no names"],
)
def test_options_that_mean_nothing_are_refused(make: Make, stream: str, options: dict[str, Any]) -> None:
    with pytest.raises(Misdeclared):
        make(**{stream: options})


@pytest.mark.parametrize(
    "item",
    [
        {"text_value": "x"},
        {"gid": "1"},
        {"gid": "1", "display_value": "x"},
        {"gid": "1", "text_value": "x", "type": "y"},
        7,
    ],
    ids=["unnamed", "no value", "read only", "two values", "no object"],
)
def test_a_sheet_that_misnames_custom_fields_is_misdeclared(work: Asana, item: Any) -> None:
    with pytest.raises(Misdeclared, match="custom_fields"):
        work.write("projects", [create("a", name="A", custom_fields=[item])])


def test_more_fields_are_shown_when_declared(make: Make) -> None:
    work = make(projects={"more_fields": ["permalink_url"]})
    assert held(work, project_gid(1))["permalink_url"].startswith("https://")


def test_each_action_of_a_batch_counts_against_the_declared_rate(make: Make, wire: Wire) -> None:
    work = make(settings={"requests_per_minute": 13, "workspace": WORKSPACE["gid"]})
    assert outcomes(work.write("projects", [create(str(n), name=f"P {n}") for n in range(10)])) == ["done"] * 10
    with pytest.raises(RateLimited, match="declared rate"):
        work.write("projects", [create(str(n), name=f"Q {n}") for n in range(10)])
    assert len(wire.bodies("/batch")) == 1
