"""The HubSpot connector against a CRM of HubSpot's shape."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from canonical.declarations.connectors import default_streams, read_defaults
from canonical.landscape import Stream
from connectors import registry
from connectors.hubspot import HubSpot, shapes
from connectors.protocol import (
    Ambiguous,
    AuthFailed,
    Context,
    Misdeclared,
    Page,
    RateLimited,
    Receipt,
    Source,
    SystemFault,
    Target,
    Write,
)
from sandbox.seed import World
from sandbox.store import Store

Make = Callable[..., HubSpot]


@pytest.fixture
def make(crm_wire: Any) -> Iterator[Make]:
    made: list[HubSpot] = []

    def build(token: str = "secret", **options: Any) -> HubSpot:
        shipped = default_streams(read_defaults("hubspot", *registry.defaults("hubspot")))
        streams = {
            name: Stream(name, options={**stream.options, **options.get(name, {})}) for name, stream in shipped.items()
        }
        settings = {"token": token, "requests_per_10_seconds": 10**6, "searches_per_second": 10**6}
        made.append(HubSpot(Context("crm", settings, streams), transport=crm_wire))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture
def crm(make: Make) -> HubSpot:
    return make()


def rows(pages: list[Page]) -> dict[str, bool]:
    return {record: gone for page in pages for record, gone in zip(page.ids, page.deleted, strict=True)}


def live(world: World, stream: str) -> set[str]:
    return {doc["id"] for doc in world.crm[stream] if not doc["archived"] and "merged_into" not in doc}


def create(ref: str, **payload: Any) -> Write:
    return Write(ref, "create", None, payload, f"key-{ref}")


def company(ref: str, **properties: Any) -> Write:
    return create(ref, properties=properties)


def outcomes(receipts: Any) -> list[str]:
    return [receipt.outcome for receipt in receipts]


def test_roles_and_facts(crm: HubSpot, make: Make) -> None:
    assert isinstance(crm, Source)
    assert isinstance(crm, Target)
    assert crm.facts("companies").write_class == "B"
    assert make(companies={"external_id": "concord_id"}).facts("companies").write_class == "A"
    crm.check()


def test_a_wrong_token_is_a_matter_for_a_person(make: Make) -> None:
    with pytest.raises(AuthFailed):
        make(token="wrong").check()


@pytest.mark.parametrize("stream", ["companies", "contacts"])
def test_a_sweep_reads_all_live_records_and_the_bin(crm: HubSpot, world: World, stream: str) -> None:
    pages = list(crm.read(stream, None))
    found = rows(pages)
    assert {record for record, gone in found.items() if not gone} == live(world, stream)
    assert {record for record, gone in found.items() if gone} == {
        doc["id"] for doc in world.crm[stream] if doc["archived"] and "merged_into" not in doc
    }
    assert [page.is_last for page in pages] == [False] * (len(pages) - 1) + [True]
    assert [page.cursor for page in pages[:-1]] == [{}] * (len(pages) - 1)
    assert pages[-1].cursor["count"] == len(live(world, stream))


@pytest.mark.parametrize("stream", ["companies", "contacts"])
def test_the_next_read_sees_what_changed(crm: HubSpot, crm_store: Store, stream: str) -> None:
    cursor = list(crm.read(stream, None))[-1].cursor
    name = "name" if stream == "companies" else "lastname"
    done = crm.write(stream, [create("a", properties={name: "Zebra"})])[0]
    pages = list(crm.read(stream, cursor))
    found = {record: payload for page in pages for record, payload in zip(page.ids, page.payloads, strict=True)}
    assert json.loads(found[str(done.source_id)])["properties"][name] == "Zebra"
    assert pages[-1].is_last
    assert pages[-1].cursor["since"] > cursor["since"]


@pytest.mark.parametrize("stream", ["companies", "contacts"])
def test_a_record_reads_the_same_whichever_way_it_came(crm: HubSpot, stream: str) -> None:
    listed = {i: p for page in crm.read(stream, None) for i, p in zip(page.ids, page.payloads, strict=True)}
    since = {"since": "2024-06-01T00:00:00Z", "count": 10**6}
    searched = {i: p for page in crm.read(stream, since) for i, p in zip(page.ids, page.payloads, strict=True)}
    got = {record.id: record.payload for record in crm.get(stream, list(listed)[:10])}
    assert searched
    assert all(listed[record] == payload for record, payload in {**searched, **got}.items())


def test_when_most_contacts_changed_the_list_is_walked(crm: HubSpot, crm_wire: Any, world: World) -> None:
    cursor = {"since": "2020-01-01T00:00:00Z", "count": 100}
    pages = list(crm.read("contacts", cursor))
    assert {record for record, gone in rows(pages).items() if not gone} == live(world, "contacts")
    assert len(crm_wire.requests) < len(live(world, "contacts"))
    assert pages[-1].cursor["since"] > cursor["since"]


def test_search_goes_on_beyond_its_depth(
    crm: HubSpot, crm_wire: Any, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.hubspot.reading.SEARCH_PAGE_SIZE", 20)
    monkeypatch.setattr("connectors.hubspot.reading.SEARCH_DEPTH", 60)
    pages = list(crm.read("companies", {"since": "2020-01-01T00:00:00Z"}))
    assert {record for record, gone in rows(pages).items() if not gone} == live(world, "companies")
    searches = crm_wire.bodies("/search")
    assert max(int(one.get("after", 0)) for one in searches) <= 40
    assert len({one["filterGroups"][0]["filters"][0]["value"] for one in searches}) > 2


def test_every_search_page_moves_the_cursor(crm: HubSpot) -> None:
    pages = list(crm.read("companies", {"since": "2020-01-01T00:00:00Z", "count": 5}))
    marks = [page.cursor["since"] for page in pages]
    assert marks == sorted(marks)
    assert all(page.cursor["count"] == 5 for page in pages)


@pytest.mark.parametrize("archived", ["always", "sweep", "never"])
def test_the_bin_is_read_when_declared(make: Make, archived: str) -> None:
    crm = make(companies={"archived": archived})
    sweep = list(crm.read("companies", None))
    following = list(crm.read("companies", sweep[-1].cursor))
    assert any(rows(sweep).values()) == (archived != "never")
    assert any(rows(following).values()) == (archived == "always")
    assert sweep[-1].is_last
    assert following[-1].is_last


def test_a_merged_record_is_gone(crm: HubSpot, world: World) -> None:
    merged = [doc["id"] for stream in ("companies", "contacts") for doc in world.crm[stream] if doc.get("merged_into")]
    assert merged
    found = [record.id for stream in ("companies", "contacts") for record in crm.get(stream, merged)]
    assert found == []


def test_find_is_exact_and_sees_only_live_records(crm: HubSpot) -> None:
    first, second = crm.write("companies", [company("a", name="Zoo", vat_number="GB1"), company("b", name="zoo")])
    assert [one.id for one in crm.find("companies", {"properties.name": "Zoo"})] == [first.source_id]
    assert [one.id for one in crm.find("companies", {"properties.vat_number": "GB1"})] == [first.source_id]
    crm.write("companies", [Write("c", "archive", first.source_id, {}, "k")])
    assert crm.find("companies", {"properties.vat_number": "GB1"}) == []
    assert second.outcome == "done"
    with pytest.raises(Misdeclared, match=r"properties\.NAME"):
        crm.find("companies", {"associations.x": "1"})


def test_a_mixed_batch_has_an_outcome_for_each(crm: HubSpot) -> None:
    writes = [company("a", name="A"), company("b", name="B", nope="1"), company("c", name="C", lifecyclestage="star")]
    receipts = crm.write("companies", writes)
    assert outcomes(receipts) == ["done", "rejected", "rejected"]
    assert receipts[1].field == "properties.nope"
    assert receipts[2].field == "properties.lifecyclestage"
    assert json.loads(receipts[0].record or b"{}")["properties"]["name"] == "A"


def test_updates_write_only_their_fields_and_empty_is_text(crm: HubSpot, crm_wire: Any) -> None:
    made = crm.write("companies", [company("a", name="A", phone="1", city=None)])[0]
    assert crm_wire.bodies("/batch/create")[0]["inputs"][0]["properties"] == {"name": "A", "phone": "1"}
    changes = {"phone": None, "numberofemployees": 5, "city": "York"}
    changes.pop("numberofemployees")
    update = Write("b", "update", made.source_id, {"properties": changes}, "k")
    missing = Write("c", "update", "999", {"properties": {"city": "York"}}, "k2")
    receipts = crm.write("companies", [update, missing])
    assert crm_wire.bodies("/batch/update")[0]["inputs"][0]["properties"] == {"phone": "", "city": "York"}
    assert [(one.outcome, one.status) for one in receipts] == [("done", 207), ("rejected", 404)]


def test_with_an_external_id_a_create_twice_is_one_record(make: Make, world: World) -> None:
    crm = make(companies={"external_id": "concord_id"})
    write = company("a", name="A", concord_id="golden-1")
    first, again = crm.write("companies", [write])[0], crm.write("companies", [write])[0]
    assert first.source_id == again.source_id
    assert len(crm.find("companies", {"properties.concord_id": "golden-1"})) == 1


@pytest.mark.parametrize("external_id", [None, "concord_id"])
def test_contacts_are_associated_with_their_company(make: Make, external_id: str | None) -> None:
    crm = make(contacts={"external_id": external_id} if external_id else {})
    companies = [one.source_id for one in crm.write("companies", [company("a", name="A"), company("b", name="B")])]
    more = {"concord_id": "golden-2"} if external_id else {}
    given = {"companies": {"results": [{"id": companies[0]}]}}
    made = crm.write("contacts", [create("c", properties={"email": "z@z.example", **more}, associations=given)])[0]
    assert association(crm, made) == companies[0]
    moved = Write("d", "update", made.source_id, {"associations": {"companies": companies[1]}}, "k")
    assert outcomes(crm.write("contacts", [moved])) == ["done"]
    assert association(crm, made) == companies[1]


def association(crm: HubSpot, receipt: Receipt) -> str:
    found: str = json.loads(crm.get("contacts", [str(receipt.source_id)])[0].payload)["associations"]["companies"][
        "results"
    ][0]["id"]
    return found


def test_a_created_record_keeps_its_id_though_its_association_failed(make: Make) -> None:
    crm = make(contacts={"external_id": "concord_id"})
    properties = {"email": "z@z.example", "concord_id": "g"}
    made = crm.write("contacts", [create("c", properties=properties, associations={"companies": "404404"})])[0]
    assert (made.outcome, made.field) == ("done", "associations.companies")
    assert made.source_id
    again = Write("d", "update", made.source_id, {"associations": {"companies": "404404"}}, "k")
    assert outcomes(crm.write("contacts", [again])) == ["rejected"]


def test_archives_and_deletes(crm: HubSpot) -> None:
    made = crm.write("companies", [company("a", name="A")])[0]
    archive = Write("b", "archive", made.source_id, {}, "k")
    assert outcomes(crm.write("companies", [archive, Write("c", "archive", "999", {}, "k2")])) == ["done", "done"]
    with pytest.raises(Misdeclared, match="archived, not deleted"):
        crm.write("companies", [Write("d", "delete", made.source_id, {}, "k")])


def test_results_in_another_order_and_without_our_reference(make: Make, crm_wire: Any) -> None:
    crm = make(companies={"external_id": "concord_id"})
    results = [{"id": "2", "properties": {"concord_id": "g2"}}, {"id": "1", "properties": {"concord_id": "g1"}}]
    crm_wire.intercept = lambda _: httpx.Response(200, json={"status": "COMPLETE", "results": results})
    writes = [company("a", concord_id="g1"), company("b", concord_id="g2"), company("c", concord_id="g3")]
    receipts = crm.write("companies", writes)
    assert [(one.outcome, one.source_id) for one in receipts] == [("done", "1"), ("done", "2"), ("unknown", None)]


def test_a_batch_refused_as_a_whole_is_judged_one_by_one(crm: HubSpot, crm_wire: Any) -> None:
    def intercept(request: httpx.Request) -> httpx.Response | None:
        if b'"bad"' in request.content:
            return httpx.Response(400, json={"status": "error", "message": "invalid", "category": "VALIDATION_ERROR"})
        return None

    crm_wire.intercept = intercept
    receipts = crm.write("companies", [company("a", name="A"), company("b", name="bad"), company("c", name="C")])
    assert outcomes(receipts) == ["done", "rejected", "done"]


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"status": "PENDING"}', b"{"])
def test_a_write_without_a_clear_answer_is_ambiguous(crm: HubSpot, crm_wire: Any, body: bytes) -> None:
    crm_wire.intercept = lambda _: httpx.Response(200, content=body)
    with pytest.raises(Ambiguous):
        crm.write("companies", [company("a", name="A")])


def test_limits_are_respected(crm: HubSpot, crm_wire: Any) -> None:
    crm_wire.intercept = lambda _: httpx.Response(429, headers={"retry-after": "100"}, json={"status": "error"})
    with pytest.raises(RateLimited):
        crm.write("companies", [company("a", name="A")])


def test_a_list_that_is_none_is_a_fault(crm: HubSpot, crm_wire: Any) -> None:
    crm_wire.intercept = lambda _: httpx.Response(200, json={"status": "error", "message": "maintenance"})
    with pytest.raises(SystemFault):
        list(crm.read("companies", None))


@pytest.mark.parametrize("options", [{"propertys": []}, {"properties": "name"}, {"archived": "no"}])
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Misdeclared):
        shapes.object_type("crm", "companies", options)
