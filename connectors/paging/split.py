"""A body of many records as columns: the raw bytes of each record, its id, its change mark, whether it is gone.

The records are not parsed here: one typed pass cuts the list into raw pieces and another reads only the head fields.
What did not change is dropped later by its bytes, before anything is parsed (DESIGN 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import msgspec

from connectors.paging.heads import Getter, Places
from connectors.paging.scan import NoBoundaries, boundaries, members
from connectors.paging.strict import (
    MAX_ID_CHARACTERS,
    RecordRefused,
    check_json,
    check_size,
    id_text,
    leaf,
    mark_text,
    path_of,
    plain_ids,
)
from connectors.protocol import RefusedRecord, SystemFault, Transient

_QUICK_LOOK_BYTES = 400_000
"""A record below this size is within strict.py's limits on bytes and fields."""
_Mark = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Shape:
    """Where a body keeps its records, and each record its head. All paths are dotted; "" is the body itself.

    deleted    path → values (as text) that say that the record is gone
    envelope   what else is wanted of the body: our name → path
    parent     path of the parent's id, for child streams
    """

    records: str
    key: tuple[str, ...]
    changed: str | None = None
    deleted: tuple[str, frozenset[str]] | None = None
    parent: str | None = None
    envelope: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Split:
    """The records of one body as columns of equal length, and what was wanted of the envelope."""

    ids: list[str]
    payloads: list[bytes]
    changed: list[str | None]
    deleted: list[bool]
    parents: list[str] | None
    refused: list[RefusedRecord]
    envelope: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.ids) + len(self.refused)


class Splitter:
    """Splits bodies of one shape. Thread-safe: it keeps only decoders."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._records = path_of(shape.records)
        self._keys = [path_of(one) for one in shape.key]
        self._changed = path_of(shape.changed) if shape.changed else None
        self._gone = shape.deleted[1] if shape.deleted else frozenset[str]()
        self._deleted = path_of(shape.deleted[0]) if shape.deleted else None
        self._parent = path_of(shape.parent) if shape.parent else None
        head, self._getters = self._head()
        self._raw_body, self._get_raw, self._get_envelope = self._body(msgspec.Raw, shape.envelope)
        self._head_body, self._get_heads, _ = self._body(head, {})

    def split(self, body: bytes, where: str = "") -> Split:
        """The body's records. SystemFault: JSON of another shape. Transient: cut or damaged beyond its records."""
        try:
            outer = self._raw_body.decode(body)
        except msgspec.ValidationError as wrong:
            place = self.shape.records or "the top"
            raise SystemFault(f"expected a list of records at {place}, found: {wrong}", where=where) from None
        except RecursionError:
            raise SystemFault("the JSON is nested too deeply", where=where) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            return self._around_damage(body, where, wrong)
        payloads = list(map(bytes, self._get_raw(outer)))
        envelope = {name: get(outer) for name, get in self._get_envelope.items()}
        fast = self._fast(body, payloads, envelope)
        return self._slow(payloads, envelope) if fast is None else fast

    def _fast(self, body: bytes, payloads: list[bytes], envelope: Mapping[str, Any]) -> Split | None:
        """Columns by one typed pass over the whole body; None when any record needs a closer look."""
        if len(body) > _QUICK_LOOK_BYTES and max(map(len, payloads), default=0) > _QUICK_LOOK_BYTES:
            return None
        try:
            heads = self._get_heads(self._head_body.decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        columns: list[list[str]] = []
        for get in self._getters["key"]:
            if (column := _texts(list(map(get, heads)))) is None:
                return None
            columns.append(column)
        changed: list[str | None] = [None] * len(heads)
        for get in self._getters["changed"]:
            changed = _marks(list(map(get, heads)))
        deleted = [False] * len(heads)
        for get in self._getters["deleted"]:
            deleted = [flag in self._gone for flag in _marks(list(map(get, heads)))]
        parents = None
        for get in self._getters["parent"]:
            if (parents := _texts(list(map(get, heads)))) is None:
                return None
        ids = columns[0] if len(columns) == 1 else _composed(columns)
        return Split(ids, payloads, changed, deleted, parents, [], envelope)

    def _slow(self, payloads: Sequence[bytes], envelope: Mapping[str, Any]) -> Split:
        """Each record by itself: the bad ones are refused with a reason, the others land."""
        split = Split([], [], [], [], None if self._parent is None else [], [], envelope)
        for payload in payloads:
            piece = payload.strip()
            try:
                self._land(split, piece)
            except RecordRefused as refused:
                known = refused.record_id or self._id_in_damage(piece)
                split.refused.append(RefusedRecord(piece, refused.reason, known))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
                split.refused.append(RefusedRecord(piece, f"not JSON: {wrong}", self._id_in_damage(piece)))
        return split

    def _id_in_damage(self, piece: bytes) -> str | None:
        """The id of a record that cannot be landed, where it has one that could be told."""
        found = members(piece, self._keys)
        parts = plain_ids(found) if len(found) == len(self._keys) else None
        if parts is None:
            return None
        return parts[0] if len(parts) == 1 else _composed([[part] for part in parts])[0]

    def _land(self, split: Split, piece: bytes) -> None:
        """Add one record to the columns, or raise why not."""
        check_size(piece)
        check_json(piece)
        parts = [id_text(leaf(piece, path), ".".join(path)) for path in self._keys]
        parent = None if self._parent is None else id_text(leaf(piece, self._parent), ".".join(self._parent))
        changed = None if self._changed is None else mark_text(leaf(piece, self._changed))
        flag = None if self._deleted is None else mark_text(leaf(piece, self._deleted))
        split.ids.append(parts[0] if len(parts) == 1 else _composed([[part] for part in parts])[0])
        split.payloads.append(piece)
        split.changed.append(changed)
        split.deleted.append(flag in self._gone)
        if split.parents is not None and parent is not None:
            split.parents.append(parent)

    def _around_damage(self, body: bytes, where: str, wrong: Exception) -> Split:
        """A body that is no JSON: cut out the records by their braces; the damage may lie in one of them."""
        try:
            pieces, (start, end) = boundaries(body, self._records)
            outer = self._raw_body.decode(body[:start] + b"[]" + body[end:])
        except (NoBoundaries, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Transient(f"expected whole JSON, found {wrong}", where=where) from None
        envelope = {name: get(outer) for name, get in self._get_envelope.items()}
        return self._slow([body[first:last] for first, last in pieces], envelope)

    def _head(self) -> tuple[type[Any], Mapping[str, Sequence[Getter]]]:
        places = Places(is_lenient=False)
        getters = {
            "key": [places.add(path, str | int, is_required=True) for path in self._keys],
            "parent": [places.add(self._parent, str | int, is_required=True)] if self._parent else [],
            "changed": [places.add(self._changed, _Mark)] if self._changed else [],
            "deleted": [places.add(self._deleted, _Mark)] if self._deleted else [],
        }
        return places.struct(), getters

    def _body(
        self, record: Any, envelope: Mapping[str, str]
    ) -> tuple[msgspec.json.Decoder[Any], Getter, Mapping[str, Getter]]:
        if not self._records:
            return msgspec.json.Decoder(list[record]), lambda found: found, {}
        places = Places(is_lenient=True)
        get_records = places.add(self._records, list[record], is_required=True)
        get_envelope = {name: places.add(path_of(path), Any) for name, path in envelope.items()}
        return msgspec.json.Decoder(places.struct()), get_records, get_envelope


def _texts(values: list[Any]) -> list[str] | None:
    """Ids as text; None when one of them is blank, padded, very long or unprintable and needs a closer look."""
    try:
        texts = list(map(str.strip, values))
    except TypeError:
        values = list(map(str, values))
        texts = list(map(str.strip, values))
    is_plain = texts == values and all(texts) and "".join(texts).isprintable()
    return texts if is_plain and max(map(len, texts), default=0) <= MAX_ID_CHARACTERS else None


def _marks(values: list[Any]) -> list[str | None]:
    """Marks or flags as text; a page mostly has them as text already."""
    if set(map(type, values)) <= {str, NoneType} and "" not in values:
        return values
    return list(map(_mark, values))


def _mark(value: Any) -> str | None:
    """A mark or flag as text, as strict.mark_text gives it."""
    if value is None or type(value) is str:
        return value or None
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _composed(columns: Sequence[Sequence[str]]) -> list[str]:
    """Composite keys: the compact JSON array of their parts."""
    return [msgspec.json.encode(parts).decode() for parts in zip(*columns, strict=True)]
