"""The Xero-shaped sandbox judged by Xero's published description: our requests' shapes and every kind of its answers.

The description stands beside the checkout (CONCORD_VENDOR_SPECS); without it these tests are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from openapi_core import Config, OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse
from starlette.testclient import TestClient

from sandbox.runner import TENANT_ID, TOKENS, fill_store
from sandbox.seed import build_world
from sandbox.store import Store
from sandbox.xero import BASE, create_app

HOST = "https://api.xero.com"
# What the live service answers though its description does not name it; each is in the description's own examples.
UNDESCRIBED = {"Id", "Status", "ProviderName", "DateTimeUTC", "DateString", "DueDateString"}


@pytest.fixture(scope="module")
def description(vendor_specs: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load((vendor_specs / "xero" / "xero_accounting.yaml").read_text(), yaml.CSafeLoader)
    return loaded


@pytest.fixture(scope="module")
def judge(description: dict[str, Any]) -> OpenAPI:
    # The description itself has slips (defaults of 'false' for booleans): it is used as it is, not judged.
    return OpenAPI.from_dict(description, config=Config(spec_validator_cls=None))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    store = Store(tmp_path_factory.mktemp("ledger") / "accounting.sqlite")
    fill_store(store, build_world(seed=7, scale=0.03).accounting)
    headers = {"authorization": f"Bearer {TOKENS['accounting']}", "xero-tenant-id": TENANT_ID}
    app = create_app(store, TOKENS["accounting"], TENANT_ID)
    with TestClient(app, base_url=HOST, headers={**headers, "accept": "application/json"}) as client:
        yield client
    store.close()


def judged(judge: OpenAPI, answer: httpx.Response) -> Any:
    """The answer's content, after the description agreed with the request and the answer."""
    request = answer.request
    headers = {"xero-tenant-id": request.headers["xero-tenant-id"]}
    for name in ("idempotency-key", "if-modified-since"):
        if name in request.headers:
            headers[name] = request.headers[name]
    asked = MockRequest(
        HOST,
        request.method,
        request.url.path,
        args=dict(request.url.params),
        headers=headers,
        data=request.content or None,
    )
    kind = answer.headers["content-type"].split(";")[0]
    given = MockResponse(answer.content, answer.status_code, dict(answer.headers), kind)
    judge.validate_request(asked)
    judge.validate_response(asked, given)
    return answer.json()


LISTS = ("Contacts", "Items", "Invoices", "CreditNotes", "Payments")


@pytest.mark.parametrize("segment", LISTS)
def test_every_seeded_record_is_as_described(judge: OpenAPI, client: TestClient, segment: str) -> None:
    query = {} if segment == "Items" else {"page": 1, "pageSize": 1000}
    found = judged(judge, client.get(f"{BASE}/{segment}", params=query))
    assert found[segment]


@pytest.mark.parametrize(("segment", "id_field"), [(one, one.removesuffix("s") + "ID") for one in LISTS])
def test_one_record_is_as_described(judge: OpenAPI, client: TestClient, segment: str, id_field: str) -> None:
    first = client.get(f"{BASE}/{segment}", params={"page": 1}).json()[segment][0]
    found = judged(judge, client.get(f"{BASE}/{segment}/{first[id_field]}"))
    assert found[segment][0][id_field] == first[id_field]


@pytest.mark.parametrize("segment", LISTS)
def test_answers_have_no_field_that_the_description_does_not_know(
    description: dict[str, Any], client: TestClient, segment: str
) -> None:
    answer = client.get(f"{BASE}/{segment}", params={"page": 1, "pageSize": 1000}).json()
    unknown = _unknown(description, description["components"]["schemas"][segment], answer)
    assert unknown <= UNDESCRIBED


def test_the_judge_sees_a_spoiled_answer(judge: OpenAPI, client: TestClient) -> None:
    answer = client.get(f"{BASE}/Invoices", params={"page": 1})
    spoiled = answer.content.replace(b'"Status":"AUTHORISED"', b'"Status":"APPROVED"')
    assert spoiled != answer.content
    with pytest.raises(OpenAPIError):
        judged(judge, httpx.Response(200, content=spoiled, headers=answer.headers, request=answer.request))


def test_changed_since_is_as_described(judge: OpenAPI, client: TestClient) -> None:
    headers = {"if-modified-since": "2025-06-01T00:00:00Z"}
    found = judged(judge, client.get(f"{BASE}/Contacts", params={"page": 1, "pageSize": 1000}, headers=headers))
    everything = client.get(f"{BASE}/Contacts", params={"page": 1, "pageSize": 1000}).json()
    assert 0 < len(found["Contacts"]) < len(everything["Contacts"])


def test_a_customer_s_story_is_as_described_at_every_step(judge: OpenAPI, client: TestClient) -> None:
    contact = {"Name": "Contract Test Ltd", "EmailAddress": "a.b@contract.example", "ContactNumber": "G-1"}
    phones = [{"PhoneType": "DEFAULT", "PhoneNumber": "+441134960999"}]
    addresses = [{"AddressType": "POBOX", "AddressLine1": "1 High Street", "City": "Leeds", "PostalCode": "LS1 4AB"}]
    body = {"Contacts": [{**contact, "Phones": phones, "Addresses": addresses}]}
    made = judged(judge, client.put(f"{BASE}/Contacts", json=body, headers={"idempotency-key": "story-1"}))
    contact_id = made["Contacts"][0]["ContactID"]
    body = {
        "Contacts": [{"ContactID": contact_id, "Phones": [{"PhoneType": "DEFAULT", "PhoneNumber": "+441134960998"}]}]
    }
    judged(judge, client.post(f"{BASE}/Contacts", json=body, params={"summarizeErrors": "false"}))
    item = client.get(f"{BASE}/Items").json()["Items"][0]
    line = {"Description": "Kettle", "Quantity": 3, "UnitAmount": 12.5, "AccountCode": "200", "TaxType": "OUTPUT2"}
    invoice = {
        "Type": "ACCREC",
        "Contact": {"ContactID": contact_id},
        "LineItems": [{**line, "ItemCode": item["Code"]}],
        "Date": "2026-01-05",
        "DueDate": "2026-02-04",
        "Reference": "SO-1",
        "Status": "AUTHORISED",
        "LineAmountTypes": "Exclusive",
    }
    made = judged(judge, client.put(f"{BASE}/Invoices", json={"Invoices": [invoice]}))["Invoices"][0]
    assert (made["SubTotal"], made["TotalTax"], made["Total"], made["AmountDue"]) == (37.5, 7.5, 45.0, 45.0)
    note = {"Type": "ACCRECCREDIT", "Contact": {"ContactID": contact_id}, "LineItems": [{**line, "Quantity": 1}]}
    note |= {"Date": "2026-01-06", "Status": "AUTHORISED"}
    credited = judged(judge, client.put(f"{BASE}/CreditNotes", json={"CreditNotes": [note]}))["CreditNotes"][0]
    allocation = {"Amount": 15.0, "Date": "2026-01-07", "Invoice": {"InvoiceID": made["InvoiceID"]}}
    path = f"{BASE}/CreditNotes/{credited['CreditNoteID']}/Allocations"
    judged(judge, client.put(path, json={"Allocations": [allocation]}))
    payment = {
        "Invoice": {"InvoiceID": made["InvoiceID"]},
        "Account": {"Code": "090"},
        "Date": "2026-01-08",
        "Amount": 30.0,
    }
    paid = judged(judge, client.put(f"{BASE}/Payments", json={"Payments": [payment]}))["Payments"][0]
    found = judged(judge, client.get(f"{BASE}/Invoices/{made['InvoiceID']}"))["Invoices"][0]
    assert (found["Status"], found["AmountDue"], found["AmountPaid"], found["AmountCredited"]) == (
        "PAID",
        0.0,
        30.0,
        15.0,
    )
    judged(judge, client.post(f"{BASE}/Payments/{paid['PaymentID']}", json={"Status": "DELETED"}))
    found = judged(judge, client.get(f"{BASE}/Invoices/{made['InvoiceID']}"))["Invoices"][0]
    assert (found["Status"], found["AmountDue"]) == ("AUTHORISED", 30.0)


@pytest.mark.parametrize(
    ("segment", "bad"),
    [
        ("Contacts", {"Name": ""}),
        ("Items", {"Code": ""}),
        ("Invoices", {"Type": "ACCREC", "Contact": {"Name": "nobody"}, "LineItems": [], "Status": "AUTHORISED"}),
        ("Payments", {"Amount": 5.0, "Date": "2026-01-01"}),
    ],
    ids=["contact without name", "item without code", "invoice without lines", "payment of nothing"],
)
def test_refusals_are_as_described(judge: OpenAPI, client: TestClient, segment: str, bad: dict[str, Any]) -> None:
    refused = client.put(f"{BASE}/{segment}", json={segment: [bad]})
    assert refused.status_code == 400
    assert judged(judge, refused)["Elements"][0]["ValidationErrors"][0]["Message"]
    mixed = client.put(f"{BASE}/{segment}", json={segment: [bad]}, params={"summarizeErrors": "false"})
    assert mixed.status_code == 200
    assert judged(judge, mixed)[segment][0]["StatusAttributeString"] == "ERROR"


def _unknown(description: dict[str, Any], schema: dict[str, Any], value: Any) -> set[str]:
    """Names of members that no schema on the way knows."""
    while "$ref" in schema:
        schema = description["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    if isinstance(value, list):
        return {name for one in value for name in _unknown(description, schema.get("items", {}), one)}
    if not isinstance(value, dict):
        return set()
    known = schema.get("properties", {})
    found = {name for name in value if name not in known}
    return found.union(*(_unknown(description, known[name], one) for name, one in value.items() if name in known))
