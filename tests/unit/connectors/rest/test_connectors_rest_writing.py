"""Writes from a manifest: one receipt a write, whatever the system answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from canonical.declarations.manifest import read_manifest
from canonical.declarations.shapes import Notes
from canonical.declarations.yaml import read_yaml
from connectors.protocol import Ambiguous, AuthFailed, Context, Misdeclared, RateLimited, Receipt, Write
from connectors.rest import RestConnector

Handler = Callable[[httpx.Request], httpx.Response]


def connector(operations: str, handler: Handler) -> RestConnector:
    text = f"auth: {{kind: none}}\nstreams:\n  things:\n    path: /things\n    key: id\n{operations}"
    notes = Notes()
    node, problems = read_yaml("connectors/erp.yaml", text.encode())
    manifest = read_manifest(notes, node, "erp")
    assert not problems
    assert not notes.problems, notes.problems
    return RestConnector(
        Context("erp", {"url": "https://erp.example"}, {}), manifest, transport=httpx.MockTransport(handler)
    )


def create(ref: str, /, **payload: Any) -> Write:
    return Write(ref, "create", None, payload, f"key-{ref}")


def update(ref: str, source_id: str, /, **payload: Any) -> Write:
    return Write(ref, "update", source_id, payload, f"key-{ref}")


SINGLE = """
    create: {method: POST, path: /things, body: wrapped, wrap: thing, id: thing.id, record: thing}
    update: {method: PATCH, path: "/things/{id}", error: error}
    archive: {method: PATCH, path: "/things/{id}", fields: {status: archived}}
    delete: {method: DELETE, path: "/things/{id}"}
"""


def one(handler: Handler, write: Write, operations: str = SINGLE) -> Receipt:
    return connector(operations, handler).write("things", [write])[0]


def test_a_create_carries_fields_and_brings_the_id() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content) == {"thing": {"name": "a"}}
        return httpx.Response(201, content=b'{"thing": {"id": 7, "total": 1.10}}')

    receipt = one(handler, create("r", name="a"))
    assert (receipt.outcome, receipt.source_id, receipt.record) == ("done", "7", b'{"id": 7, "total": 1.10}')


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [(201, b"", "unknown"), (201, b"{}", "unknown"), (202, b"", "unknown"), (204, b"", "unknown"),
     (400, b'{"message": "name is blank"}', "rejected"), (409, b"{}", "rejected"), (422, b"", "rejected")],
)  # fmt: skip
def test_a_create_that_is_unclear_or_refused(status: int, body: bytes, outcome: str) -> None:
    receipt = one(lambda _: httpx.Response(status, content=body), create("r", name="a"))
    assert receipt.outcome == outcome
    assert receipt.source_id is None
    if body.startswith(b'{"message'):
        assert receipt.reason is not None
        assert "name is blank" in receipt.reason


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [(204, b"", "done"), (200, b"", "done"), (200, b'{"id": 7}', "done"), (200, b'{"id": 8}', "unknown"),
     (202, b"", "unknown"), (200, b'{"id": 7, "error": "locked"}', "rejected"), (200, b'{"error": []}', "done"),
     (404, b"", "rejected")],
)  # fmt: skip
def test_an_update_is_judged_by_what_the_answer_says(status: int, body: bytes, outcome: str) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/things/7"
        assert json.loads(request.content) == {"name": "b"}
        return httpx.Response(status, content=body)

    assert one(handler, update("r", "7", name="b")).outcome == outcome


@pytest.mark.parametrize("op", ["archive", "delete"])
@pytest.mark.parametrize("status", [204, 404, 410])
def test_what_is_gone_needs_no_second_end(op: Any, status: int) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.content == (b'{"status":"archived"}' if op == "archive" else b"")
        return httpx.Response(status)

    assert one(handler, Write("r", op, "7", {}, "k")).outcome == "done"


def test_an_unclear_answer_is_unknown_and_a_clear_one_stops_the_rest() -> None:
    answers = iter([httpx.Response(200), httpx.Response(500), httpx.Response(401)])
    writes = [update(str(number), str(number), a=1) for number in range(4)]
    receipts = connector(SINGLE, lambda _: next(answers)).write("things", writes)
    assert [receipt.outcome for receipt in receipts] == ["done", "unknown", "retry", "retry"]


def test_nothing_done_is_raised() -> None:
    with pytest.raises(AuthFailed):
        one(lambda _: httpx.Response(401), update("r", "7"))
    with pytest.raises(RateLimited):
        one(lambda _: httpx.Response(429, headers={"retry-after": "9"}), update("r", "7"))
    with pytest.raises(Misdeclared, match="create"):
        one(lambda _: httpx.Response(200), create("r"), SINGLE.replace("create:", "# create:"))


BATCH = """
    create: {method: POST, path: /batch, body: wrapped, wrap: items, batch: 50, items: results, error: error, id: id,
             idempotency_header: Idempotency-Key%s}
    update: {method: PUT, path: /batch, body: array, batch: 50, items: results, error: error}
"""


def batch(answer: Any, writes: list[Write], more: str = "", status: int = 207) -> list[tuple[str, str | None]]:
    made = connector(BATCH % more, lambda _: httpx.Response(status, json=answer))
    return [(receipt.outcome, receipt.source_id) for receipt in made.write("things", writes)]


def test_items_are_matched_by_the_repeated_field() -> None:
    answer = {"results": [{"ref": "y", "id": 2}, {"ref": "other", "id": 9}, {"ref": "x", "error": "no"}]}
    writes = [create("a", ref="x"), create("b", ref="y"), create("c", ref="z")]
    assert batch(answer, writes, ", ref_field: ref") == [
        ("rejected", None), ("done", "2"), ("unknown", None), ("unknown", "9"),
    ]  # fmt: skip


def test_our_reference_is_sent_where_the_record_has_none() -> None:
    sent: list[Any] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.extend(json.loads(request.content)["items"])
        return httpx.Response(200, json={"results": [{"ref": one["ref"], "id": n} for n, one in enumerate(sent)]})

    made = connector(BATCH % ", ref_field: ref", handler)
    receipts = made.write("things", [create("b", n=2), create("a", n=1)])
    assert sent == [{"n": 1, "ref": "a"}, {"n": 2, "ref": "b"}], "in the order of their keys"
    assert [(receipt.ref, receipt.source_id) for receipt in receipts] == [("b", "1"), ("a", "0")]


def test_items_without_a_name_are_matched_by_position_only_if_all_are_there() -> None:
    writes = [create("a"), create("b")]
    assert batch({"results": [{"id": 1}, {"error": "no"}]}, writes) == [("done", "1"), ("rejected", None)]
    assert batch({"results": [{"id": 1}]}, writes) == [("unknown", None)] * 2
    assert batch({"nothing": 1}, writes) == [("unknown", None)] * 2


def test_updates_are_matched_by_id_and_carry_it() -> None:
    sent: list[Any] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.extend(json.loads(request.content))
        return httpx.Response(200, json={"results": [{"id": "2"}, {"id": "1", "error": "no"}]})

    receipts = connector(BATCH % "", handler).write(
        "things", [update("a", "1", n=1), update("b", "2"), update("c", "3")]
    )
    assert sent[0] == {"n": 1, "id": "1"}
    assert [receipt.outcome for receipt in receipts] == ["rejected", "done", "unknown"]


def test_a_batch_refused_as_a_whole_is_judged_one_by_one() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        items = json.loads(request.content)["items"]
        if any(one.get("bad") for one in items):
            return httpx.Response(422, json={"message": "bad item"})
        return httpx.Response(200, json={"results": [{"id": 1}]})

    receipts = connector(BATCH % "", handler).write("things", [create("a"), create("b", bad=True), create("c")])
    assert [receipt.outcome for receipt in receipts] == ["done", "rejected", "done"]


def test_the_same_batch_has_the_same_key_and_bytes() -> None:
    seen: list[tuple[str, bytes]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append((request.headers["idempotency-key"], request.content))
        raise httpx.ReadTimeout("no answer")

    made = connector(BATCH % "", handler)
    writes = [create("a", n=1), create("b", n=2)]
    for attempt in (writes, writes[::-1]):
        with pytest.raises(Ambiguous):
            made.write("things", attempt)
    assert seen[0] == seen[1]


def test_facts_come_from_the_manifest() -> None:
    facts = connector(BATCH % "", lambda _: httpx.Response(200)).facts("things")
    assert (facts.batch_size, facts.ops) == (50, frozenset({"create", "update"}))
