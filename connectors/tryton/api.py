"""Tryton's REST calls, typed: search by domain, read, create, update, and what fields a model has."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from connectors.http.client import Answer, HttpClient
from connectors.paging import Shape, Splitter
from connectors.protocol import ConnectorError, Misdeclared, RefusedRecord, Rejected, SystemFault, Transient

Domain = list[Any]
_REFUSED = frozenset({400, 409})
_GONE = frozenset({404})
_SPLITTER = Splitter(Shape("", ("id",)))
_RECORD = msgspec.json.Decoder(dict[str, Any], float_hook=lambda digits: msgspec.Raw(digits.encode()))
"""Numbers keep the digits that were sent."""
_KEY_ERROR = re.compile(rb"<p>&#39;([\w.]{1,63})&#39;</p>")
"""How Tryton's 500 page shows the KeyError of an unknown model or field."""


def encoded(value: Any) -> str:
    """A domain, order or context as query parameters and headers carry it."""
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).decode()


def moment(at: datetime) -> dict[str, Any]:
    """A time (UTC) in Tryton's JSON."""
    parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    return {"__class__": "datetime", **{part: getattr(at, part) for part in parts}}


@dataclass(frozen=True, slots=True)
class Listed:
    """Records in order of their id, those that cannot be read, and the server's clock (its Date header)."""

    records: list[dict[str, Any]]
    refused: list[RefusedRecord]
    date: str | None

    @property
    def last(self) -> int:
        """The highest id that was read; where none was, the highest that a damaged record shows; 0: none does."""
        read = [int(one["id"]) for one in self.records]
        return max(read or [*filter(None, map(_number, self.refused))], default=0)

    def first(self, count: int) -> Listed:
        """The first `count` records; what is refused and does not tell its id counts with the first."""
        known = sorted([*(int(one["id"]) for one in self.records), *filter(None, map(_number, self.refused))])
        until = known[:count][-1] if known else 0
        records = [one for one in self.records if one["id"] <= until]
        page = Listed(records, self.refused, self.date)
        return Listed(records, [r for r in self.refused if (_number(r) or 0) <= page.last], self.date)


def _number(refused: RefusedRecord) -> int | None:
    text = refused.id or ""
    return int(text) if text.isascii() and text.isdigit() else None


class Api:
    """One database of one server; `model` is Tryton's name of a kind of record (`party.party`)."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._fields: dict[str, frozenset[str]] = {}

    def search(
        self, model: str, domain: Domain, fields: Sequence[str], *, limit: int, is_live_only: bool = False
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Records in order of their id, and the server's clock (its Date header). SystemFault: one cannot be read."""
        listed = self.listed(model, domain, fields, limit=limit, is_live_only=is_live_only)
        if listed.refused:
            raise SystemFault(f"a record cannot be read: {listed.refused[0].reason}", where=model)
        return listed.records, listed.date

    def listed(
        self, model: str, domain: Domain, fields: Sequence[str], *, limit: int, is_live_only: bool = False
    ) -> Listed:
        """The same with the records set aside that cannot be read: one of them does not hide the others."""
        params = {"d": encoded(domain), "o": encoded([["id", "ASC"]]), "s": str(limit), "f": list(fields)}
        headers = {} if is_live_only else {"x-tryton-context": encoded({"active_test": False})}
        answer = self._read(f"rest/model/{model}", params, headers)
        split = _SPLITTER.split(answer.json_body(), answer.where)
        records: list[dict[str, Any]] = []
        refused = list(split.refused)
        for record_id, payload in zip(split.ids, split.payloads, strict=True):
            try:
                records.append(_RECORD.decode(payload))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
                refused.append(RefusedRecord(payload, f"not JSON: {wrong}", record_id))
        if not all(isinstance(one["id"], int) for one in records):
            raise SystemFault("expected records with numbers for ids", where=answer.where)
        return Listed(records, refused, answer.headers.get("date"))

    def count(self, model: str, domain: Domain) -> int:
        """How many records the domain has, archived ones too."""
        headers = {"x-tryton-context": encoded({"active_test": False})}
        answer = self._client.send(
            "POST", f"rest/model/{model}/search_count", effect="read", json={"domain": domain}, headers=headers
        )
        found = answer.json()
        if not isinstance(found, int):
            raise SystemFault("expected a count", where=answer.where)
        return found

    def fields(self, model: str) -> frozenset[str]:
        """The names of a model's fields; asked once."""
        if model not in self._fields:
            answer = self._client.send("POST", f"rest/model/{model}/fields_get", effect="read", json={})
            found = answer.json()
            if not isinstance(found, dict) or "id" not in found:
                raise SystemFault("expected the fields of a model", where=answer.where)
            self._fields[model] = frozenset(found)
        return self._fields[model]

    def create(self, model: str, values: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
        """The record as it was created. Raises Rejected with Tryton's own sentence."""
        return self._write("POST", f"rest/model/{model}", values, fields)

    def update(self, model: str, record_id: int, values: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
        """The record as it stands after the update. Raises Rejected, with status 404 where it is gone."""
        return self._write("PUT", f"rest/model/{model}/{record_id}", values, fields)

    def _read(self, path: str, params: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
        answer = self._client.get(path, params, headers=headers, accept=frozenset({500, *_GONE}))
        if answer.status == 500:
            unknown = _KEY_ERROR.search(answer.body)
            if unknown is not None:
                raise Misdeclared(f"Tryton knows no {unknown[1].decode()}", where=answer.where, status=500)
            raise SystemFault("answered 500", where=answer.where, status=500)
        if answer.status in _GONE:
            raise Misdeclared("there is no Tryton database at this URL", where=answer.where, status=404)
        return answer

    def _write(self, method: str, path: str, values: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
        answer = self._client.send(
            method, path, effect="write", json=values, params={"f": list(fields)}, accept=_REFUSED | _GONE
        )
        if answer.status in _GONE:
            raise Rejected("the record does not exist (any more)", where=answer.where, status=404)
        if answer.status in _REFUSED:
            raise _refusal(answer)
        found = answer.json()
        if not isinstance(found, dict) or "id" not in found:
            raise SystemFault("expected the written record", where=answer.where)
        return found


def _refusal(answer: Answer) -> ConnectorError:
    """Tryton's user errors (400) concern this record; 409 means that somebody else wrote it at the same moment."""
    try:
        said = str(msgspec.json.decode(answer.body)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        said = f"refused ({answer.status})"
    if answer.status == 409:
        return Transient("somebody else wrote the record at the same moment", where=answer.where, status=409)
    return Rejected(said, where=answer.where, status=answer.status)
