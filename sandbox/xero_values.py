"""How Xero writes values: dates as `/Date(ms+0000)/`, amounts as JSON numbers, filters as small expressions. Pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from sandbox.store import Doc

CENT = Decimal("0.01")
_ORDERED = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}
_XERO_DATE = re.compile(r"/Date\((-?\d+)(?:[+-]\d{4})?\)/")
_PART = re.compile(r"\s*([A-Za-z][A-Za-z.]*)\s*(==|!=|>=|<=|>|<)\s*(.+?)\s*")
_GUID = re.compile(r'(?:[Gg][Uu][Ii][Dd]\()?"?([0-9A-Fa-f-]{36})"?\)?')
_DATETIME = re.compile(r"DateTime\(([\d,\s]+)\)")


class Invalid(Exception):
    """An element that is refused, with the reason as Xero's ValidationErrors show it."""


def mark(epoch_ms: int) -> str:
    """A moment as Xero writes it."""
    return f"/Date({epoch_ms}+0000)/"


def mark_ms(text: str) -> int:
    """The epoch milliseconds of `/Date(ms+0000)/`; 0 for anything else."""
    found = _XERO_DATE.fullmatch(text or "")
    return int(found[1]) if found else 0


def day(value: Any, name: str) -> date:
    """A day from ISO text or `/Date(ms)/`. Raises Invalid."""
    text = str(value)
    if found := _XERO_DATE.fullmatch(text):
        return datetime.fromtimestamp(int(found[1]) / 1000, UTC).date()
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        raise Invalid(f"{name} is not a valid date: {text[:40]}") from None


def dated(name: str, when: date) -> Doc:
    """A day under both names that Xero gives it: `Date` and `DateString`."""
    epoch_ms = int(datetime(when.year, when.month, when.day, tzinfo=UTC).timestamp()) * 1000
    return {f"{name}String": f"{when.isoformat()}T00:00:00", name: mark(epoch_ms)}


def amount(value: Any, name: str) -> Decimal:
    """A decimal from a JSON number or text. Raises Invalid."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise Invalid(f"{name} is not a valid number: {str(value)[:40]}") from None
    if not number.is_finite() or isinstance(value, bool):
        raise Invalid(f"{name} is not a valid number: {str(value)[:40]}")
    return number


def money(number: Decimal) -> Decimal:
    """Rounded to cents, halves away from zero."""
    return number.quantize(CENT, ROUND_HALF_UP)


def dec(value: Any) -> Decimal:
    """The exact decimal of a stored JSON number."""
    return Decimal(str(value or 0))


def at_path(doc: Mapping[str, Any], path: str) -> Any:
    """The value under a dotted path, or None."""
    value: Any = doc
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _literal(text: str) -> Any:
    if text.lower() == "null":
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if found := _DATETIME.fullmatch(text):
        year, month, day_of_month, *clock = (int(part) for part in found[1].split(","))
        hour, minute, second = (*clock, 0, 0, 0)[:3]
        return int(datetime(year, month, day_of_month, hour, minute, second, tzinfo=UTC).timestamp() * 1000)
    if found := _GUID.fullmatch(text):
        return found[1].lower()
    if len(text) > 1 and text[0] == text[-1] == '"':
        return text[1:-1]
    return float(amount(text, "where"))


def compile_where(text: str) -> Callable[[Doc], bool]:
    """A predicate for `Name=="x" AND Total>=10 AND Date>=DateTime(2025,1,1)`. Raises Invalid for anything else."""
    tests = []
    for part in re.split(r"\s+[Aa][Nn][Dd]\s+|&&", text):
        found = _PART.fullmatch(part)
        if not found:
            raise Invalid(f"where: expected NAME==VALUE joined by AND; found {part[:60]!r}")
        tests.append(_test(found[1], found[2], _literal(found[3])))
    return lambda doc: all(test(doc) for test in tests)


def _test(path: str, sign: str, wanted: Any) -> Callable[[Doc], bool]:
    def comparable(doc: Doc) -> Any:
        value = at_path(doc, path)
        if isinstance(value, str) and isinstance(wanted, int) and not isinstance(wanted, bool):
            return mark_ms(value)
        return value.lower() if isinstance(value, str) and _GUID.fullmatch(value) else value

    def ordered(doc: Doc) -> bool:
        value = comparable(doc)
        if value is None or isinstance(value, str) != isinstance(wanted, str):
            return False
        return bool(_ORDERED[sign](value, wanted))

    match sign:
        case "==":
            return lambda doc: comparable(doc) == wanted or (wanted is None and not comparable(doc))
        case "!=":
            return lambda doc: comparable(doc) != wanted and not (wanted is None and not comparable(doc))
    return ordered


def order_key(text: str) -> tuple[Callable[[Doc], Any], bool]:
    """Sort key and direction of `UpdatedDateUTC DESC`."""
    path, _, direction = text.strip().partition(" ")

    def key(doc: Doc) -> tuple[int, float, str]:
        value = at_path(doc, path)
        if isinstance(value, (int, float)):
            return (0, float(value), "")
        return (0, mark_ms(str(value)), "") if _XERO_DATE.fullmatch(str(value)) else (1, 0.0, str(value or ""))

    return key, direction.strip().upper().startswith("DESC")
