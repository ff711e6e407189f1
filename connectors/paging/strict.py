"""One record by itself: its id exactly as sent, its marks, or the reason why it cannot be landed.

RELIABILITY section 3, source records 1, 2, 4, 5, 6, 37, 38.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

MAX_RECORD_BYTES = 10 * 1024 * 1024
MAX_FIELDS = 100_000
MAX_ID_CHARACTERS = 500
_EXACT = 2**53
"""From here on a float no longer tells neighbouring integers apart."""
_SUSPECT_BYTES = 4 * MAX_FIELDS
"""A record shorter than this cannot hold MAX_FIELDS members (`"":1,` each)."""

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class RecordRefused(Exception):
    """This record cannot be landed; the reason says what was expected and found."""

    def __init__(self, reason: str, record_id: str | None = None) -> None:
        self.reason = reason
        self.record_id = record_id
        super().__init__(reason)


def path_of(dotted: str) -> tuple[str, ...]:
    """A dotted path as its parts; a dot inside a name is written `\\.` (`@odata\\.nextLink`)."""
    if not dotted:
        return ()
    return tuple(part.replace("\0", ".") for part in dotted.replace("\\.", "\0").split("."))


def leaf(record: bytes, path: Sequence[str]) -> bytes | None:
    """The JSON text at a path inside a record; None where a step is absent or no object."""
    found: bytes = record
    for step in path:
        if found.lstrip()[:1] != b"{":
            return None
        inner = _members.decode(found).get(step)
        if inner is None:
            return None
        found = bytes(inner)
    return found.strip()


def id_text(raw: bytes | None, name: str) -> str:
    """An id as text, exactly as sent; RecordRefused where it is no usable id."""
    if raw is None:
        raise RecordRefused(f"expected an id at {name}, found none")
    if raw == b"null":
        raise RecordRefused(f"expected an id at {name}, found null")
    if raw[:1] == b'"':
        return checked_id(msgspec.json.decode(raw, type=str), name)
    if raw[:1] in b"{[" or raw in (b"true", b"false"):
        raise RecordRefused(f"expected an id at {name}, found {_kind(raw)}")
    text = raw.decode()
    if not text.lstrip("-").isdigit():
        _check_float(text, name)
    return checked_id(text, name)


def checked_id(text: str, name: str) -> str:
    """The id, or RecordRefused for one that is blank, padded with spaces, too long or holds control characters."""
    if not text.strip():
        raise RecordRefused(f"expected an id at {name}, found a blank one")
    if text != text.strip():
        raise RecordRefused(f"expected an id without spaces around it at {name}", text.strip()[:MAX_ID_CHARACTERS])
    if len(text) > MAX_ID_CHARACTERS:
        raise RecordRefused(f"expected an id of at most {MAX_ID_CHARACTERS} characters at {name}, found {len(text)}")
    if any(ord(char) < 32 for char in text):
        raise RecordRefused(f"expected an id without control characters at {name}")
    return text


def _check_float(text: str, name: str) -> None:
    try:
        value = float(text)
    except ValueError:
        raise RecordRefused(f"expected an id at {name}, found something that is no JSON value") from None
    if abs(value) >= _EXACT or not value.is_integer():
        raise RecordRefused(f"expected an exact id at {name}, found a floating-point number", text[:40])


def mark_text(raw: bytes | None) -> str | None:
    """A change mark or flag as text: strings unquoted, everything else as sent; None for absent, null and \"\"."""
    if raw is None or raw == b"null":
        return None
    if raw[:1] == b'"':
        return msgspec.json.decode(raw, type=str) or None
    return raw.decode("utf-8", "replace")


def check_size(record: bytes) -> None:
    """RecordRefused for a record beyond the limits on bytes and fields."""
    if len(record) > MAX_RECORD_BYTES:
        raise RecordRefused(f"expected at most {MAX_RECORD_BYTES} bytes, found {len(record)}")
    if len(record) > _SUSPECT_BYTES and (fields := record.count(b'":')) > MAX_FIELDS:
        raise RecordRefused(f"expected at most {MAX_FIELDS} fields, found about {fields}")


def check_json(record: bytes) -> None:
    """RecordRefused for a record that is not one JSON object by itself."""
    try:
        members = _members.decode(record)
    except msgspec.ValidationError:
        raise RecordRefused(f"expected an object, found {_kind(record)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise RecordRefused(f"not JSON: {wrong}") from None
    if not members:
        raise RecordRefused("expected an object with fields, found an empty one")


def plain_ids(raws: Sequence[bytes]) -> list[str] | None:
    """The parts of an id as they stand in a damaged record; None where they could not be one."""
    try:
        return [checked_id(id_text(raw, ""), "") for raw in raws]
    except (RecordRefused, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _kind(raw: bytes) -> str:
    names = {b"{": "an object", b"[": "a list", b'"': "text", b"t": "true", b"f": "false", b"n": "null"}
    return names.get(raw.lstrip()[:1], "a number")
