"""Every request that the Asana connector makes, judged by Asana's published description: paths, parameters, bodies.

The description stands beside the checkout (CONCORD_VENDOR_SPECS); without it these tests are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_core.exceptions import OpenAPIError
from starlette.testclient import TestClient

from canonical.declarations.connectors import default_streams, read_defaults
from canonical.landscape import Stream
from connectors import registry
from connectors.asana import Asana
from connectors.protocol import Context, Write
from sandbox.asana import create_app
from sandbox.asana_seed import FIELD_GID
from sandbox.asana_work import TEAM
from sandbox.runner import fill_store
from sandbox.seed import build_world
from sandbox.store import Store
from tests.contract.asana_spec import HOST, Judge


@pytest.fixture(scope="module")
def judge(vendor_specs: Path) -> Judge:
    return Judge(vendor_specs)


class Recorder(httpx.BaseTransport):
    """Passes requests on and keeps them with their answers."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self.inner = inner
        self.exchanges: list[tuple[httpx.Request, httpx.Response]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.inner.handle_request(request)
        content = answer.read()
        self.exchanges.append((request, answer))
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)


@pytest.fixture(scope="module")
def exchanges(vendor_specs: Path) -> Iterator[list[tuple[httpx.Request, httpx.Response]]]:
    """What the connector asks while everything it can do is done once."""
    store = Store(":memory:")
    fill_store(store, build_world(seed=7, scale=0.03).asana)
    recorder = Recorder(TestClient(create_app(store, "secret", "app"), base_url=HOST)._transport)
    shipped = default_streams(read_defaults("asana", *registry.defaults("asana")))
    streams = {**shipped, "tasks": Stream("tasks", options={"external": True})}
    settings = {"token": "app", "team": TEAM["gid"], "concurrency": 1, "requests_per_minute": 10**6}
    work = Asana(Context("work", settings, streams), transport=recorder)
    do_everything(work)
    work.close()
    yield recorder.exchanges
    store.close()


def do_everything(work: Asana) -> None:
    work.check()
    for stream in ("projects", "tasks", "users"):
        pages = list(work.read(stream, None))
        list(work.read(stream, pages[-1].cursor))
        work.get(stream, pages[0].ids[:2])

    def write(stream: str, op: Any, *payloads: dict[str, Any], ids: tuple[str | None, ...] = (None, None)) -> list[str]:
        writes = [Write(str(n), op, ids[n], payload, f"key {n}") for n, payload in enumerate(payloads)]
        receipts = work.write(stream, writes)
        assert [one.outcome for one in receipts] == ["done"] * len(writes), receipts
        return [str(one.source_id) for one in receipts]

    customs = [
        {"gid": FIELD_GID["Concord ID"], "text_value": "g-1"},
        {"name": "Kind", "enum_value": {"name": "Order"}},
        {"name": "Budget", "number_value": Decimal("12.50")},
        {"name": "Hand-over", "date_value": {"date": "2026-03-01"}},
    ]
    whole = {
        "name": "Zoo",
        "notes": "…",
        "start_on": "2026-01-05",
        "due_on": "2026-02-04",
        "owner": {"gid": "1207000000001002"},
        "custom_fields": customs,
        "current_status": {"color": "green"},
    }
    first, second = write("projects", "create", whole, {"name": "Zip"})
    work.find("projects", {"name": "Zip", "custom_fields[name=Concord ID].text_value": "g-1"})
    write("projects", "update", {"start_on": "2026-01-06"}, {"current_status": {"color": "blue"}}, ids=(first, second))
    write("projects", "update", {"owner": {"gid": None}, "notes": None}, ids=(first,))
    made = write("tasks", "create", {"name": "Pack", "projects": [{"gid": first}], "external": {"gid": "t-1"}})[0]
    work.find("tasks", {"external.gid": "t-1"})
    write("tasks", "update", {"completed": True, "projects": [{"gid": second}]}, ids=(made,))
    write("tasks", "delete", {}, ids=(made,))
    write("projects", "archive", {}, {}, ids=(first, second))
    write("projects", "delete", {}, {}, ids=(first, second))
    nowhere = {"name": "x", "custom_fields": [{"gid": "1", "text_value": "x"}]}
    assert work.write("projects", [Write("r", "create", None, nowhere, "k")])[0].outcome == "rejected"


def test_every_request_is_as_described(judge: Judge, exchanges: list[tuple[httpx.Request, httpx.Response]]) -> None:
    for request, answer in exchanges:
        judge.exchange(request, answer)
    asked = {(request.method, request.url.path.split("/")[3]) for request, _ in exchanges}
    assert {("POST", "batch"), ("PUT", "projects"), ("POST", "status_updates"), ("DELETE", "tasks")} <= asked


def test_the_judge_sees_an_unknown_field_and_an_unknown_parameter(
    judge: Judge, exchanges: list[tuple[httpx.Request, httpx.Response]]
) -> None:
    batch = next(one for one, _ in exchanges if one.url.path.endswith("/batch"))
    spoiled = batch.content.replace(b'"notes"', b'"nodes"')
    assert spoiled != batch.content
    with pytest.raises(OpenAPIError):
        judge.request(httpx.Request("POST", batch.url, headers=batch.headers, content=spoiled))
    listed = next(one for one, _ in exchanges if one.url.path.endswith("/projects") and one.method == "GET")
    with pytest.raises(AssertionError):
        judge.request(httpx.Request("GET", listed.url.copy_add_param("modified_since", "2026-01-01T00:00:00Z")))
