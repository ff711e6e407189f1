"""Writes of a REST manifest: creates, updates, archives and deletes, one by one or in batches, each with a receipt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from canonical.declarations.manifest import Operation, StreamManifest
from connectors.http import Answer, HttpClient
from connectors.http.outcome import excerpt, segment
from connectors.http.receipts import batch_key, in_key_order, one_by_one, rejected, unknown
from connectors.paging.strict import leaf, mark_text, path_of
from connectors.protocol import Ambiguous, Misdeclared, Receipt, Write

_NO_ERROR = ("false", "0", "[]", "{}")
_REFUSALS = frozenset({400, 404, 405, 409, 410, 412, 413, 415, 422})
"""Statuses by which a system refuses what a write says, as opposed to who we are or how it is."""


class Writer:
    """Writes one stream of one system."""

    def __init__(self, client: HttpClient, manifest: StreamManifest) -> None:
        self._client = client
        self._manifest = manifest
        self.where = f"{client.system}/{manifest.name}"
        self._id_path = path_of(manifest.stream.key[0])

    def write(self, writes: Sequence[Write]) -> Sequence[Receipt]:
        """One receipt a write; see connectors.protocol.Target.write."""
        if not writes:
            return []
        operation: Operation | None = getattr(self._manifest, writes[0].op)
        if operation is None:
            raise Misdeclared(f"the manifest declares no `{writes[0].op}`", where=self.where)
        if operation.batch == 1 or len(writes) == 1:
            return one_by_one(writes, lambda write: self._single(operation, write))
        return in_key_order(writes, lambda batch: self._batch(operation, batch))

    def _single(self, operation: Operation, write: Write) -> Receipt:
        item = self._item(operation, write)
        body: Any = item
        if operation.body == "array" or operation.batch > 1:
            body = [item]
        if operation.body == "wrapped" and operation.wrap:
            body = {operation.wrap: body}
        answer = self._send(operation, write.source_id, body, write.key, has_body=operation.method != "DELETE")
        if answer.status in _REFUSALS:
            return self._refusal(write, answer)
        if answer.status == 204 or not answer.body.strip():
            return self._without_body(write, answer)
        if operation.batch == 1:
            return self._judged(operation, write, answer.json_body(), answer.status)
        results = self._results(operation, answer)
        found = results[0] if results is not None and len(results) == 1 else None
        return self._judged(operation, write, found, answer.status)

    def _batch(self, operation: Operation, writes: Sequence[Write]) -> Sequence[Receipt]:
        items = [self._item(operation, write) for write in writes]
        body: Any = {operation.wrap: items} if operation.body == "wrapped" and operation.wrap else items
        answer = self._send(operation, None, body, batch_key(writes), has_body=True)
        if answer.status in _REFUSALS:  # refused as a whole: nothing was done, and each write can be judged by itself
            return one_by_one(writes, lambda write: self._single(operation, write))
        if not answer.body.strip():
            return [self._without_body(write, answer) for write in writes]
        found = self._results(operation, answer)
        if found is None:
            return [unknown(write, "expected a list of results, found none", status=answer.status) for write in writes]
        matched = self._matched(operation, writes, items, found)
        return [
            self._judged(operation, write, result, answer.status) for write, result in zip(writes, matched, strict=True)
        ]

    def _results(self, operation: Operation, answer: Answer) -> list[bytes] | None:
        """The results of a batch as raw JSON; None where the answer has no such list."""
        body = answer.json_body()
        try:
            found = leaf(body, path_of(operation.items or ""))
            return None if found is None else [bytes(one) for one in msgspec.json.decode(found, type=list[msgspec.Raw])]
        except msgspec.ValidationError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            raise Ambiguous(f"expected whole JSON, found {wrong}", where=answer.where) from None

    def _matched(
        self, operation: Operation, writes: Sequence[Write], items: Sequence[Mapping[str, Any]], found: Sequence[bytes]
    ) -> list[bytes | None]:
        """Each write's own result: by the repeated field, by id, else by position where the counts agree."""
        if operation.ref_field:
            path = path_of(operation.ref_field)
            by_ref = {text_at(one, path): one for one in found}
            return [by_ref.get(_text(at(item, path))) for item in items]
        if all(write.source_id is not None for write in writes):
            path = path_of(operation.id) if operation.id else self._id_path
            by_id = {text_at(one, path): one for one in found}
            return [by_id.get(write.source_id) for write in writes]
        return list(found) if len(found) == len(writes) else [None] * len(writes)

    def _item(self, operation: Operation, write: Write) -> dict[str, Any]:
        """What is sent for one write: its fields, the fixed ones, and its id where the path does not carry it."""
        item: dict[str, Any] = {**write.payload, **operation.fields}
        if write.source_id is not None and "{id}" not in operation.path:
            put(item, self._id_path, write.source_id)
        if operation.ref_field and at(item, path_of(operation.ref_field)) is None:
            put(item, path_of(operation.ref_field), write.ref)
        return item

    def _send(self, operation: Operation, record_id: str | None, body: Any, key: str, *, has_body: bool) -> Answer:
        path = operation.path
        if "{id}" in path:
            if record_id is None:
                raise Misdeclared("expected an id to write to, found none", where=self.where)
            path = path.replace("{id}", segment(record_id))
        headers = {operation.idempotency_header: key} if operation.idempotency_header else {}
        return self._client.send(
            operation.method,
            path,
            json=body if has_body else None,
            headers=headers,
            effect="write",
            accept=_REFUSALS,
        )

    def _refusal(self, write: Write, answer: Answer) -> Receipt:
        if write.op in ("archive", "delete") and answer.status in (404, 410):
            return Receipt(write.ref, "done", source_id=write.source_id, reason="it was gone", status=answer.status)
        reason = excerpt(answer.body).removeprefix(": ") or f"answered {answer.status}"
        return rejected(write, reason, status=answer.status)

    def _without_body(self, write: Write, answer: Answer) -> Receipt:
        if write.op == "create" or answer.status == 202:
            return unknown(write, f"answered {answer.status} without saying which record", status=answer.status)
        return Receipt(write.ref, "done", source_id=write.source_id, status=answer.status)

    def _judged(self, operation: Operation, write: Write, result: bytes | None, status: int) -> Receipt:
        """The receipt for one result of an answer."""
        if result is None:
            return unknown(write, "the answer does not speak of this write", status=status)
        try:
            error = text_at(result, path_of(operation.error)) if operation.error else None
            record = leaf(result, path_of(operation.record)) if operation.record else None
            found_id = (
                text_at(result, path_of(operation.id)) if operation.id else text_at(record or result, self._id_path)
            )
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            return unknown(write, f"expected whole JSON, found {wrong}", status=status)
        if error and error not in _NO_ERROR:
            return rejected(write, error, status=status)
        if write.op == "create" and not found_id:
            return unknown(write, "the answer carries no id", status=status)
        if write.source_id is not None and found_id is not None and found_id != write.source_id:
            return unknown(write, "the answer speaks of another record", status=status)
        body = record if record is not None and record[:1] == b"{" else None
        return Receipt(write.ref, "done", source_id=found_id or write.source_id, record=body, status=status)


def at(value: Any, path: Sequence[str]) -> Any:
    """What stands at a path of decoded JSON; None where nothing does. A number steps into a list."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def text_at(record: bytes, path: Sequence[str]) -> str | None:
    """The text of what stands at a path of raw JSON."""
    return mark_text(leaf(record, path))


def put(item: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set what stands at a path, without touching objects that others hold."""
    *outer, last = path
    for step in outer:
        item[step] = dict(item.get(step) or {})
        item = item[step]
    item[last] = value


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
