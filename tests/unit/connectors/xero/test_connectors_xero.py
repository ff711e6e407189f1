"""The Xero connector against books of Xero's shape."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from canonical.declarations.connectors import default_streams, read_defaults
from canonical.declarations.oauth import OAuth2
from canonical.landscape import Stream
from canonical.tokens import Grant
from connectors import registry
from connectors.protocol import (
    Ambiguous,
    Context,
    Misdeclared,
    Page,
    RateLimited,
    Rejected,
    Source,
    SystemFault,
    Target,
    Write,
)
from connectors.tokens import MemoryTokens
from connectors.xero import Xero
from connectors.xero.resources import RESOURCES
from sandbox.runner import TENANT_ID
from sandbox.seed import World

Make = Callable[..., Xero]
GONE = {"ARCHIVED", "GDPRREQUEST", "DELETED"}


@pytest.fixture
def make(ledger_wire: Any) -> Iterator[Make]:
    made: list[Xero] = []

    def build(settings: dict[str, Any] | None = None, tokens: MemoryTokens | None = None, **options: Any) -> Xero:
        shipped = default_streams(read_defaults("xero", *registry.defaults("xero")))
        streams = {name: Stream(name, options=options.get(name, {})) for name in shipped}
        known = settings or {"token": "secret", "tenant_id": TENANT_ID}
        limits = {"requests_per_minute": 10**6, "requests_per_day": 10**6}
        context = Context("books", {**known, **limits}, streams, tokens=tokens)
        made.append(Xero(context, transport=ledger_wire))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture
def books(make: Make) -> Xero:
    return make()


def ids(pages: list[Page]) -> list[str]:
    return [record for page in pages for record in page.ids]


def contact(ref: str, **payload: Any) -> Write:
    return Write(ref, "create", None, payload, f"key-{ref}")


def update(ref: str, source_id: str | None, **payload: Any) -> Write:
    return Write(ref, "update", source_id, payload, f"key-{ref}")


def archive(ref: str, source_id: str | None) -> Write:
    return Write(ref, "archive", source_id, {}, f"key-{ref}")


LINE = {"Description": "Kettle", "Quantity": Decimal("2.5"), "UnitAmount": Decimal("10.1234"), "AccountCode": "200"}


def invoice(ref: str, contact_id: str | None, **more: Any) -> Write:
    payload = {
        "Type": "ACCREC", "Contact": {"ContactID": contact_id}, "LineItems": [{**LINE, "TaxType": "OUTPUT2"}],
        "DueDate": "2027-01-01", "Status": "AUTHORISED", **more,
    }  # fmt: skip
    return Write(ref, "create", None, payload, f"key-{ref}")


def outcomes(receipts: Any) -> list[str]:
    return [receipt.outcome for receipt in receipts]


def test_roles_and_facts(books: Xero, make: Make) -> None:
    assert isinstance(books, Source)
    assert isinstance(books, Target)
    assert books.facts("contacts").batch_size == 50
    assert books.facts("contacts").write_class == "B"
    assert make(contacts={"external_id": "ContactNumber"}).facts("contacts").write_class == "A"
    books.check()


@pytest.mark.parametrize("stream", RESOURCES)
def test_a_sweep_reads_every_record_once(books: Xero, world: World, stream: str) -> None:
    pages = list(books.read(stream, None))
    id_field = RESOURCES[stream].id_field
    assert sorted(ids(pages)) == sorted(doc[id_field] for doc in world.accounting[stream])
    assert pages[-1].is_last
    gone = {i for page in pages for i, deleted in zip(page.ids, page.deleted, strict=True) if deleted}
    status = RESOURCES[stream].status
    if stream != "payments" and status:
        assert gone == {doc[id_field] for doc in world.accounting[stream] if doc[status] in GONE}


def test_many_pages_are_read_at_once_in_order(
    books: Xero, world: World, ledger_wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.xero.reading.PAGE_SIZE", 7)
    pages = list(books.read("invoices", None))
    assert ids(pages) == sorted(doc["InvoiceID"] for doc in world.accounting["invoices"])
    assert {page.total for page in pages} == {len(world.accounting["invoices"])}
    assert len(pages) == -(-len(world.accounting["invoices"]) // 7) == len(ledger_wire.requests)


def test_the_next_read_sees_what_changed_and_archived_ones(books: Xero) -> None:
    cursor = list(books.read("contacts", None))[-1].cursor
    first, second = books.write("contacts", [contact("a", Name="Zoo A"), contact("b", Name="Zoo B")])
    books.write("contacts", [archive("c", first.source_id)])
    pages = list(books.read("contacts", cursor))
    seen = {i: deleted for page in pages for i, deleted in zip(page.ids, page.deleted, strict=True)}
    assert (seen[str(first.source_id)], seen[str(second.source_id)]) == (True, False)
    assert len(seen) < 10
    assert pages[-1].cursor["since"] > cursor["since"]


def test_a_list_that_loses_records_on_its_way_is_not_complete(books: Xero, ledger_wire: Any) -> None:
    def intercept(request: httpx.Request) -> httpx.Response:
        page = int(request.url.params["page"])
        total = {"pagination": {"pageCount": 2, "itemCount": 4}}
        found = [{"ContactID": f"{page}{number}"} for number in range(2 if page == 1 else 1)]
        return httpx.Response(200, json={**total, "Contacts": found})

    ledger_wire.intercept = intercept
    pages = list(books.read("contacts", {"since": "2026-01-01T00:00:00.000Z"}))
    assert not pages[-1].is_last
    assert pages[-1].cursor == {"since": "2026-01-01T00:00:00.000Z"}


def test_records_by_id(books: Xero, world: World) -> None:
    for stream, resource in RESOURCES.items():
        wanted = [doc[resource.id_field] for doc in world.accounting[stream][:50]]
        unknown = "5b7f0c52-2a9e-4d1b-9c57-c0c0cd5a4dff"
        assert sorted(one.id for one in books.get(stream, [*wanted, unknown])) == sorted(wanted)
    assert books.get("contacts", ["no id of Xero's"]) == []


def test_find_is_exact_and_sees_only_live_records(books: Xero) -> None:
    made = books.write("contacts", [contact("a", Name="Zoo", TaxNumber="GB999")])[0]
    assert [one.id for one in books.find("contacts", {"TaxNumber": "GB999", "Name": "Zoo"})] == [made.source_id]
    assert books.find("contacts", {"TaxNumber": "GB9"}) == []
    books.write("contacts", [archive("b", made.source_id)])
    assert books.find("contacts", {"TaxNumber": "GB999"}) == []


@pytest.mark.parametrize("value", ['a" || Name!="', "a\\", "a\nb"])
def test_a_search_cannot_be_led_astray(books: Xero, ledger_wire: Any, value: str) -> None:
    with pytest.raises(Rejected):
        books.find("contacts", {"Name": value})
    assert ledger_wire.requests == []


@pytest.mark.parametrize("field", ["Phones[PhoneType=DEFAULT].PhoneNumber", "Name==1||Name", ""])
def test_only_fields_can_be_searched(books: Xero, field: str) -> None:
    with pytest.raises(Misdeclared):
        books.find("contacts", {field: "x"})


def test_a_mixed_list_has_an_outcome_for_each(books: Xero) -> None:
    writes = [contact("c", Name="C", EmailAddress="nope"), contact("a", Name="A"), contact("b", Name="")]
    receipts = books.write("contacts", writes)
    assert outcomes(receipts) == ["rejected", "done", "rejected"]
    assert [receipt.ref for receipt in receipts] == ["c", "a", "b"]
    assert receipts[0].reason == "Email address must be valid."


def test_the_same_writes_again_are_answered_again(books: Xero, ledger_wire: Any) -> None:
    writes = [contact("a", Name="A"), contact("b", Name="B")]
    first = {receipt.ref: receipt.source_id for receipt in books.write("contacts", writes)}
    again = {receipt.ref: receipt.source_id for receipt in books.write("contacts", writes[::-1])}
    assert first == again
    keys = {request.headers["idempotency-key"] for request in ledger_wire.requests}
    assert len(keys) == 1
    assert len(keys.pop()) <= 100


def test_a_key_used_for_something_else_is_unknown(books: Xero) -> None:
    books.write("contacts", [contact("a", Name="A")])
    assert outcomes(books.write("contacts", [contact("a", Name="Another")])) == ["unknown"]


def test_with_an_external_id_a_create_twice_is_one_record(make: Make) -> None:
    books = make(contacts={"external_id": "ContactNumber"})
    payload = {"Name": "A", "ContactNumber": "golden-1"}
    first = books.write("contacts", [Write("a", "create", None, payload, "k1")])[0]
    again = books.write("contacts", [Write("a", "create", None, payload, "k2")])[0]
    assert first.source_id == again.source_id


def test_empty_values(books: Xero, ledger_wire: Any) -> None:
    made = books.write("contacts", [contact("a", Name="A", TaxNumber="GB1", FirstName=None, PaymentTerms=None)])[0]
    assert ledger_wire.bodies("/Contacts")[0] == {"Contacts": [{"Name": "A", "TaxNumber": "GB1"}]}
    books.write("contacts", [update("b", made.source_id, TaxNumber=None, PaymentTerms=None)])
    assert ledger_wire.bodies("/Contacts")[1] == {"Contacts": [{"TaxNumber": "", "ContactID": made.source_id}]}


def test_a_whole_phone_number_takes_the_codes_away(books: Xero, ledger_wire: Any) -> None:
    books.write("contacts", [contact("a", Name="A", Phones=[{"PhoneType": "DEFAULT", "PhoneNumber": "+44113"}])])
    sent = ledger_wire.bodies("/Contacts")[0]["Contacts"][0]["Phones"][0]
    assert (sent["PhoneCountryCode"], sent["PhoneAreaCode"], sent["PhoneNumber"]) == ("", "", "+44113")


def test_amounts_keep_their_digits(books: Xero, ledger_wire: Any) -> None:
    customer = books.write("contacts", [contact("a", Name="A")])[0].source_id
    made = books.write("invoices", [invoice("b", customer)])[0]
    assert b'"Quantity":2.5,"UnitAmount":10.1234' in ledger_wire.requests[-1].content
    assert json.loads(made.record or b"{}")["SubTotal"] == 25.31


def test_documents_are_deleted_or_voided_by_their_state(books: Xero) -> None:
    customer = books.write("contacts", [contact("a", Name="A")])[0].source_id
    draft, open_one = books.write("invoices", [invoice("b", customer, Status="DRAFT"), invoice("c", customer)])
    unknown = "5b7f0c52-2a9e-4d1b-9c57-c0c0cd5a4dff"
    writes = [archive("d", unknown), archive("e", open_one.source_id), archive("f", draft.source_id)]
    assert outcomes(books.write("invoices", writes)) == ["done", "done", "done"]
    found = {one.id: one for one in books.get("invoices", [str(draft.source_id), str(open_one.source_id)])}
    assert json.loads(found[str(open_one.source_id)].payload)["Status"] == "VOIDED"
    assert found[str(draft.source_id)].deleted
    assert outcomes(books.write("invoices", [archive("g", open_one.source_id)])) == ["done"]


def test_payments_are_taken_back(books: Xero) -> None:
    customer = books.write("contacts", [contact("a", Name="A")])[0].source_id
    claim = books.write("invoices", [invoice("b", customer)])[0].source_id
    payload = {
        "Invoice": {"InvoiceID": claim},
        "Account": {"Code": "090"},
        "Amount": Decimal("1.50"),
        "Reference": "R1",
    }
    made = books.write("payments", [Write("c", "create", None, payload, "k")])[0]
    assert outcomes(books.write("payments", [archive("d", made.source_id)])) == ["done"]
    assert outcomes(books.write("payments", [archive("e", made.source_id)])) == ["done"]
    with pytest.raises(Misdeclared, match="found update"):
        books.write("payments", [update("f", made.source_id)])


def test_items_are_created_updated_and_deleted(books: Xero) -> None:
    made = books.write("items", [contact("a", Code="Z-1", Name="Zip")])[0]
    assert outcomes(books.write("items", [update("b", made.source_id, Code="Z-1", Name="Zap")])) == ["done"]
    delete = Write("c", "delete", made.source_id, {}, "k")
    assert outcomes(books.write("items", [delete, delete])) == ["done", "done"]
    assert books.get("items", [str(made.source_id)]) == []


@pytest.mark.parametrize("body", [b"", b"<html>", b"{"])
def test_a_write_without_a_clear_answer_is_ambiguous(books: Xero, ledger_wire: Any, body: bytes) -> None:
    ledger_wire.intercept = lambda _: httpx.Response(200, content=body)
    with pytest.raises(Ambiguous):
        books.write("contacts", [contact("a", Name="A")])


def test_an_answer_that_speaks_of_others(books: Xero, ledger_wire: Any) -> None:
    other = {"ContactID": "1", "Name": "Other", "StatusAttributeString": "OK"}
    mine = {"ContactID": "2", "Name": "B", "StatusAttributeString": "OK"}
    ledger_wire.intercept = lambda _: httpx.Response(200, json={"Contacts": [other, mine]})
    receipts = books.write("contacts", [contact("a", Name="A"), contact("b", Name="B")])
    assert [(one.outcome, one.source_id) for one in receipts] == [("unknown", None), ("done", "2")]
    receipts = books.write("contacts", [update("a", "7"), update("b", "2")])
    assert outcomes(receipts) == ["unknown", "done"]


def test_a_list_refused_as_a_whole_is_judged_one_by_one(books: Xero, ledger_wire: Any) -> None:
    def intercept(request: httpx.Request) -> httpx.Response | None:
        if b'"bad"' in request.content:
            return httpx.Response(400, json={"ErrorNumber": 14, "Message": "PostDataInvalidException"})
        return None

    ledger_wire.intercept = intercept
    receipts = books.write("contacts", [contact("a", Name="A"), contact("b", Name="bad"), contact("c", Name="C")])
    assert outcomes(receipts) == ["done", "rejected", "done"]


def test_the_daily_limit_is_told_with_its_wait(books: Xero, ledger_wire: Any) -> None:
    headers = {"retry-after": "40000", "x-rate-limit-problem": "day"}
    ledger_wire.intercept = lambda _: httpx.Response(429, headers=headers)
    with pytest.raises(RateLimited) as raised:
        list(books.read("contacts", None))
    assert raised.value.wait_seconds == 900


def test_an_answer_without_its_list_is_a_fault(books: Xero, ledger_wire: Any) -> None:
    ledger_wire.intercept = lambda _: httpx.Response(200, json={"Status": "OK"})
    with pytest.raises(SystemFault):
        list(books.read("contacts", None))


def test_a_custom_connection_fetches_its_token(make: Make, ledger_wire: Any) -> None:
    def intercept(request: httpx.Request) -> httpx.Response | None:
        if request.url.host != "identity.xero.com":
            return None
        assert request.headers["authorization"].startswith("Basic ")
        assert b"grant_type=client_credentials" in request.content
        return httpx.Response(200, json={"access_token": "secret", "expires_in": 1800})

    ledger_wire.intercept = intercept
    oauth2 = OAuth2("client_credentials", "https://identity.xero.com/connect/token", "id", "hush")
    books = make({"oauth2": oauth2, "tenant_id": TENANT_ID})
    assert list(books.read("items", None))
    assert ledger_wire.requests[0].url.path == "/connect/token"
    with pytest.raises(Misdeclared, match="`token` or `oauth2`"):
        make({"tenant_id": TENANT_ID})


def test_an_authorisation_without_its_organisation_names_them(make: Make, ledger_wire: Any) -> None:
    oauth2 = OAuth2("authorization_code", "https://identity.xero.com/connect/token", "id", "hush")
    tokens = MemoryTokens()
    tokens.save(Grant("secret", "refresh", 1800.0), 0)
    books = make({"oauth2": oauth2}, tokens=tokens)
    with pytest.raises(Misdeclared, match=rf"expected `tenant_id`; .* opens: {TENANT_ID} \(Concord Sandbox Ltd\)"):
        books.check()
    make({"oauth2": oauth2, "tenant_id": TENANT_ID}, tokens=tokens).check()


@pytest.mark.parametrize(("stream", "options"), [("accounts", {}), ("contacts", {"pagesize": 5})])
def test_what_xero_has_not_is_refused(stream: str, options: dict[str, Any]) -> None:
    context = Context("books", {"token": "x"}, {stream: Stream(stream, options=options)})
    with pytest.raises(Misdeclared):
        Xero(context)
