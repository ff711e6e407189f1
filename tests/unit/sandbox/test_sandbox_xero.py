"""The Xero-shaped ledger: what a connector relies on. Shapes are judged in tests/contract."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from sandbox.runner import fill_store
from sandbox.seed import World, build_world
from sandbox.store import Store
from sandbox.xero import BASE, create_app
from sandbox.xero_books import Books
from sandbox.xero_values import Invalid

HEADERS = {"authorization": "Bearer secret", "xero-tenant-id": "tenant"}


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(seed=7, scale=0.05)


@pytest.fixture
def store(world: World) -> Iterator[Store]:
    store = Store(":memory:")
    fill_store(store, world.accounting)
    yield store
    store.close()


@pytest.fixture
def ledger(store: Store) -> TestClient:
    return TestClient(create_app(store, "secret", "tenant"), base_url=f"http://ledger{BASE}/", headers=HEADERS)


def listed(ledger: TestClient, segment: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ledger.get(segment, params={"page": 1, "pageSize": 1000, **query}).json()[segment]
    return found


def invoice_of(contact_id: str, **fields: Any) -> dict[str, Any]:
    line = {"Description": "Shelf", "Quantity": 2, "UnitAmount": 10.005, "AccountCode": "200", "TaxType": "OUTPUT2"}
    shared = {"Type": "ACCREC", "Contact": {"ContactID": contact_id}, "LineItems": [line], "Status": "AUTHORISED"}
    return {**shared, "Date": "2026-01-05", "DueDate": "2026-02-04", **fields}


def test_token_and_tenant_are_required(ledger: TestClient) -> None:
    assert ledger.get("Contacts", headers={"authorization": "Bearer no"}).status_code == 401
    assert ledger.get("Contacts", headers={"xero-tenant-id": "other"}).status_code == 403


def test_pages_show_each_record_once(ledger: TestClient, world: World) -> None:
    found: list[str] = []
    for page in range(1, 100):
        answer = ledger.get("Invoices", params={"page": page, "pageSize": 30}).json()
        found += [one["InvoiceID"] for one in answer["Invoices"]]
        if page == answer["pagination"]["pageCount"]:
            break
    assert len(found) == len(set(found)) == len(world.accounting["invoices"])


def test_archived_contacts_are_shown_when_asked_for(ledger: TestClient) -> None:
    live, every = listed(ledger, "Contacts"), listed(ledger, "Contacts", includeArchived="true")
    assert {one["ContactStatus"] for one in live} == {"ACTIVE"}
    assert {one["ContactStatus"] for one in every} == {"ACTIVE", "ARCHIVED"}


def test_balances_are_what_open_invoices_have_due(ledger: TestClient) -> None:
    due: dict[str, float] = {}
    for one in listed(ledger, "Invoices"):
        if one["Status"] == "AUTHORISED":
            contact_id = one["Contact"]["ContactID"]
            due[contact_id] = round(due.get(contact_id, 0) + one["AmountDue"], 2)
    for contact in listed(ledger, "Contacts"):
        assert contact["Balances"]["AccountsReceivable"]["Outstanding"] == due.get(contact["ContactID"], 0)


def test_a_payment_moves_invoice_and_contact(ledger: TestClient) -> None:
    contact = listed(ledger, "Contacts")[0]
    body = {"Invoices": [invoice_of(contact["ContactID"])]}
    made = ledger.put("Invoices", json=body, params={"unitdp": 4}).json()["Invoices"][0]
    assert (made["SubTotal"], made["TotalTax"], made["Total"]) == (20.01, 4.0, 24.01)
    payment = {"Invoice": {"InvoiceID": made["InvoiceID"]}, "Account": {"Code": "090"}, "Amount": 24.01}
    too_much = ledger.put("Payments", json={"Payments": [{**payment, "Amount": 24.02}]})
    assert too_much.status_code == 400
    before = ledger.get(f"Contacts/{contact['ContactID']}").json()["Contacts"][0]
    assert ledger.put("Payments", json={"Payments": [payment]}).status_code == 200
    paid = ledger.get(f"Invoices/{made['InvoiceID']}").json()["Invoices"][0]
    after = ledger.get(f"Contacts/{contact['ContactID']}").json()["Contacts"][0]
    assert (paid["Status"], paid["AmountDue"], paid["AmountPaid"]) == ("PAID", 0.0, 24.01)
    assert after["UpdatedDateUTC"] > before["UpdatedDateUTC"]
    assert ledger.put("Payments", json={"Payments": [payment]}).status_code == 400


def test_changed_since_shows_only_what_moved(ledger: TestClient) -> None:
    contact_id = listed(ledger, "Contacts")[2]["ContactID"]
    ledger.post("Contacts", json={"Contacts": [{"ContactID": contact_id, "FirstName": "Moved"}]})
    answer = ledger.get("Contacts", params={"page": 1}, headers={"If-Modified-Since": "2026-01-01T00:00:00"})
    assert [one["ContactID"] for one in answer.json()["Contacts"]] == [contact_id]


def test_a_write_that_changes_nothing_leaves_the_change_mark(ledger: TestClient) -> None:
    contact = listed(ledger, "Contacts")[2]
    body = {"Contacts": [{"ContactID": contact["ContactID"], "Name": contact["Name"]}]}
    again = ledger.post("Contacts", json=body).json()["Contacts"][0]
    assert again["UpdatedDateUTC"] == contact["UpdatedDateUTC"]


def test_active_contacts_never_share_a_name(ledger: TestClient) -> None:
    name = listed(ledger, "Contacts")[0]["Name"]
    refused = ledger.put("Contacts", json={"Contacts": [{"Name": name.upper()}]})
    assert refused.status_code == 400
    assert "already assigned" in refused.json()["Elements"][0]["ValidationErrors"][0]["Message"]


def test_contacts_are_known_by_number(ledger: TestClient) -> None:
    body = {"Contacts": [{"Name": "Numbered Ltd", "ContactNumber": "G-7"}]}
    first = ledger.post("Contacts", json=body).json()["Contacts"][0]
    body["Contacts"][0]["Name"] = "Renumbered Ltd"
    second = ledger.post("Contacts", json=body).json()["Contacts"][0]
    assert first["ContactID"] == second["ContactID"]
    assert ledger.get("Contacts/G-7").json()["Contacts"][0]["Name"] == "Renumbered Ltd"


def test_a_phone_changes_without_touching_the_others(ledger: TestClient) -> None:
    contact = listed(ledger, "Contacts")[0]
    wanted = [{"PhoneType": "MOBILE", "PhoneNumber": "+447400123456"}]
    changed = ledger.post(f"Contacts/{contact['ContactID']}", json={"Phones": wanted}).json()["Contacts"][0]
    numbers = {one["PhoneType"]: one["PhoneNumber"] for one in changed["Phones"]}
    assert numbers["MOBILE"] == "+447400123456"
    assert numbers["DEFAULT"] == contact["Phones"][0]["PhoneNumber"]


def test_a_mixed_batch_keeps_the_good_ones(ledger: TestClient) -> None:
    elements = [{"Name": "Good Ltd"}, {"Name": "Bad Ltd", "EmailAddress": "nope"}]
    answer = ledger.post("Contacts", json={"Contacts": elements}, params={"summarizeErrors": "false"})
    assert answer.status_code == 200
    assert [one["StatusAttributeString"] for one in answer.json()["Contacts"]] == ["OK", "ERROR"]
    assert answer.json()["Contacts"][1]["ValidationErrors"][0]["Message"] == "Email address must be valid."


def test_an_idempotency_key_is_answered_once(ledger: TestClient, store: Store) -> None:
    contact_id = listed(ledger, "Contacts")[0]["ContactID"]
    body = {"Invoices": [invoice_of(contact_id)]}
    count = len(store.stream("invoices"))
    first = ledger.put("Invoices", json=body, headers={"Idempotency-Key": "k1"})
    second = ledger.put("Invoices", json=body, headers={"Idempotency-Key": "k1"})
    assert first.content == second.content
    assert len(store.stream("invoices")) == count + 1
    body["Invoices"][0]["Reference"] = "other"
    assert ledger.put("Invoices", json=body, headers={"Idempotency-Key": "k1"}).status_code == 400
    assert ledger.put("Invoices", json=body, headers={"Idempotency-Key": "k" * 129}).status_code == 400


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"LineItems": []}, "line items"),
        ({"Contact": {"ContactID": "c0ffee00-0000-4000-8000-000000000000"}}, "Contact"),
        ({"Date": "30/02/2024"}, "Date"),
        ({"InvoiceNumber": "INV-00001"}, "unique"),
        ({"LineItems": [{"Description": "x", "UnitAmount": 1, "AccountCode": "200", "ItemCode": "NOPE"}]}, "Item code"),
        ({"LineItems": [{"Description": "x", "UnitAmount": 1, "LineAmount": 2, "AccountCode": "200"}]}, "line total"),
    ],
    ids=["no lines", "unknown contact", "bad date", "number taken", "unknown item", "wrong line total"],
)
def test_wrong_invoices_are_refused(ledger: TestClient, fields: dict[str, Any], reason: str) -> None:
    contact_id = listed(ledger, "Contacts")[0]["ContactID"]
    refused = ledger.put("Invoices", json={"Invoices": [invoice_of(contact_id, **fields)]})
    assert refused.status_code == 400
    assert reason in refused.json()["Elements"][0]["ValidationErrors"][0]["Message"]


def test_a_missing_due_date_follows_the_terms(ledger: TestClient, store: Store) -> None:
    contact = next(one for one in listed(ledger, "Contacts") if one.get("PaymentTerms"))
    asked = {"Invoices": [invoice_of(contact["ContactID"], DueDate=None)]}
    made = ledger.put("Invoices", json=asked).json()["Invoices"][0]
    days = contact["PaymentTerms"]["Sales"]["Day"]
    assert date.fromisoformat(made["DueDateString"][:10]) == date(2026, 1, 5) + timedelta(days=days)
    new = Books(store, default_due_days=None).save_contact({"Name": "No terms Ltd"}, can_update=False)
    with pytest.raises(Invalid, match="DueDate"):
        Books(store, default_due_days=None).save_invoice(invoice_of(new["ContactID"], DueDate=None), can_update=False)


def test_a_line_takes_from_its_item_what_it_does_not_say(ledger: TestClient) -> None:
    contact_id = listed(ledger, "Contacts")[0]["ContactID"]
    item = ledger.get("Items").json()["Items"][0]
    asked = {"Invoices": [invoice_of(contact_id, LineItems=[{"ItemCode": item["Code"], "Quantity": 2}])]}
    line = ledger.put("Invoices", json=asked).json()["Invoices"][0]["LineItems"][0]
    assert (line["Description"], line["UnitAmount"]) == (item["Description"], item["SalesDetails"]["UnitPrice"])
    assert (line["AccountCode"], line["TaxType"]) == ("200", item["SalesDetails"]["TaxType"])


@pytest.mark.parametrize(("query", "kept"), [({}, 10.01), ({"unitdp": "4"}, 10.005)], ids=["two decimals", "four"])
def test_unit_prices_have_four_decimals_only_when_asked(ledger: TestClient, query: dict[str, str], kept: float) -> None:
    body = {"Invoices": [invoice_of(listed(ledger, "Contacts")[0]["ContactID"])]}
    made = ledger.put("Invoices", json=body, params=query).json()["Invoices"][0]
    assert made["LineItems"][0]["UnitAmount"] == kept


def test_an_invoice_with_a_payment_keeps_its_lines(ledger: TestClient) -> None:
    paid = next(one for one in listed(ledger, "Invoices") if one["Status"] == "PAID")
    body = {"Invoices": [{"InvoiceID": paid["InvoiceID"], "LineItems": []}]}
    assert ledger.post("Invoices", json=body).status_code == 400


@pytest.mark.parametrize(
    ("where", "test"),
    [
        ('Status=="PAID"', lambda one: one["Status"] == "PAID"),
        ('Total>=1000 AND Status!="PAID"', lambda one: one["Total"] >= 1000 and one["Status"] != "PAID"),
        ("Date>=DateTime(2025,01,01)", lambda one: one["DateString"] >= "2025-01-01"),
        ('Reference=="SO-000001"', lambda one: one["Reference"] == "SO-000001"),
    ],
)
def test_where_filters(ledger: TestClient, where: str, test: Any) -> None:
    found = {one["InvoiceID"] for one in listed(ledger, "Invoices", where=where)}
    assert found == {one["InvoiceID"] for one in listed(ledger, "Invoices") if test(one)}


def test_where_filters_by_the_contact_s_id(ledger: TestClient) -> None:
    contact_id = listed(ledger, "Invoices")[0]["Contact"]["ContactID"]
    found = listed(ledger, "Invoices", where=f'Contact.ContactID==guid("{contact_id}")')
    assert found
    assert {one["Contact"]["ContactID"] for one in found} == {contact_id}


def test_a_wrong_where_is_refused(ledger: TestClient) -> None:
    assert ledger.get("Invoices", params={"where": "drop table"}).status_code == 400


def test_the_minute_limit_says_when_to_come_back(store: Store) -> None:
    ledger = TestClient(create_app(store, "secret", "tenant", minute_limit=2), headers=HEADERS)
    answers = [ledger.get(f"{BASE}/Items") for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 200, 429]
    assert answers[1].headers["X-MinLimit-Remaining"] == "0"
    assert answers[2].headers["X-Rate-Limit-Problem"] == "minute"
    assert 0 < int(answers[2].headers["Retry-After"]) <= 61


def test_a_person_s_edit_moves_the_change_mark(ledger: TestClient) -> None:
    contact = listed(ledger, "Contacts")[0]
    fields = {"Phones.0.PhoneNumber": "0161 496 0000", "Name": "Edited Ltd"}
    edit = {"stream": "contacts", "id": contact["ContactID"], "fields": fields}
    assert ledger.post("http://ledger/_sandbox/edit", json=edit).status_code == 200
    after = ledger.get(f"Contacts/{contact['ContactID']}").json()["Contacts"][0]
    assert (after["Name"], after["Phones"][0]["PhoneNumber"]) == ("Edited Ltd", "0161 496 0000")
    assert after["UpdatedDateUTC"] > contact["UpdatedDateUTC"]


def test_seeded_impossibilities_are_there(world: World) -> None:
    invoices = {one["InvoiceID"]: one for one in world.accounting["invoices"]}
    notes = {one["CreditNoteID"]: one for one in world.accounting["credit_notes"]}
    payments = {one["PaymentID"]: one for one in world.accounting["payments"]}
    for one in world.truth["impossible"]:
        if one["kind"] == "credit_above_invoice":
            assert notes[one["id"]]["Total"] > invoices[one["invoice"]]["Total"]
        if one["kind"] == "paid_before_issued":
            assert payments[one["id"]]["Date"] < invoices[one["invoice"]]["Date"]
