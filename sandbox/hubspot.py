"""A CRM shaped like HubSpot: v3 objects for companies, contacts and tickets, search, batches, associations, merges.

Limits and sizes are the vendor's: pages of 100, search pages of 200 and at most 10,000 results, batches of 100.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.hubspot_model import (
    ASSOCIATED,
    CHANGE_MARK,
    PROPERTIES,
    empty_properties,
    normalised,
    problems_of,
    search,
    shown,
)
from sandbox.oauth import HUBSPOT, Authority
from sandbox.plane import Json, Plane, RollingLimit, SystemParts
from sandbox.store import Doc, Store, utc_text

PAGE_LIMIT = 100
SEARCH_PAGE_LIMIT = 200
SEARCH_RESULT_LIMIT = 10_000
BATCH_LIMIT = 100
WINDOW_SECONDS = 10.0
DEFAULT_LIMIT = 1_900  # requests in WINDOW_SECONDS; ten times the vendor's 190, so that a demo is quick
FIRST_FREE_ID = {"companies": 30_000_000_001, "contacts": 60_000_000_001, "tickets": 80_000_000_001}


class Refusal(Exception):
    """A request that is answered with HubSpot's error body."""

    def __init__(self, status: int, category: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body: Doc = {
            "status": "error",
            "message": message,
            "correlationId": str(uuid.uuid4()),
            "category": category,
            **more,
        }


class Crm:
    """The CRM's records and what can be done with them."""

    def __init__(self, store: Store, search_lag_seconds: float = 0.0) -> None:
        self.store = store
        self.search_lag_ms = search_lag_seconds * 1000
        self._unique: dict[tuple[str, str, str], str] = {}
        for object_type in PROPERTIES:
            for doc in store.stream(object_type).values():
                self._index(object_type, doc)

    def _index(self, object_type: str, doc: Doc) -> None:
        for name, known in PROPERTIES[object_type].items():
            value = doc["properties"].get(name)
            if known.is_unique and value and not doc["archived"] and not doc.get("merged_into"):
                self._unique[object_type, name, value] = doc["id"]

    def _unindex(self, object_type: str, doc: Doc) -> None:
        for name, known in PROPERTIES[object_type].items():
            value = doc["properties"].get(name)
            if known.is_unique and value and self._unique.get((object_type, name, value)) == doc["id"]:
                del self._unique[object_type, name, value]

    def find(self, object_type: str, record_id: str, id_property: str | None = None, archived: bool = False) -> Doc:
        """One record by id or by a unique property. The loser of a merge answers with the survivor."""
        if id_property and id_property != "hs_object_id":
            known = PROPERTIES[object_type].get(id_property)
            if known is None or not known.is_unique:
                raise Refusal(400, "VALIDATION_ERROR", f"{id_property} is not a unique property of {object_type}")
            record_id = self._unique.get((object_type, id_property, record_id), "")
        doc = self.store.get(object_type, record_id)
        while doc is not None and doc.get("merged_into"):
            doc = self.store.get(object_type, doc["merged_into"])
        if doc is None or doc["archived"] != archived:
            raise Refusal(404, "OBJECT_NOT_FOUND", "Object not found.  objectId are usually numeric.")
        return doc

    def create(self, object_type: str, wanted: Any, associations: Any = ()) -> Doc:
        """A new record."""
        values = self._checked(object_type, wanted, None)
        number = int(self.store.meta(f"next:{object_type}") or FIRST_FREE_ID[object_type])
        self.store.set_meta(f"next:{object_type}", str(number + 1))
        created = utc_text(self.store.next_mark())
        doc: Doc = {
            "id": str(number),
            "properties": {**empty_properties(object_type), **values, "hs_object_id": str(number)},
            "createdAt": created,
            "updatedAt": created,
            "archived": False,
        }
        doc["properties"]["createdate"] = doc["properties"][CHANGE_MARK[object_type]] = created
        if object_type in ASSOCIATED:
            doc["companies"] = [str(one["to"]["id"]) for one in associations or ()]
        self._save(object_type, doc)
        return doc

    def update(self, object_type: str, doc: Doc, wanted: Any) -> Doc:
        """Change some properties; a write that changes nothing leaves the change mark alone."""
        values = self._checked(object_type, wanted, doc["id"])
        changed = {
            name: value for name, value in values.items() if (doc["properties"].get(name) or "") != (value or "")
        }
        if not changed:
            return doc
        self._unindex(object_type, doc)
        return self._touch(object_type, {**doc, "properties": {**doc["properties"], **changed}})

    def archive(self, object_type: str, doc: Doc) -> None:
        """Move a record to the bin."""
        self._unindex(object_type, doc)
        self._touch(object_type, {**doc, "archived": True, "archivedAt": utc_text(self.store.next_mark())})

    def restore(self, object_type: str, doc: Doc) -> Doc:
        """Take a record out of the bin, as a person can."""
        return self._touch(object_type, {**doc, "archived": False, "archivedAt": None})

    def merge(self, object_type: str, survivor: Doc, loser: Doc) -> Doc:
        """One record out of two: the survivor's empty properties are filled from the loser; its id leads here."""
        self._unindex(object_type, loser)
        self.store.put(object_type, loser["id"], {**loser, "merged_into": survivor["id"]})
        ids = [*filter(None, (survivor["properties"].get("hs_merged_object_ids") or "").split(";")), loser["id"]]
        filled = {name: value or loser["properties"].get(name) for name, value in survivor["properties"].items()}
        filled["hs_merged_object_ids"] = ";".join(ids)
        if object_type == "companies":
            for belonging in ASSOCIATED:
                for one in list(self.store.stream(belonging).values()):
                    if loser["id"] in one.get("companies", ()):
                        self.associate(belonging, one, survivor["id"], instead_of=loser["id"])
        return self._touch(object_type, {**survivor, "properties": filled})

    def associate(self, object_type: str, doc: Doc, company_id: str, instead_of: str = "") -> None:
        """Attach a contact or ticket to a company."""
        companies = [one for one in doc.get("companies", []) if one not in (company_id, instead_of)]
        self._touch(object_type, {**doc, "companies": [company_id, *companies]})

    def live(self, object_type: str, archived: bool = False) -> list[Doc]:
        """All records that lists show."""
        docs = self.store.stream(object_type).values()
        return [doc for doc in docs if doc["archived"] == archived and not doc.get("merged_into")]

    def _checked(self, object_type: str, wanted: Any, own_id: str | None) -> dict[str, str | None]:
        if problems := problems_of(object_type, wanted):
            raise Refusal(400, "VALIDATION_ERROR", problems[0]["message"], errors=problems)
        values = normalised(object_type, wanted)
        for name, value in values.items():
            holder = self._unique.get((object_type, name, value or ""))
            if holder and holder != own_id:
                what = {"contacts": "Contact", "tickets": "Ticket"}.get(object_type, "Company")
                raise Refusal(409, "CONFLICT", f"{what} already exists. Existing ID: {holder}")
        return values

    def _touch(self, object_type: str, doc: Doc) -> Doc:
        doc["updatedAt"] = utc_text(self.store.next_mark())
        doc["properties"] = {**doc["properties"], CHANGE_MARK[object_type]: doc["updatedAt"]}
        self._save(object_type, doc)
        return doc

    def _save(self, object_type: str, doc: Doc) -> None:
        self._index(object_type, doc)
        self.store.put(object_type, doc["id"], doc)


class Api:
    """HubSpot's HTTP shapes over a `Crm`."""

    def __init__(self, crm: Crm, token: str, limit: int) -> None:
        self.crm = crm
        self.token = token
        self.limit = RollingLimit(limit, WINDOW_SECONDS)
        self.oauth = Authority(crm.store, HUBSPOT)

    def guard(self, request: Request) -> Response | None:
        """Authorisation and the rolling limit."""
        if self.oauth.owns(request.url.path):
            return None
        if request.headers.get("authorization") != f"Bearer {self.token}":
            verdict = self.oauth.verdict(request)
            if verdict == "unknown":
                message = "Authentication credentials not found or not valid. Use a private app access token."
                return Json(Refusal(401, "INVALID_AUTHENTICATION", message).body, 401)
            if verdict == "forbidden":
                message = "This app hasn't been granted all required scopes to make this call."
                return Json(Refusal(403, "MISSING_SCOPES", message).body, 403)
        if not self.limit.admit():
            message = "You have reached your ten_secondly_rolling limit."
            body = Refusal(429, "RATE_LIMITS", message, errorType="RATE_LIMIT", policyName="TEN_SECONDLY_ROLLING").body
            return Json(body, 429)
        return None

    async def listing(self, request: Request) -> Response:
        """GET or POST on /crm/v3/objects/{type}."""
        object_type = _object_type(request)
        if request.method == "POST":
            wanted = await _body(request)
            doc = self.crm.create(object_type, wanted.get("properties"), wanted.get("associations"))
            return Json(shown(doc, object_type, tuple(PROPERTIES[object_type])), 201)
        query = request.query_params
        limit = _limit(query.get("limit", "10"), PAGE_LIMIT)
        docs = sorted(self.crm.live(object_type, query.get("archived") == "true"), key=lambda doc: int(doc["id"]))
        if after := query.get("after"):
            docs = [doc for doc in docs if int(doc["id"]) > _number(after)]
        page = docs[:limit]
        with_companies = "companies" in query.get("associations", "")
        answer: Doc = {"results": [shown(doc, object_type, _wanted(request), with_companies) for doc in page]}
        if len(docs) > limit:
            last = page[-1]["id"]
            answer["paging"] = {"next": {"after": last, "link": str(request.url.include_query_params(after=last))}}
        return Json(answer)

    async def one(self, request: Request) -> Response:
        """GET, PATCH or DELETE on one record."""
        object_type, record_id = _object_type(request), request.path_params["id"]
        id_property = request.query_params.get("idProperty")
        if request.method == "DELETE":
            try:
                self.crm.archive(object_type, self.crm.find(object_type, record_id))
            except Refusal as refused:
                if refused.status != 404:
                    raise
            return Response(status_code=204)
        is_archived = request.query_params.get("archived") == "true"
        doc = self.crm.find(object_type, record_id, id_property, is_archived)
        wanted = _wanted(request)
        if request.method == "PATCH":
            doc = self.crm.update(object_type, doc, (await _body(request)).get("properties"))
            wanted = tuple(PROPERTIES[object_type])
        with_companies = "companies" in request.query_params.get("associations", "")
        return Json(shown(doc, object_type, wanted, with_companies))

    async def searching(self, request: Request) -> Response:
        """POST on /crm/v3/objects/{type}/search."""
        object_type, asked = _object_type(request), await _body(request)
        limit = _limit(str(asked.get("limit", 10)), SEARCH_PAGE_LIMIT)
        start = _number(str(asked.get("after") or 0))
        if start + limit > SEARCH_RESULT_LIMIT:
            raise Refusal(
                400, "VALIDATION_ERROR", f"Search results are limited to {SEARCH_RESULT_LIMIT}; found after={start}"
            )
        horizon = utc_text(int(self.crm.store.next_mark() - self.crm.search_lag_ms))
        docs = [doc for doc in self.crm.live(object_type) if doc["createdAt"] <= horizon or not self.crm.search_lag_ms]
        try:
            found = search(docs, object_type, asked.get("filterGroups") or (), asked.get("sorts") or ())
        except ValueError as wrong:
            raise Refusal(400, "VALIDATION_ERROR", str(wrong)) from wrong
        wanted = tuple(asked.get("properties") or ())
        page = found[start : start + limit]
        answer: Doc = {"total": len(found), "results": [shown(doc, object_type, wanted) for doc in page]}
        if start + limit < len(found):
            answer["paging"] = {"next": {"after": str(start + limit)}}
        return Json(answer)

    async def batch(self, request: Request) -> Response:
        """POST on /crm/v3/objects/{type}/batch/{action}: each input has its own outcome."""
        object_type, action, asked = _object_type(request), request.path_params["action"], await _body(request)
        inputs = asked.get("inputs")
        if not isinstance(inputs, list) or len(inputs) > BATCH_LIMIT:
            found = f"{len(inputs)} inputs" if isinstance(inputs, list) else "no list of inputs"
            raise Refusal(400, "VALIDATION_ERROR", f"A batch has at most {BATCH_LIMIT} inputs; found {found}")
        work = self._batch_work(object_type, action, asked)
        results: list[Doc] = []
        errors: list[Doc] = []
        for position, one in enumerate(inputs):
            try:
                if (result := work(one)) is not None:
                    results.append({**result, **_trace(one)})
            except Refusal as refused:
                context = {"ids": [str(one.get("id", ""))], "index": [str(position)]}
                if trace := _trace(one):
                    context["objectWriteTraceId"] = list(trace.values())
                errors.append({**refused.body, "context": context, **_trace(one)})
        if action == "archive":
            return Response(status_code=204)
        now = utc_text(self.crm.store.next_mark())
        results.reverse()  # the vendor promises no order
        answer: Doc = {"status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now}
        if errors:
            return Json({**answer, "numErrors": len(errors), "errors": errors}, 207)
        return Json(answer, 201 if action == "create" else 200)

    def _batch_work(self, object_type: str, action: str, asked: Doc) -> Callable[[Doc], Doc | None]:
        crm, names = self.crm, tuple(asked.get("properties") or ())
        every = tuple(PROPERTIES[object_type])

        def upsert(one: Doc) -> Doc:
            name, value = one.get("idProperty"), str(one.get("id"))
            wanted = {**(one.get("properties") or {}), str(name): value}
            try:
                doc = crm.update(object_type, crm.find(object_type, value, name), wanted)
            except Refusal as refused:
                if refused.status != 404 or not name:
                    raise
                return {**shown(crm.create(object_type, wanted), object_type, every), "new": True}
            return {**shown(doc, object_type, every), "new": False}

        def archive(one: Doc) -> None:
            if (doc := crm.store.get(object_type, str(one.get("id")))) is not None and not doc["archived"]:
                crm.archive(object_type, doc)

        match action:
            case "read":
                by, is_archived = asked.get("idProperty"), bool(asked.get("archived", False))
                return lambda one: shown(crm.find(object_type, str(one["id"]), by, is_archived), object_type, names)
            case "create":
                return lambda one: shown(
                    crm.create(object_type, one.get("properties"), one.get("associations")), object_type, every
                )
            case "update":
                return lambda one: shown(
                    crm.update(
                        object_type,
                        crm.find(object_type, str(one.get("id")), one.get("idProperty")),
                        one.get("properties"),
                    ),
                    object_type,
                    every,
                )
            case "upsert":
                return upsert
            case "archive":
                return archive
        raise Refusal(404, "OBJECT_NOT_FOUND", f"No batch action {action}")

    async def merging(self, request: Request) -> Response:
        """POST on /crm/v3/objects/{type}/merge."""
        object_type, asked = _object_type(request), await _body(request)
        survivor = self.crm.find(object_type, str(asked.get("primaryObjectId")))
        loser = self.crm.find(object_type, str(asked.get("objectIdToMerge")))
        if survivor["id"] == loser["id"]:
            raise Refusal(400, "VALIDATION_ERROR", "Cannot merge an object with itself")
        return Json(shown(self.crm.merge(object_type, survivor, loser), object_type, tuple(PROPERTIES[object_type])))

    async def associating(self, request: Request) -> Response:
        """PUT on /crm/v4/objects/{type}/{id}/associations/default/companies/{company}."""
        object_type = _object_type(request)
        if object_type not in ASSOCIATED:
            raise Refusal(400, "VALIDATION_ERROR", f"No default association from {object_type} to companies")
        doc = self.crm.find(object_type, request.path_params["id"])
        company = self.crm.find("companies", request.path_params["company"])
        if company["id"] not in doc.get("companies", ())[:1]:
            self.crm.associate(object_type, doc, company["id"])
        ends = {"from": {"id": doc["id"]}, "to": {"id": company["id"]}}
        kind = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 26 if object_type == "tickets" else 1}
        return Json({"status": "COMPLETE", "results": [{**ends, "associationSpec": kind}]})

    def edit(self, stream: str, record_id: str, fields: Doc) -> Doc:
        """A person's change in the CRM's own screens: properties, or `archived` true or false."""
        doc = self.crm.store.stream(stream)[record_id]
        if fields.get("archived") is True:
            self.crm.archive(stream, doc)
            return self.crm.store.stream(stream)[record_id]
        if fields.get("archived") is False:
            doc = self.crm.restore(stream, doc)
        try:
            values = {name: value for name, value in fields.items() if name != "archived"}
            return self.crm.update(stream, doc, values)
        except Refusal as refused:
            raise ValueError(str(refused)) from refused


def create_app(store: Store, token: str, limit: int = DEFAULT_LIMIT, search_lag_seconds: float = 0.0) -> Plane:
    """The CRM as an ASGI application."""
    api = Api(Crm(store, search_lag_seconds), token, limit)
    objects = "/crm/v3/objects/{type}"
    routes = [
        Route(objects, api.listing, methods=["GET", "POST"]),
        Route(objects + "/search", api.searching, methods=["POST"]),
        Route(objects + "/merge", api.merging, methods=["POST"]),
        Route(objects + "/batch/{action}", api.batch, methods=["POST"]),
        Route(objects + "/{id}", api.one, methods=["GET", "PATCH", "DELETE"]),
        Route("/crm/v4/objects/{type}/{id}/associations/default/companies/{company}", api.associating, methods=["PUT"]),
    ]
    app = Starlette(routes=[*routes, *api.oauth.routes()], exception_handlers={Refusal: _refused})
    counts = {stream: PROPERTIES[stream] for stream in PROPERTIES}
    return Plane(
        SystemParts(
            name="crm",
            app=app,
            store=store,
            guard=api.guard,
            edit=api.edit,
            counts=lambda: {stream: len(api.crm.live(stream)) for stream in counts},
            is_write=lambda method, path: (
                method != "GET" and not path.endswith(("/search", "/batch/read")) and not api.oauth.owns(path)
            ),
            oauth=api.oauth,
        )
    )


async def _refused(_: Request, refused: Exception) -> Response:
    if not isinstance(refused, Refusal):
        raise refused
    return Json(refused.body, refused.status)


def _object_type(request: Request) -> str:
    object_type: str = request.path_params["type"]
    if object_type not in PROPERTIES:
        raise Refusal(400, "VALIDATION_ERROR", f"Unable to infer object type from: {object_type}")
    return object_type


async def _body(request: Request) -> Doc:
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as wrong:
        raise Refusal(400, "VALIDATION_ERROR", f"Invalid input JSON: {wrong}") from wrong
    if not isinstance(body, dict):
        raise Refusal(400, "VALIDATION_ERROR", "Invalid input JSON: expected an object")
    return body


def _wanted(request: Request) -> tuple[str, ...]:
    return tuple(name for part in request.query_params.getlist("properties") for name in part.split(",") if name)


def _number(text: str) -> int:
    if not text.isdigit():
        raise Refusal(400, "VALIDATION_ERROR", f"Expected a number; found {text[:40]!r}")
    return int(text)


def _limit(text: str, most: int) -> int:
    limit = _number(text)
    if not 1 <= limit <= most:
        raise Refusal(400, "VALIDATION_ERROR", f"limit must be between 1 and {most}; found {limit}")
    return limit


def _trace(one: Any) -> Doc:
    trace = one.get("objectWriteTraceId") if isinstance(one, dict) else None
    return {"objectWriteTraceId": trace} if trace else {}
