"""Writing to HubSpot: batches whose items have their own outcomes, and associations to other records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from connectors.http import Answer, HttpClient
from connectors.http.outcome import excerpt, segment
from connectors.http.receipts import one_by_one, rejected, retry, unknown
from connectors.hubspot.shapes import ObjectType
from connectors.protocol import Ambiguous, ConnectorError, Misdeclared, RateLimited, Receipt, Rejected, Transient, Write

_WHOLE_REFUSALS = frozenset({400, 404, 409, 415, 422})
_TYPES = {("contacts", "companies"): 279, ("companies", "contacts"): 280}
"""HubSpot's own association types for creates (developers.hubspot.com, "association type id values")."""


class _Error(msgspec.Struct):
    message: str = ""
    category: str = ""
    objectWriteTraceId: str | None = None
    context: dict[str, Any] = {}
    errors: list[dict[str, Any]] = []


class _Batch(msgspec.Struct):
    results: list[msgspec.Raw]
    errors: list[_Error] = []


class _Result(msgspec.Struct):
    id: str
    properties: dict[str, str | None] = {}
    objectWriteTraceId: str | None = None


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One result of a batch: as HubSpot holds it now."""

    head: _Result
    raw: bytes


class Writer:
    """Writes one object type of one account."""

    def __init__(self, client: HttpClient, kind: ObjectType) -> None:
        self._client = client
        self._kind = kind
        self.where = kind.where

    def write(self, writes: Sequence[Write]) -> Sequence[Receipt]:
        """One receipt a write; see connectors.protocol.Target.write."""
        if not writes:
            return []
        if writes[0].op == "delete":
            raise Misdeclared("HubSpot records are archived, not deleted", where=self.where)
        plain = [write for write in writes if write.op == "archive" or write.op == "create" or _properties(write)]
        done = {receipt.ref: receipt for receipt in self._batch(plain)} if plain else {}
        receipts = [done.get(write.ref) or Receipt(write.ref, "done", source_id=write.source_id) for write in writes]
        if self._kind.associations:  # answers to writes do not show them: the record must be read to be seen whole
            receipts = [replace(receipt, record=None) for receipt in receipts]
        return [self._associated(write, receipt) for write, receipt in zip(writes, receipts, strict=True)]

    def _batch(self, writes: Sequence[Write]) -> Sequence[Receipt]:
        action = self._action(writes)
        inputs = [self._input(write, action) for write in writes]
        answer = self._client.send(
            "POST",
            f"{self._kind.path}/batch/{action}",
            json={"inputs": inputs},
            effect="write",
            accept=_WHOLE_REFUSALS,
        )
        if answer.status in _WHOLE_REFUSALS:
            if len(writes) == 1:
                return [_refusal(writes[0], answer)]
            return one_by_one(writes, lambda write: self._batch([write])[0])
        if action == "archive":
            return [Receipt(write.ref, "done", source_id=write.source_id, status=answer.status) for write in writes]
        return self._judged(writes, action, answer)

    def _action(self, writes: Sequence[Write]) -> str:
        if writes[0].op != "create":
            return writes[0].op
        return "upsert" if self._kind.external_id and all(map(self._external_id, writes)) else "create"

    def _external_id(self, write: Write) -> str | None:
        value = _properties(write).get(self._kind.external_id or "")
        return value or None

    def _input(self, write: Write, action: str) -> dict[str, Any]:
        """One item of a batch, with our reference for HubSpot to repeat."""
        if action == "archive":
            return {"id": write.source_id}
        properties = _properties(write)
        item: dict[str, Any] = {"properties": properties, "objectWriteTraceId": write.ref}
        match action:
            case "update":
                item["id"] = write.source_id
            case "upsert":
                item |= {"idProperty": self._kind.external_id, "id": self._external_id(write)}
            case "create":
                item["properties"] = {name: value for name, value in properties.items() if value != ""}
                item["associations"] = [
                    {"to": {"id": to_id}, "types": [_association_type(self._kind.name, to_type)]}
                    for to_type, to_id in _associations(write)
                    if (self._kind.name, to_type) in _TYPES
                ]
        return item

    def _judged(self, writes: Sequence[Write], action: str, answer: Answer) -> list[Receipt]:
        """Results and errors of a batch, matched by our reference, by id or by the external id; never by position
        alone unless every item has a result."""
        try:
            batch = msgspec.json.decode(answer.json_body(), type=_Batch)
            outcomes = [_Outcome(msgspec.json.decode(raw, type=_Result), bytes(raw)) for raw in batch.results]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            raise Ambiguous(f"expected results of a batch, found {wrong}", where=answer.where) from None
        by_name: dict[str, _Outcome] = {}
        for one in outcomes:
            for name in _names(one.head, self._kind.external_id if action == "upsert" else None):
                by_name[name] = one
        errors = {name: error for error in batch.errors for name in _error_names(error)}
        is_plain = not batch.errors and len(outcomes) == len(writes)
        receipts = []
        for position, write in enumerate(writes):
            names = _write_names(write, self._external_id(write) if action == "upsert" else None, position)
            outcome: _Outcome | None = next((by_name[name] for name in names if name in by_name), None)
            error = next((errors[name] for name in names if name in errors), None)
            if outcome is None and error is None and is_plain and not any(o.head.objectWriteTraceId for o in outcomes):
                outcome = outcomes[position]
            receipts.append(_receipt(write, outcome, error, answer.status))
        return receipts

    def _associated(self, write: Write, receipt: Receipt) -> Receipt:
        """After the record itself: the associations that the batch could not carry."""
        if receipt.outcome != "done" or receipt.source_id is None or write.op == "archive":
            return receipt
        is_in_batch = write.op == "create" and not (self._kind.external_id and self._external_id(write))
        for to_type, to_id in _associations(write):
            if is_in_batch and (self._kind.name, to_type) in _TYPES:
                continue
            path = f"crm/v4/objects/{self._kind.name}/{segment(receipt.source_id)}/associations/default"
            try:
                answer = self._client.send(
                    "PUT", f"{path}/{to_type}/{segment(to_id)}", effect="write", accept=_WHOLE_REFUSALS
                )
                if answer.status in _WHOLE_REFUSALS:
                    raise Rejected(excerpt(answer.body).removeprefix(": "), where=self.where, status=answer.status)
            except ConnectorError as error:
                return _not_associated(write, receipt, to_type, error)
        return receipt


def _not_associated(write: Write, receipt: Receipt, to_type: str, error: ConnectorError) -> Receipt:
    """A created record stands, whatever became of its association: its id must be kept. An update is tried again:
    associating twice is associating once."""
    place = f"associations.{to_type}"
    if write.op == "create":
        return replace(receipt, field=place, reason=f"created, but not associated: {error}"[:500])
    if isinstance(error, Rejected):
        return rejected(write, error.reason, field=place, status=error.status)
    if isinstance(error, Transient | Ambiguous):
        return replace(retry(write, error), field=place)
    return replace(unknown(write, str(error), status=error.status), field=place)


def _receipt(write: Write, outcome: _Outcome | None, error: _Error | None, status: int) -> Receipt:
    if outcome is not None:
        if write.source_id is not None and outcome.head.id != write.source_id:
            return unknown(write, "the answer speaks of another record", status=status)
        return Receipt(write.ref, "done", source_id=outcome.head.id, record=outcome.raw, status=status)
    if error is None:
        return unknown(write, "the answer does not speak of this write", status=status)
    if error.category == "RATE_LIMITS":
        return retry(write, RateLimited(error.message, status=429))
    code = 404 if error.category == "OBJECT_NOT_FOUND" else 409 if error.category == "CONFLICT" else 400
    return rejected(write, error.message, field=_field(error), status=code)


def _refusal(write: Write, answer: Answer) -> Receipt:
    """A batch of one, refused as a whole."""
    try:
        error = msgspec.json.decode(answer.body, type=_Error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return rejected(write, excerpt(answer.body).removeprefix(": "), status=answer.status)
    return rejected(write, error.message, field=_field(error), status=answer.status)


def _field(error: _Error) -> str | None:
    for context in (error.context, *(one.get("context") for one in error.errors)):
        names = context.get("propertyName") if isinstance(context, dict) else None
        name = names[0] if isinstance(names, list) and names else names
        if isinstance(name, str):
            return f"properties.{name}"
    return None


def _names(head: _Result, external_id: str | None) -> list[str]:
    """By which a result can be told: our reference, its id, its external id."""
    names = [f"id:{head.id}"]
    if head.objectWriteTraceId:
        names.append(f"ref:{head.objectWriteTraceId}")
    if external_id and head.properties.get(external_id):
        names.append(f"external:{head.properties[external_id]}")
    return names


def _error_names(error: _Error) -> list[str]:
    names = [f"ref:{error.objectWriteTraceId}"] if error.objectWriteTraceId else []
    for key, prefix in (("objectWriteTraceId", "ref"), ("ids", "id"), ("id", "id"), ("index", "index")):
        values = error.context.get(key) or []
        names += [f"{prefix}:{value}" for value in (values if isinstance(values, list) else [values]) if value != ""]
    return names


def _write_names(write: Write, external_id: str | None, position: int) -> list[str]:
    """By which an answer may speak of a write, the surest first."""
    names = [f"ref:{write.ref}"]
    if write.source_id is not None:
        names.append(f"id:{write.source_id}")
    if external_id:
        names += [f"external:{external_id}", f"id:{external_id}"]
    return [*names, f"index:{position}"]


def _properties(write: Write) -> dict[str, str]:
    """Property values as HubSpot takes them: text, and "" for empty."""
    given = write.payload.get("properties") or {}
    if not isinstance(given, Mapping):
        raise Misdeclared("expected the sheet to write below `properties`")
    return {str(name): _text(value) for name, value in given.items()}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _associations(write: Write) -> list[tuple[str, str]]:
    """(object type, id) pairs: `associations.companies` holds an id, a list of ids, or HubSpot's own results."""
    given = write.payload.get("associations") or {}
    found: list[tuple[str, str]] = []
    for to_type, value in given.items() if isinstance(given, Mapping) else ():
        inner = value.get("results", value) if isinstance(value, Mapping) else value
        for one in inner if isinstance(inner, list | tuple) else [inner]:
            to_id = one.get("id") if isinstance(one, Mapping) else one
            if to_id not in (None, ""):
                found.append((str(to_type), str(to_id)))
    return found


def _association_type(from_type: str, to_type: str) -> dict[str, Any]:
    return {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": _TYPES[from_type, to_type]}
