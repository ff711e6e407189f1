"""Writing to Asana: batches of ten actions with an answer each, then what takes a request of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from connectors.asana.kinds import BASE, BATCH_SIZE, Kind
from connectors.asana.lookup import Lookup
from connectors.asana.reading import Reader
from connectors.asana.shapes import STATUS_TYPES, Shaped, shaped
from connectors.asana.workspace import Workspace
from connectors.http import HttpClient
from connectors.http.outcome import excerpt, of_status, segment
from connectors.http.receipts import one_by_one, rejected, retry, unknown
from connectors.paging.strict import leaf, mark_text
from connectors.protocol import (
    Ambiguous,
    ConnectorError,
    Misdeclared,
    Receipt,
    Rejected,
    SourceRecord,
    Transient,
    Write,
)

_REFUSALS = frozenset({400, 402, 403, 404, 409, 412, 413, 422, 424, 451})
"""Refusals of one record. 402: a feature that the plan does not have; 403: this record is not ours to change."""


_WITH_BODY = frozenset({"POST", "PUT"})


class _Error(msgspec.Struct):
    message: str = ""
    phrase: str = ""


class _Errors(msgspec.Struct):
    errors: list[_Error] = []


class _Result(msgspec.Struct):
    status_code: int
    body: msgspec.Raw = msgspec.Raw(b"{}")
    headers: dict[str, Any] = {}


class _Results(msgspec.Struct):
    data: list[_Result]


@dataclass(frozen=True, slots=True)
class _Action:
    """One request, plain or inside a batch. GET: nothing of the record itself is to change, but what comes after it."""

    write: Write
    method: str
    path: str
    """Relative to the API's base."""
    shaped: Shaped


@dataclass(frozen=True, slots=True)
class _Said:
    """What Asana said to one action."""

    status: int
    body: bytes
    headers: Mapping[str, Any]


class Writer:
    """Writes one stream of one workspace."""

    def __init__(self, client: HttpClient, workspace: Workspace, kind: Kind, reader: Reader, lookup: Lookup) -> None:
        self._client = client
        self._workspace = workspace
        self._kind = kind
        self._reader = reader
        self._lookup = lookup
        self.where = kind.where

    def write(self, writes: Sequence[Write]) -> Sequence[Receipt]:
        """One receipt a write; see connectors.protocol.Target.write."""
        if not writes:
            return []
        op = writes[0].op
        if op not in self._kind.ops:
            raise Misdeclared(f"{self._kind.name} cannot be told to {op}", where=self.where)
        try:
            receipts = self._written(writes)
        except (Ambiguous, Transient):
            self._lookup.forget()
            raise
        self._remember(writes, receipts)
        return receipts

    def _written(self, writes: Sequence[Write]) -> list[Receipt]:
        actions, receipts = self._planned(writes)
        for start in range(0, len(actions), BATCH_SIZE):
            for receipt in self._sent(actions[start : start + BATCH_SIZE]):
                receipts[receipt.ref] = receipt
        for action in actions:
            receipts[action.write.ref] = self._finished(action, receipts[action.write.ref])
        return [receipts[write.ref] for write in writes]

    def _planned(self, writes: Sequence[Write]) -> tuple[list[_Action], dict[str, Receipt]]:
        """What is to be sent, and the receipts of what need not be."""
        dues = self._due_dates(writes)
        actions: list[_Action] = []
        receipts: dict[str, Receipt] = {}
        for write in writes:
            try:
                actions.append(self._action(write, dues))
            except Rejected as refused:
                receipts[write.ref] = rejected(write, refused.reason, field=refused.field)
        return actions, receipts

    def _due_dates(self, writes: Sequence[Write]) -> dict[str, str | None]:
        """The due dates held by records whose start date alone is to change: Asana takes the two only together."""
        ids = [
            str(write.source_id)
            for write in writes
            if write.op == "update" and "start_on" in write.payload and "due_on" not in write.payload
        ]
        return {record.id: mark_text(leaf(record.payload, ("due_on",))) for record in self._reader.get(ids)}

    def _action(self, write: Write, dues: Mapping[str, str | None]) -> _Action:
        path = f"/{self._kind.name}" if write.source_id is None else f"/{self._kind.name}/{segment(write.source_id)}"
        match write.op:
            case "create":
                wanted = shaped(write.payload, self._workspace, is_new=True)
                return _Action(write, "POST", path, replace(wanted, data=self._placed(wanted.data)))
            case "update":
                wanted = shaped(write.payload, self._workspace, is_new=False)
                if (gid := str(write.source_id)) in dues:
                    wanted = replace(wanted, data={**wanted.data, "due_on": dues[gid]})
                return _Action(write, "PUT" if wanted.data else "GET", path, wanted)
            case "archive":
                return _Action(write, "PUT", path, Shaped({"archived": True}))
            case "delete":
                return _Action(write, "DELETE", path, Shaped({}))

    def _placed(self, data: dict[str, Any]) -> dict[str, Any]:
        """A new record with its place: projects in the workspace and team, tasks in the workspace at least."""
        if self._kind.name == "projects" and self._workspace.team and "team" not in data:
            data = {"team": self._workspace.team, **data}
        is_placed = "workspace" in data or (self._kind.name == "tasks" and ("projects" in data or "parent" in data))
        return data if is_placed else {"workspace": self._workspace.gid, **data}

    def _sent(self, actions: Sequence[_Action]) -> list[Receipt]:
        """The receipts of at most ten actions. A batch that is refused as a whole is sent one by one."""
        if len(actions) == 1:
            return [self._judged(actions[0], self._plain(actions[0]))]
        self._client.charge(len(actions) - 1, self.where)
        answer = self._client.send(
            "POST",
            f"{BASE}/batch",
            json={"data": {"actions": [self._in_batch(action) for action in actions]}},
            effect="write",
            accept=_REFUSALS,
        )
        if answer.status in _REFUSALS:
            by_ref = {action.write.ref: action for action in actions}
            return one_by_one([action.write for action in actions], lambda write: self._sent([by_ref[write.ref]])[0])
        try:
            results = msgspec.json.decode(answer.json_body(), type=_Results).data
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            raise Ambiguous(f"expected the results of a batch, found {wrong}", where=answer.where) from None
        if len(results) != len(actions):
            raise Ambiguous(f"expected {len(actions)} results of a batch, found {len(results)}", where=answer.where)
        said = [_Said(one.status_code, bytes(one.body), one.headers) for one in results]
        return [self._judged(action, one) for action, one in zip(actions, said, strict=True)]

    def _in_batch(self, action: _Action) -> dict[str, Any]:
        entry: dict[str, Any] = {"relative_path": action.path, "method": action.method.lower()}
        if action.method != "DELETE":
            entry["options"] = {"fields": list(self._kind.fields)}
        return entry | ({"data": action.shaped.data} if action.method in _WITH_BODY else {})

    def _plain(self, action: _Action) -> _Said:
        answer = self._client.send(
            action.method,
            f"{BASE}{action.path}",
            params=self._kind.query if action.method != "DELETE" else None,
            json={"data": action.shaped.data} if action.method in _WITH_BODY else None,
            effect="write",
            accept=_REFUSALS,
        )
        return _Said(answer.status, answer.body if answer.status in _REFUSALS else answer.json_body(), answer.headers)

    def _judged(self, action: _Action, said: _Said) -> Receipt:
        """What became of one action, by its own status."""
        write = action.write
        if said.status == 404 and write.op in ("archive", "delete"):
            return Receipt(write.ref, "done", source_id=write.source_id, reason="it was gone", status=404)
        if said.status in _REFUSALS:
            field, reason = _reason(said.body)
            return rejected(write, reason, field=field, status=said.status)
        headers = {str(name).lower(): str(value) for name, value in said.headers.items()}
        error = of_status(said.status, headers, said.body, "write", self.where)
        if isinstance(error, Ambiguous):
            return unknown(write, str(error), status=said.status)
        if error is not None:
            return retry(write, error)
        if write.op == "delete":
            return Receipt(write.ref, "done", source_id=write.source_id, status=said.status)
        return self._held(write, said)

    def _held(self, write: Write, said: _Said) -> Receipt:
        """The record that an answer carries, as it is held now."""
        try:
            record = leaf(said.body, ("data",)) or b"{}"
            gid = mark_text(leaf(record, ("gid",)))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return unknown(write, "the answer is damaged", status=said.status)
        if not gid or gid in ("0", "null"):
            return unknown(write, "the answer carries no gid", status=said.status)
        if write.source_id is not None and gid != write.source_id:
            return unknown(write, "the answer speaks of another record", status=said.status)
        return Receipt(write.ref, "done", source_id=gid, record=record, status=said.status)

    def _finished(self, action: _Action, receipt: Receipt) -> Receipt:
        """After the record itself: its status update, and the projects that an existing task shall be in."""
        wanted = action.shaped
        if receipt.outcome != "done" or receipt.record is None:
            return receipt
        held = receipt.record
        requests: list[tuple[str, str, dict[str, Any]]] = []
        if wanted.status is not None and STATUS_TYPES.get(_colour(held) or "") != wanted.status["status_type"]:
            data = {"parent": receipt.source_id, **wanted.status}
            requests.append(("current_status.color", f"{BASE}/status_updates", data))
        if wanted.projects is not None:
            path = f"{BASE}{action.path}"
            now = _projects(held)
            requests += [
                ("projects", f"{path}/addProject", {"project": one}) for one in wanted.projects if one not in now
            ]
            requests += [
                ("projects", f"{path}/removeProject", {"project": one}) for one in now if one not in wanted.projects
            ]
        for place, path, data in requests:
            try:
                answer = self._client.send("POST", path, json={"data": data}, effect="write", accept=_REFUSALS)
                if answer.status in _REFUSALS:
                    raise Rejected(_reason(answer.body)[1], field=place, status=answer.status)
            except ConnectorError as error:
                return _not_finished(action.write, receipt, place, error)
        return replace(receipt, record=None) if requests else receipt

    def _remember(self, writes: Sequence[Write], receipts: Sequence[Receipt]) -> None:
        """What looks shall know of these writes."""
        if any(receipt.outcome in ("unknown", "retry") for receipt in receipts):
            self._lookup.forget()
        known: list[SourceRecord] = []
        for write, receipt in zip(writes, receipts, strict=True):
            if receipt.outcome == "done" and receipt.source_id is not None:
                if receipt.record is None and write.op in ("create", "update"):
                    self._lookup.forget()
                is_gone = write.op in ("archive", "delete")
                known.append(SourceRecord(receipt.source_id, receipt.record or b"{}", deleted=is_gone))
        self._lookup.note([one for one in known if one.deleted or one.payload != b"{}"])


def _not_finished(write: Write, receipt: Receipt, place: str, error: ConnectorError) -> Receipt:
    """A created record stands, whatever became of the rest: its gid must be kept. An update is tried again."""
    if write.op == "create":
        return replace(receipt, field=place, record=None, reason=f"created, but not complete: {error}"[:500])
    if isinstance(error, Rejected):
        return rejected(write, error.reason, field=place, status=error.status)
    if isinstance(error, Transient | Ambiguous):
        return replace(retry(write, error), field=place)
    raise error


def _colour(record: bytes) -> str | None:
    return mark_text(leaf(record, ("current_status", "color")))


class _Project(msgspec.Struct):
    gid: str


class _Task(msgspec.Struct):
    projects: list[_Project] = []


def _projects(record: bytes) -> list[str]:
    return [one.gid for one in msgspec.json.decode(record, type=_Task).projects]


def _reason(body: bytes) -> tuple[str | None, str]:
    """The field and the reason of a refusal: Asana writes `field: what is wrong` where a field is meant."""
    try:
        messages = [one.message for one in msgspec.json.decode(body, type=_Errors).errors if one.message]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        messages = []
    if not messages:
        return None, excerpt(body).removeprefix(": ") or "refused without a reason"
    head, colon, rest = messages[0].partition(": ")
    if len(messages) == 1 and colon and head.replace(".", "").replace("_", "").isalnum():
        return head, rest
    return None, "; ".join(messages)
