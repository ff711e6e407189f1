"""A ledger shaped like Xero's accounting API 2.0 over `Books`: paging, change marks, batches, replay, limits."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sandbox.oauth import XERO, Authority
from sandbox.plane import Json, Plane, RollingLimit, SystemParts
from sandbox.store import Doc, Store
from sandbox.xero_books import Books
from sandbox.xero_documents import BANK_ACCOUNT, ID_FIELD
from sandbox.xero_values import Invalid, compile_where, dec, mark, mark_ms, money, order_key

BASE = "/api.xro/2.0"
PAGE_SIZE = 100
MOST_PAGE_SIZE = 1_000
MINUTE_LIMIT = 6_000  # requests a minute; a hundred times the vendor's 60, so that a demo is quick
DAY_LIMIT = 500_000  # requests a day; the vendor's is 5,000
MOST_KEY_LENGTH = 128
ORGANISATION = "Concord Sandbox Ltd"

_SUMMARY_HIDES = {
    "contacts": ("Addresses", "Phones", "ContactPersons", "ContactGroups", "PaymentTerms", "Balances"),
    "invoices": ("LineItems", "Payments", "CreditNotes", "Prepayments", "Overpayments"),
}
_UNPAGED_HIDES = {"invoices": ("LineItems",), "credit_notes": ("LineItems",)}


class NotFound(Exception):
    """No record has the id or number in the path."""


@dataclass(frozen=True)
class Resource:
    """One kind of record: its path segment (also the name of the list in bodies) and its stream."""

    segment: str
    stream: str


RESOURCES = (
    Resource("Contacts", "contacts"),
    Resource("Items", "items"),
    Resource("Invoices", "invoices"),
    Resource("CreditNotes", "credit_notes"),
    Resource("Payments", "payments"),
)


class Api:
    """Xero's HTTP shapes over the books."""

    def __init__(self, books: Books, token: str, tenant_id: str, minute_limit: int, day_limit: int) -> None:
        self.books = books
        self.token = token
        self.tenant_id = tenant_id
        self.minute = RollingLimit(minute_limit, 60.0)
        self.day = RollingLimit(day_limit, 86_400.0)
        self.oauth = Authority(books.store, XERO)

    def guard(self, request: Request) -> Response | None:
        """Authorisation, tenant, and the two limits."""
        if self.oauth.owns(request.url.path):
            return None
        if request.headers.get("authorization") != f"Bearer {self.token}":
            verdict = self.oauth.verdict(request)
            if verdict == "unknown":
                return _problem(401, "Unauthorized", "AuthenticationUnsuccessful")
            if verdict == "forbidden":
                return _problem(403, "Forbidden", "AuthorizationUnsuccessful")
        if request.url.path == "/connections":
            return None
        if request.headers.get("xero-tenant-id") != self.tenant_id:
            return _problem(403, "Forbidden", "AuthenticationUnsuccessful")
        for name, limit in (("minute", self.minute), ("day", self.day)):
            if not limit.admit():
                headers = {"X-Rate-Limit-Problem": name, "Retry-After": str(int(limit.wait_seconds) + 1)}
                return PlainTextResponse("", 429, {**headers, **self._limits()})
        return None

    def _limits(self) -> dict[str, str]:
        return {
            "X-MinLimit-Remaining": str(self.minute.remaining),
            "X-DayLimit-Remaining": str(self.day.remaining),
            "X-AppMinLimit-Remaining": "9999",
        }

    def answer(self, content: Doc, status: int = 200) -> Response:
        """An answer in the vendor's envelope, with what is left of the limits."""
        envelope = {"Id": str(uuid.uuid4()), "Status": "OK", "ProviderName": "Concord"}
        envelope["DateTimeUTC"] = mark(int(self.books.store.clock_seconds * 1000))
        return Json({**envelope, **content}, status, self._limits())

    def _shown(self, resource: Resource, doc: Doc) -> Doc:
        return self.books.show_contact(doc) if resource.stream == "contacts" else doc

    def listing(self, resource: Resource, request: Request) -> Response:
        """GET a list: filters, change mark, order, pages."""
        query = request.query_params
        docs = self._filtered(resource, request)
        hidden: tuple[str, ...] = ()
        content: Doc = {}
        if query.get("summaryOnly", "").lower() == "true":
            hidden = _SUMMARY_HIDES.get(resource.stream, ())
        elif "page" not in query:
            hidden = _UNPAGED_HIDES.get(resource.stream, ())
        if "page" in query and resource.stream != "items":
            page, size = _whole(query["page"], "page"), _whole(query.get("pageSize", str(PAGE_SIZE)), "pageSize")
            size = min(size, MOST_PAGE_SIZE)
            count = len(docs)
            content = {"page": page, "pageSize": size, "pageCount": -(-count // size), "itemCount": count}
            content = {"pagination": content}
            docs = docs[(page - 1) * size : page * size]
        shown = [self._shown(resource, doc) for doc in docs]
        if hidden:
            shown = [{name: value for name, value in doc.items() if name not in hidden} for doc in shown]
        return self.answer({**content, resource.segment: shown})

    def _filtered(self, resource: Resource, request: Request) -> list[Doc]:
        query = request.query_params
        docs = list(self.books.store.stream(resource.stream).values())
        if since := request.headers.get("if-modified-since"):
            since_ms = _since_ms(since)
            docs = [doc for doc in docs if mark_ms(doc["UpdatedDateUTC"]) >= since_ms]
        if resource.stream == "contacts" and query.get("includeArchived", "").lower() != "true" and "IDs" not in query:
            docs = [doc for doc in docs if doc["ContactStatus"] == "ACTIVE"]
        sets = {"IDs": ID_FIELD[resource.stream], "InvoiceNumbers": "InvoiceNumber", "Statuses": "Status"}
        for name, field in sets.items():
            if wanted := _texts(request, name):
                docs = [doc for doc in docs if doc.get(field) in wanted]
        if wanted := _texts(request, "ContactIDs"):
            docs = [doc for doc in docs if doc["Contact"]["ContactID"] in wanted]
        if term := query.get("searchTerm", "").lower():
            names = ("Name", "FirstName", "LastName", "EmailAddress", "ContactNumber", "InvoiceNumber", "Reference")
            docs = [doc for doc in docs if any(term in str(doc.get(name) or "").lower() for name in names)]
        if where := query.get("where"):
            docs = list(filter(compile_where(where), docs))
        if order := query.get("order"):
            key, is_down = order_key(order)
            docs.sort(key=key, reverse=is_down)
        return docs

    def one(self, resource: Resource, request: Request) -> Response:
        """GET one record by id, or by the number that a person knows it by."""
        return self.answer({resource.segment: [self._shown(resource, self.found(resource, request))]})

    def found(self, resource: Resource, request: Request) -> Doc:
        """The record that the path names, by id or by its number. Raises NotFound."""
        wanted = request.path_params["id"]
        docs = self.books.store.stream(resource.stream)
        if (doc := docs.get(wanted.lower())) is not None:
            return doc
        number = {"contacts": "ContactNumber", "items": "Code"}.get(
            resource.stream, ID_FIELD[resource.stream].replace("ID", "Number")
        )
        for doc in docs.values():
            if doc.get(number) == wanted:
                return doc
        raise NotFound(wanted)

    def save(self, resource: Resource, request: Request, body: bytes, can_update: bool) -> Response:
        """PUT or POST elements: each judged by itself; without summarizeErrors=false one bad element fails the call."""
        elements = _elements(resource, body, request.path_params.get("id"))
        if request.query_params.get("unitdp") != "4":
            elements = [_two_decimals(element) for element in elements]
        keep = self._keeper(resource, request)
        is_mixed = request.query_params.get("summarizeErrors", "true").lower() == "false"
        done: list[Doc] = []
        failed: list[Doc] = []
        for element in elements:
            try:
                stored = keep(element, can_update)
                done.append({**self._shown(resource, stored), **({"StatusAttributeString": "OK"} if is_mixed else {})})
            except Invalid as refused:
                reasons = {"ValidationErrors": [{"Message": str(refused)}]}
                failed.append({**element, **reasons})
                done.append({**_echo(element), **reasons, "StatusAttributeString": "ERROR"})
        if failed and not is_mixed:
            error = {"ErrorNumber": 10, "Type": "ValidationException", "Message": "A validation exception occurred"}
            return Json({**error, "Elements": [_echo(element) for element in failed]}, 400, self._limits())
        return self.answer({resource.segment: done})

    def _keeper(self, resource: Resource, request: Request) -> Callable[[Doc, bool], Doc]:
        if resource.stream == "payments" and "id" in request.path_params:
            payment = self.found(resource, request)
            return lambda element, _: self.books.delete_payment(payment)
        return {
            "contacts": self.books.save_contact,
            "items": self.books.save_item,
            "invoices": self.books.save_invoice,
            "credit_notes": self.books.save_credit_note,
            "payments": self.books.save_payment,
        }[resource.stream]

    def allocations(self, request: Request, body: bytes) -> Response:
        """PUT on /CreditNotes/{id}/Allocations."""
        resource = RESOURCES[3]
        asked = _json(body)
        wanted = asked.get("Allocations") or [asked]
        try:
            done = [self.books.allocate(self.found(resource, request), one) for one in wanted]
        except Invalid as refused:
            error = {"ErrorNumber": 10, "Type": "ValidationException", "Message": "A validation exception occurred"}
            elements = [{"ValidationErrors": [{"Message": str(refused)}]}]
            return Json({**error, "Elements": elements}, 400, self._limits())
        return self.answer({"Allocations": done})

    def once(self, request: Request, body: bytes, work: Callable[[], Response]) -> Response:
        """Do a write once per Idempotency-Key: the same request again gets the same answer, another one is refused."""
        key = request.headers.get("idempotency-key")
        if not key:
            return work()
        if len(key) > MOST_KEY_LENGTH:
            return _exception(
                400, f"The Idempotency-Key may have {MOST_KEY_LENGTH} characters at most; found {len(key)}"
            )
        asked = f"{request.method} {request.url.path}?{request.url.query}\n".encode() + body
        digest = hashlib.sha256(asked).hexdigest()
        if (kept := self.books.store.replayed(key)) is not None:
            if kept[0] != digest:
                return _exception(400, "The Idempotency-Key was already used with a different request")
            return Response(kept[2], kept[1], self._limits(), "application/json")
        answer = work()
        self.books.store.keep_answer(key, digest, answer.status_code, bytes(answer.body))
        return answer

    def edit(self, stream: str, record_id: str, fields: Doc) -> Doc:
        """A person's change in the ledger's own screens: whole fields, or dotted paths such as Phones.0.PhoneNumber."""
        doc: Doc = orjson.loads(orjson.dumps(self.books.store.stream(stream)[record_id]))
        for path, value in fields.items():
            _set_path(doc, path.split("."), value)
        if stream == "contacts":
            return self.books.keep_contact(doc)
        doc["UpdatedDateUTC"] = mark(self.books.store.next_mark())
        self.books.store.put(stream, record_id, doc)
        if "Contact" in doc:
            self.books.touch_contacts({doc["Contact"]["ContactID"]})
        return doc


def create_app(
    store: Store, token: str, tenant_id: str, minute_limit: int = MINUTE_LIMIT, day_limit: int = DAY_LIMIT
) -> Plane:
    """The ledger as an ASGI application."""
    books = Books(store)
    api = Api(books, token, tenant_id, minute_limit, day_limit)

    app = Starlette(routes=_routes(api), exception_handlers={Invalid: _bad_query, NotFound: _not_found})
    parts = SystemParts(
        name="accounting",
        app=app,
        store=store,
        guard=api.guard,
        edit=api.edit,
        counts=lambda: {stream: len(store.stream(stream)) for stream in ID_FIELD},
        is_write=lambda method, path: method != "GET" and not api.oauth.owns(path),
        oauth=api.oauth,
    )
    return Plane(parts)


def _routes(api: Api) -> list[Route]:
    """All paths of the ledger."""

    def list_route(resource: Resource) -> Route:
        async def endpoint(request: Request) -> Response:
            if request.method == "GET":
                return api.listing(resource, request)
            body, can_update = await request.body(), request.method == "POST"
            return api.once(request, body, lambda: api.save(resource, request, body, can_update))

        return Route(f"{BASE}/{resource.segment}", endpoint, methods=["GET", "PUT", "POST"])

    def one_route(resource: Resource) -> Route:
        async def endpoint(request: Request) -> Response:
            if request.method == "GET":
                return api.one(resource, request)
            if request.method == "DELETE":
                api.books.store.remove(resource.stream, api.found(resource, request)["ItemID"])
                return Response(status_code=204)
            body = await request.body()
            return api.once(request, body, lambda: api.save(resource, request, body, True))

        methods = ["GET", "POST", *(["DELETE"] if resource.stream == "items" else [])]
        return Route(f"{BASE}/{resource.segment}/{{id}}", endpoint, methods=methods)

    async def allocations(request: Request) -> Response:
        body = await request.body()
        return api.once(request, body, lambda: api.allocations(request, body))

    async def organisation(_: Request) -> Response:
        entry = {"OrganisationID": api.tenant_id, "Name": ORGANISATION, "BaseCurrency": "GBP", "CountryCode": "GB"}
        return api.answer({"Organisations": [{**entry, "OrganisationStatus": "ACTIVE", "IsDemoCompany": True}]})

    async def accounts(_: Request) -> Response:
        return api.answer({"Accounts": [{**BANK_ACCOUNT, "Type": "BANK", "Status": "ACTIVE"}]})

    async def connections(_: Request) -> Response:
        return Json([{"id": str(uuid.UUID(int=1)), "tenantId": api.tenant_id, "tenantName": ORGANISATION}])

    return [
        *(list_route(resource) for resource in RESOURCES),
        Route(f"{BASE}/CreditNotes/{{id}}/Allocations", allocations, methods=["PUT"]),
        *(one_route(resource) for resource in RESOURCES),
        Route(f"{BASE}/Organisation", organisation),
        Route(f"{BASE}/Accounts", accounts),
        Route("/connections", connections),
        *api.oauth.routes(),
    ]


async def _bad_query(_: Request, refused: Exception) -> Response:
    return _exception(400, str(refused), number=16, kind="QueryParseException")


async def _not_found(_: Request, missing: Exception) -> Response:
    return PlainTextResponse("The resource you're looking for cannot be found", 404)


def _exception(status: int, message: str, number: int = 10, kind: str = "ValidationException") -> Response:
    return Json({"ErrorNumber": number, "Type": kind, "Message": message}, status)


def _problem(status: int, title: str, detail: str) -> Response:
    return Json(
        {"Type": None, "Title": title, "Status": status, "Detail": detail, "Instance": str(uuid.uuid4())}, status
    )


def _json(body: bytes) -> Doc:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as wrong:
        raise Invalid(f"The body is not valid JSON: {wrong}") from wrong
    if not isinstance(asked, dict):
        raise Invalid("The body must be a JSON object")
    return asked


def _elements(resource: Resource, body: bytes, record_id: str | None) -> list[Doc]:
    """The elements of a write: a named list, or one bare element."""
    asked = _json(body)
    elements = asked.get(resource.segment, [asked])
    if not isinstance(elements, list) or not all(isinstance(one, dict) for one in elements) or not elements:
        raise Invalid(f"The body must have a list {resource.segment} of objects")
    if record_id is not None and resource.stream != "payments":
        elements = [{**elements[0], ID_FIELD[resource.stream]: record_id}]
    return elements


def _two_decimals(element: Doc) -> Doc:
    """Unit prices with more than two decimals are kept only when the request says unitdp=4."""

    def cut(part: Any, name: str) -> Any:
        if not isinstance(part, dict) or not isinstance(part.get(name), (int, float)):
            return part
        return {**part, name: float(money(dec(part[name])))}

    element = dict(element)
    if isinstance(lines := element.get("LineItems"), list):
        element["LineItems"] = [cut(line, "UnitAmount") for line in lines]
    if "SalesDetails" in element:
        element["SalesDetails"] = cut(element["SalesDetails"], "UnitPrice")
    return element


def _echo(element: Doc) -> Doc:
    """A refused element in the answer: without ids that are not ids."""
    return {name: value for name, value in element.items() if value is not None}


def _whole(text: str, name: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise Invalid(f"{name} must be a whole number above zero; found {text[:20]!r}")
    return int(text)


def _texts(request: Request, name: str) -> set[str]:
    return {one.strip() for part in request.query_params.getlist(name) for one in part.split(",") if one.strip()}


def _since_ms(text: str) -> int:
    """If-Modified-Since as ISO 8601 (the description's form) or an HTTP date; whole seconds, as the vendor counts."""
    for parse in (datetime.fromisoformat, lambda one: datetime.strptime(one, "%a, %d %b %Y %H:%M:%S GMT")):
        try:
            moment: datetime = parse(text)
        except ValueError:
            continue
        return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()) * 1000
    raise Invalid(f"If-Modified-Since is not a date: {text[:40]!r}")


def _set_path(doc: Any, path: list[str], value: Any) -> None:
    for name in path[:-1]:
        doc = doc[int(name)] if isinstance(doc, list) else doc.setdefault(name, {})
    if isinstance(doc, list):
        doc[int(path[-1])] = value
    else:
        doc[path[-1]] = value
