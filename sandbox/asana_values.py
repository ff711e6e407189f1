"""How Asana shows and takes values: chosen fields, custom fields by type, dates, error bodies. No state here."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

import orjson

from sandbox.store import Doc

HELP = (
    "For more information on API status codes and how to handle them,"
    " read the docs on errors: https://developers.asana.com/docs/errors"
)
PHRASE = "6 sad squid snuggle softly"
"""The vendor's own example of the phrase that comes with its 500s."""
MOST_TEXT = 1_024  # characters in a text custom field
MOST_EXTERNAL_GID = 1_024
MOST_EXTERNAL_DATA = 32_768
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z")


class Refusal(Exception):
    """A request that is answered with Asana's error body."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def body(self) -> Doc:
        """As Asana writes it: a list of errors, each with a help text; 500s carry a phrase instead."""
        error = {"message": str(self)}
        return {"errors": [error | ({"phrase": PHRASE} if self.status >= 500 else {"help": HELP})]}


def compact(doc: Doc | None) -> Doc | None:
    """An object as others mention it."""
    if doc is None:
        return None
    names = ("gid", "resource_type", "resource_subtype", "name", "title")
    return {name: doc[name] for name in names if name in doc}


def chosen(doc: Doc, fields: Iterable[str]) -> Doc:
    """Only the wanted fields of an object, and its gid; nested ones by dotted paths, also through lists."""
    wanted: dict[str, list[str]] = {}
    for field in fields:
        head, _, rest = field.partition(".")
        wanted.setdefault(head, []).extend([rest] if rest else [])
    shown: Doc = {"gid": doc["gid"]} if "gid" in doc else {}
    for name, inner in wanted.items():
        if name in doc:
            shown[name] = _inside(doc[name], inner)
    return shown


def _inside(value: Any, fields: list[str]) -> Any:
    if isinstance(value, list):
        return [_inside(one, fields) for one in value]
    if not isinstance(value, dict) or "gid" not in value:
        return value
    if fields:
        return chosen(value, fields)
    return value if "type" in value else {name: value[name] for name in ("gid", "resource_type") if name in value}


def token(after: str, asked: str) -> str:
    """An offset token: where the next page starts, good only for the same question."""
    return base64.urlsafe_b64encode(orjson.dumps([after, asked])).decode().rstrip("=")


def after_token(text: str, asked: str) -> str:
    """The gid after which the page starts. Raises Refusal for a token that was never given for this question."""
    try:
        after, question = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, orjson.JSONDecodeError, ValueError, TypeError):
        after, question = "", None
    if question != asked:
        raise Refusal(400, "offset: Your pagination token is invalid.")
    return str(after)


def day(value: Any, name: str) -> str | None:
    """A date as YYYY-MM-DD or null."""
    if value is None:
        return None
    if not isinstance(value, str) or not _DAY.match(value):
        raise Refusal(400, f"{name}: Not a valid date: {str(value)[:40]}")
    try:
        date.fromisoformat(value)
    except ValueError:
        raise Refusal(400, f"{name}: Not a valid date: {value}") from None
    return value


def moment_ms(value: str, name: str) -> int:
    """A moment in ISO 8601 as milliseconds since 1970."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise Refusal(400, f"{name}: Not a valid datetime: {value[:40]}") from None
    if found.tzinfo is None:
        raise Refusal(400, f"{name}: Not a valid datetime: {value[:40]}")
    return int(found.timestamp() * 1000)


def text(value: Any, name: str, most: int = 1_000_000) -> str:
    """A text of bounded length."""
    if not isinstance(value, str):
        raise Refusal(400, f"{name}: Value is not a string: {str(value)[:40]}")
    if len(value) > most:
        raise Refusal(400, f"{name}: Value is too long: at most {most} characters")
    return value


def flag(value: Any, name: str) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        raise Refusal(400, f"{name}: Value is not a boolean: {str(value)[:40]}")
    return value


def custom_value(field: Doc, value: Any) -> Any:
    """A custom field's value as it is kept: text, number, date object, option gid or list of option gids."""
    where = f"custom_fields: {field['gid']}"
    if value is None:
        return None
    match field["type"]:
        case "text":
            return text(value, where, MOST_TEXT) or None
        case "number":
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise Refusal(400, f"{where}: Value is not a number: {str(value)[:40]}")
            return value
        case "date":
            if not isinstance(value, dict) or not {"date", "date_time"} & value.keys():
                raise Refusal(400, f"{where}: Value is not a date object: {str(value)[:40]}")
            return {"date": day(value.get("date"), where), "date_time": value.get("date_time")}
        case "enum":
            return _option(field, value, where)
        case "multi_enum":
            if not isinstance(value, list):
                raise Refusal(400, f"{where}: Value is not a list of options: {str(value)[:40]}")
            return [_option(field, one, where) for one in value]
    raise Refusal(400, f"{where}: Cannot write this property")


def _option(field: Doc, value: Any, where: str) -> str:
    for option in field["enum_options"]:
        if option["gid"] == value and option["enabled"]:
            return str(value)
    raise Refusal(400, f"{where}: Not a recognized enum option: {str(value)[:40]}")


def shown_custom(field: Doc, value: Any) -> Doc:
    """A custom field of a record as the API shows it, with its value in the member of its type."""
    options = {one["gid"]: one for one in field.get("enum_options", ())}
    shown: Doc = {
        "gid": field["gid"],
        "resource_type": "custom_field",
        "name": field["name"],
        "type": field["type"],
        "representation_type": field["type"],
        "enabled": True,
        "is_formula_field": False,
    }
    match field["type"]:
        case "text":
            return {**shown, "text_value": value, "display_value": value}
        case "number":
            return {**shown, "number_value": value, "display_value": None if value is None else f"{value:g}"}
        case "date":
            return {**shown, "date_value": _without_none(value), "display_value": (value or {}).get("date")}
        case "enum":
            picked = options.get(value)
            inner = {"enum_options": field["enum_options"], "enum_value": picked}
            return {**shown, **inner, "display_value": picked["name"] if picked else None}
    picks = [options[one] for one in value or ()]
    inner = {"enum_options": field["enum_options"], "multi_enum_values": picks}
    return {**shown, **inner, "display_value": ", ".join(one["name"] for one in picks) or None}


def _without_none(value: Mapping[str, Any] | None) -> Doc | None:
    return None if value is None else {name: inner for name, inner in value.items() if inner is not None}
