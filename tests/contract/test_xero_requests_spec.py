"""Every request that the Xero connector makes, judged by Xero's published description: paths, parameters, bodies.

The description stands beside the checkout (CONCORD_VENDOR_SPECS); without it these tests are skipped.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from openapi_core import Config, OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest
from starlette.testclient import TestClient

from canonical.declarations.connectors import default_streams, read_defaults
from connectors import registry
from connectors.protocol import Context, Write
from connectors.xero import Xero
from connectors.xero.resources import RESOURCES
from sandbox.runner import TENANT_ID, fill_store
from sandbox.seed import build_world
from sandbox.store import Store
from sandbox.xero import create_app

HOST = "https://api.xero.com"
_KNOWN_HEADERS = ("xero-tenant-id", "idempotency-key", "if-modified-since")


@pytest.fixture(scope="module")
def description(vendor_specs: Path) -> dict[str, Any]:
    """The description, made strict: an object has no member that it does not name."""
    loaded: dict[str, Any] = yaml.load((vendor_specs / "xero" / "xero_accounting.yaml").read_text(), yaml.CSafeLoader)
    for schema in loaded["components"]["schemas"].values():
        if schema.get("type") == "object" and "properties" in schema:
            schema["additionalProperties"] = False
    return loaded


@pytest.fixture(scope="module")
def judge(description: dict[str, Any]) -> OpenAPI:
    # The description itself has slips (defaults of 'false' for booleans): it is used as it is, not judged.
    return OpenAPI.from_dict(copy.deepcopy(description), config=Config(spec_validator_cls=None))


class Recorder(httpx.BaseTransport):
    """Passes requests on and keeps them."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self.inner = inner
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.inner.handle_request(request)


@pytest.fixture(scope="module")
def requests(vendor_specs: Path) -> Iterator[list[httpx.Request]]:
    """What the connector asks while everything it can do is done once."""
    store = Store(":memory:")
    fill_store(store, build_world(seed=7, scale=0.03).accounting)
    recorder = Recorder(TestClient(create_app(store, "secret", TENANT_ID), base_url=HOST)._transport)
    streams = default_streams(read_defaults("xero", *registry.defaults("xero")))
    settings = {"token": "secret", "tenant_id": TENANT_ID, "concurrency": 1, "requests_per_minute": 10**6}
    books = Xero(Context("books", settings, streams), transport=recorder)
    do_everything(books)
    books.close()
    yield recorder.requests
    store.close()


def do_everything(books: Xero) -> None:
    books.check()
    for stream in RESOURCES:
        pages = list(books.read(stream, None))
        list(books.read(stream, pages[-1].cursor))
        books.get(stream, pages[0].ids[:3])
    number = iter(range(100))

    def write(stream: str, op: Any, source_id: str | None, payload: dict[str, Any]) -> str:
        key = f"key-{next(number)}"
        receipt = books.write(stream, [Write("r", op, source_id, payload, key)])[0]
        assert receipt.outcome == "done", receipt
        return str(receipt.source_id)

    address = {"AddressType": "POBOX", "AddressLine1": "1 High Street", "City": "Leeds", "PostalCode": "LS1 4AB"}
    phone = {"PhoneType": "DEFAULT", "PhoneNumber": "+441134960999"}
    customer = write(
        "contacts", "create", None, {"Name": "Zoo", "TaxNumber": "1", "Addresses": [address], "Phones": [phone]}
    )
    write("contacts", "update", customer, {"EmailAddress": None, "Phones": [phone]})
    books.find("contacts", {"TaxNumber": "1", "Name": "Zoo"})
    details = {"UnitPrice": Decimal("12.3456")}
    item = write("items", "create", None, {"Code": "Z-1", "Name": "Zip", "SalesDetails": details})
    write("items", "update", item, {"Code": "Z-1", "SalesDetails": details})
    line = {"Description": "Zip", "Quantity": 3, "UnitAmount": Decimal("1.5"), "AccountCode": "200", "ItemCode": "Z-1"}
    document = {"Contact": {"ContactID": customer}, "LineItems": [line], "Status": "AUTHORISED", "Date": "2026-01-05"}
    claim = write("invoices", "create", None, {**document, "Type": "ACCREC", "DueDate": "2026-02-04"})
    books.find("invoices", {"Contact.ContactID": customer})
    payment = {"Invoice": {"InvoiceID": claim}, "Account": {"Code": "090"}, "Amount": Decimal("1.50"), "Reference": "R"}
    paid = write("payments", "create", None, payment)
    books.find("payments", {"Reference": "R"})
    write("payments", "archive", paid, {})
    write("invoices", "archive", claim, {})
    credit = write("credit_notes", "create", None, {**document, "Type": "ACCRECCREDIT"})
    write("credit_notes", "archive", credit, {})
    write("items", "delete", item, {})
    write("contacts", "archive", customer, {})


def asked(request: httpx.Request) -> MockRequest:
    headers = {name: request.headers[name] for name in _KNOWN_HEADERS if name in request.headers}
    args = dict(request.url.params)
    return MockRequest(HOST, request.method, request.url.path, args=args, headers=headers, data=request.content or None)


def test_every_request_is_as_described(judge: OpenAPI, requests: list[httpx.Request]) -> None:
    assert {request.method for request in requests} == {"GET", "PUT", "POST", "DELETE"}
    for request in requests:
        judge.validate_request(asked(request))


def test_no_parameter_is_unknown(description: dict[str, Any], requests: list[httpx.Request]) -> None:
    for request in requests:
        path, item = described(description, request.url.path)
        known = {parameter_name(description, one) for one in [*item[request.method.lower()].get("parameters", [])]}
        assert set(request.url.params) <= known, f"{request.method} {path}"
        if "idempotency-key" in request.headers:
            assert "Idempotency-Key" in known
            assert len(request.headers["idempotency-key"]) <= 128


def described(description: dict[str, Any], path: str) -> tuple[str, dict[str, Any]]:
    """The description's own path and its operations."""
    segments = path.removeprefix("/api.xro/2.0/").split("/")
    for template, item in description["paths"].items():
        parts = template.strip("/").split("/")
        if len(parts) == len(segments) and all(
            part.startswith("{") or part == segment for part, segment in zip(parts, segments, strict=True)
        ):
            return template, item
    raise AssertionError(f"no such path: {path}")


def parameter_name(description: dict[str, Any], parameter: dict[str, Any]) -> str:
    if "$ref" in parameter:
        parameter = description["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]
    return str(parameter["name"])


def test_the_judge_sees_an_unknown_field(judge: OpenAPI, requests: list[httpx.Request]) -> None:
    request = next(one for one in requests if one.method == "PUT" and one.url.path.endswith("/Contacts"))
    spoiled = httpx.Request(
        request.method, request.url, headers=request.headers, content=request.content.replace(b'"Name"', b'"Nmae"')
    )
    with pytest.raises(OpenAPIError):
        judge.validate_request(asked(spoiled))
