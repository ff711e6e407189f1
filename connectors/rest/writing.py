"""Writes of a REST manifest: creates, updates, archives and deletes, one by one or in batches, each with a receipt."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from canonical.declarations.manifest import Operation, StreamManifest
from canonical.readback import is_another
from connectors.http import Answer, HttpClient
from connectors.http.outcome import excerpt, segment
from connectors.http.receipts import batch_key, in_key_order, one_by_one, rejected, unasked, unknown
from connectors.paging.strict import leaf, mark_text, path_of
from connectors.protocol import Ambiguous, Misdeclared, Receipt, Write

_NO_ERROR = ("false", "0", "[]", "{}")
_KEY_TROUBLE = re.compile(rb"idempoten", re.IGNORECASE)
"""How a target says that it knows the key of a request: still at work on it, or with another body."""
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
            return self._refusal(operation, write, answer)
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
        if operation.idempotency_header and answer.status in _REFUSALS and _KEY_TROUBLE.search(answer.body):
            return [self._refusal(operation, write, answer) for write in writes]
        if answer.status in _REFUSALS:  # refused as a whole: nothing was done, and each write can be judged by itself
            return one_by_one(writes, lambda write: self._single(operation, write))
        if not answer.body.strip():
            return [self._without_body(write, answer) for write in writes]
        found = self._results(operation, answer)
        if found is None:
            return [unknown(write, "expected a list of results, found none", status=answer.status) for write in writes]
        matched = self._matched(operation, writes, items, found)
        receipts = [
            self._judged(operation, write, None if place is None else found[place], answer.status)
            for write, place in zip(writes, matched, strict=True)
        ]
        return [*receipts, *self._unasked(operation, items, found, matched)]

    def _unasked(
        self,
        operation: Operation,
        items: Sequence[Mapping[str, Any]],
        found: Sequence[bytes],
        matched: Sequence[int | None],
    ) -> Iterator[Receipt]:
        """Results that can belong to none of the writes."""
        path = path_of(operation.id) if operation.id else self._id_path
        is_named = operation.ref_field is not None or all(at(item, self._id_path) is not None for item in items)
        left = [_texts(item) for item, place in zip(items, matched, strict=True) if place is None]
        for place, one in enumerate(found):
            if place in matched or (found_id := _text_or_none(one, path)) is None:
                continue
            said = _texts(_leaves(one, operation.record) or {})
            if is_named or (said and all(is_another(item, said) for item in left)):
                yield unasked(found_id)

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
    ) -> list[int | None]:
        """Where each write's own result stands: by the repeated field, by id, else by what the records say. A position
        proves nothing (RELIABILITY P11): only where no result says anything of its record, all in order are taken."""
        if operation.ref_field:
            path = path_of(operation.ref_field)
            by_ref = {_text_or_none(one, path): place for place, one in enumerate(found)}
            return [by_ref.get(_text(at(item, path))) for item in items]
        if all(write.source_id is not None for write in writes):
            path = path_of(operation.id) if operation.id else self._id_path
            by_id = {_text_or_none(one, path): place for place, one in enumerate(found)}
            return [by_id.get(write.source_id) for write in writes]
        said = [_leaves(one, operation.record) for one in found]
        if not any(_shared(item, one) for item in items for one in said):
            return list(range(len(found))) if len(found) == len(writes) else [None] * len(writes)
        return _told_apart(items, said)

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

    def _refusal(self, operation: Operation, write: Write, answer: Answer) -> Receipt:
        if operation.idempotency_header and _KEY_TROUBLE.search(answer.body):
            return unknown(write, f"answered {answer.status} about its idempotency key", status=answer.status)
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


def _told_apart(items: Sequence[Mapping[str, Any]], said: Sequence[Mapping[str, Any] | None]) -> list[int | None]:
    """For each item sent, the one result that repeats all of it that it speaks of, and speaks so of no other item."""
    fits = [[n for n, one in enumerate(said) if _shared(item, one) and _repeats(item, one)] for item in items]
    times = Counter(n for places in fits for n in places)
    return [places[0] if len(places) == 1 and times[places[0]] == 1 else None for places in fits]


def _shared(item: Mapping[str, Any], one: Mapping[str, Any] | None) -> set[str]:
    """The fields that were sent and are spoken of."""
    return {name for name, value in item.items() if value is not None and one is not None and name in one}


def _repeats(item: Mapping[str, Any], one: Mapping[str, Any] | None) -> bool:
    return one is not None and all(_plain(item[name]) == _plain(one[name]) for name in _shared(item, one))


def _texts(item: Mapping[str, Any]) -> dict[str, str | None]:
    """The fields of a record that are plain values, as text."""
    plain = {name: value for name, value in item.items() if not isinstance(value, Mapping | list | tuple)}
    return {name: None if value is None else str(value) for name, value in plain.items()}


def _plain(value: Any) -> str:
    """A value whatever its case, its spaces and the kind of its number."""
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, sort_keys=True, default=str)
    return "".join(str(value).split()).casefold()


def _leaves(result: bytes, record: str | None) -> Mapping[str, Any] | None:
    """The fields of a result's record; None where it has none."""
    try:
        found = leaf(result, path_of(record)) if record else result
        decoded = msgspec.json.decode(found) if found else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _text_or_none(result: bytes, path: Sequence[str]) -> str | None:
    """The text at a path of one result; None where it is damaged or says nothing."""
    try:
        return text_at(result, path)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


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
