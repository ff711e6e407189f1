"""What a lying system's answers look like: pages without records, the same page again, other ids, other types.

Works on the answer's JSON, so that it serves every system: a list of records is the member that holds objects, an id is
one of the names that the vendors use. Pure functions; a body that has nothing to change is given back as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from sandbox.xero_documents import ID_FIELD

Doc = dict[str, Any]
_ID_NAMES = ("id", "gid", *ID_FIELD.values())
_NO_RECORDS = ("errors", "ValidationErrors", "Elements")
NOWHERE_ID = "00000000-0000-4000-8000-000000000404"


def parsed(body: bytes) -> Doc | None:
    """The answer as a JSON object, or None where it is none."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def list_name(doc: Doc) -> str | None:
    """The member that holds the records of a page, or None where the answer is no page."""
    lists = [name for name, value in doc.items() if isinstance(value, list) and name not in _NO_RECORDS]
    return lists[0] if lists else None


def records_of(doc: Doc) -> list[Doc]:
    """The records of an answer: those of its page, or the one it is about."""
    if (name := list_name(doc)) is not None:
        return [one for one in doc[name] if isinstance(one, dict)]
    inner = doc.get("data", doc)
    return [inner] if isinstance(inner, dict) and id_name(inner) else []


def id_name(record: Doc) -> str | None:
    """The name under which a record has its id."""
    return next((name for name in _ID_NAMES if name in record), None)


def without_records(doc: Doc) -> Doc:
    """A valid page of a system that holds nothing."""
    if (name := list_name(doc)) is None:
        return doc
    return _as_last({**doc, name: []}, total=0)


def cut_short(doc: Doc) -> Doc:
    """A page that ends early at a valid boundary: half of its records, no way on. The totals stay as they were said."""
    if (name := list_name(doc)) is None:
        return doc
    return _as_last({**doc, name: doc[name][: len(doc[name]) // 2]}, total=None)


def with_records(doc: Doc, records: list[Doc]) -> Doc:
    """A page with the records of another."""
    name = list_name(doc)
    return doc if name is None else {**doc, name: records}


def endless(doc: Doc, asked_after: str) -> Doc:
    """A page whose way on leads back to it. asked_after: the token that the request came with ("" for none)."""
    if (name := list_name(doc)) is None:
        return doc
    records = records_of(doc)
    token = asked_after or (str(records[-1].get(id_name(records[-1]) or "", "1")) if records else "1")
    if name == "results":
        return {**doc, "paging": {"next": {"after": token, "link": ""}}}
    if name == "data":
        return {**doc, "next_page": {"offset": token, "path": f"/?offset={token}", "uri": f"/?offset={token}"}}
    pages = doc.get("pagination")
    return {**doc, "pagination": {**pages, "pageCount": 10**6, "itemCount": 10**8}} if pages else doc


def with_other_id(doc: Doc, other_id: str) -> Doc:
    """The answer with another id on its first record."""
    records = records_of(doc)
    if not records or (name := id_name(records[0])) is None:
        return doc
    record = records[0]
    other = other_id or (str(int(str(record[name])) + 10**9) if str(record[name]).isdigit() else NOWHERE_ID)
    record[name] = other
    if isinstance(record.get("properties"), dict) and "hs_object_id" in record["properties"]:
        record["properties"]["hs_object_id"] = other
    return doc


def retyped(doc: Doc, fields: dict[str, Any]) -> Doc:
    """The answer with fields of its records in other types, under other names, with other values, or gone."""
    for record in records_of(doc):
        for path, how in fields.items():
            _change(record, path.split("."), how)
    return doc


def _change(record: Doc, path: list[str], how: Any) -> None:
    *way, last = path
    inner: Any = record
    for name in way:
        inner = inner.get(name) if isinstance(inner, dict) else None
    if not isinstance(inner, dict):
        return
    value = inner.get(last)
    if how == "gone":
        inner.pop(last, None)
    elif isinstance(how, str) and how.startswith("name:"):
        inner[how.removeprefix("name:")] = inner.pop(last, None)
    elif isinstance(how, str) and how in _AS:
        inner[last] = _AS[how](value)
    elif isinstance(how, dict) and set(how) == {"value"}:
        inner[last] = how["value"]
    else:
        inner[last] = how


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 12345.0


_AS: dict[str, Callable[[Any], Any]] = {
    "string": lambda value: value if isinstance(value, str) else str(value),
    "number": _number,
    "object": lambda value: {"value": value},
    "list": lambda value: [value],
    "null": lambda _: None,
}


def _as_last(doc: Doc, total: int | None) -> Doc:
    """The page as the last one; `total` replaces what the page says of all records."""
    found = {name: value for name, value in doc.items() if name != "paging"}
    if "next_page" in found:
        found["next_page"] = None
    if total is None:
        return found
    if isinstance(pages := found.get("pagination"), dict):
        found["pagination"] = {**pages, "pageCount": 0, "itemCount": total}
    if "total" in found:
        found["total"] = total
    return found
