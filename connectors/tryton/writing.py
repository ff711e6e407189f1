"""What is asked of a party, in Tryton's words: values of its own fields, and commands on its lists of lines.

name, code, …                  as they are
email, phone, mobile, …        the first contact mechanism of that type, changed, added, or (null) archived
tax_identifier.full | .code    the tax identifier, of the kind that the number's prefix says
addresses[n].…                 the n-th address; `country.code` becomes Tryton's own country
contact_mechanisms[type=X].…   the first line of that type; likewise identifiers[type=X].…
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from connectors.protocol import Misdeclared, Rejected
from connectors.tryton.records import LINES, MECHANISMS, compact

EU = frozenset(
    (
        "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "EL", "ES", "FI", "FR", "HR", "HU", "IE", "IT", "LT", "LU",
        "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK", "XI",
    )
)  # fmt: skip
"""Prefixes of EU VAT numbers (Council Directive 2006/112/EC, article 215): Greece is EL, Northern Ireland XI."""
NATIONAL = {"GB": "gb_vat", "CH": "ch_vat", "NO": "no_mva", "AU": "au_abn", "US": "us_ein"}
"""Kinds of identifiers that Tryton has for some countries outside the EU."""
Country = Callable[[str], int | None]
Line = dict[str, Any]


def values_of(
    payload: Mapping[str, Any], current: Mapping[str, Any] | None, country: Country, where: str
) -> dict[str, Any]:
    """Values for Tryton's create (`current` None) or update. Raises Misdeclared for fields that parties do not have."""
    held = current or {}
    out: dict[str, Any] = {}
    commands: dict[str, list[Any]] = {name: [] for name in LINES}
    for name, value in payload.items():
        if name in MECHANISMS:
            wanted = [{"type": name, "value": value}]
            commands["contact_mechanisms"] += line_commands("contact_mechanisms", wanted, held, where)
        elif name == "tax_identifier":
            commands["identifiers"] += _tax_commands(value, held, where)
        elif name == "addresses":
            wanted = [_with_country(line, country, where) for line in _lines(value, name, where)]
            commands[name] += line_commands(name, wanted, held, where)
        elif name in LINES:
            commands[name] += line_commands(name, _lines(value, name, where), held, where)
        elif isinstance(value, (dict, list)) or name in ("id", "create_date", "write_date"):
            raise Misdeclared(f"{name} cannot be written", where=where)
        else:
            out[name] = value
    return out | {name: list_ for name, list_ in commands.items() if list_}


def _lines(value: Any, name: str, where: str) -> list[Line]:
    if isinstance(value, list) and all(isinstance(line, dict) for line in value):
        return value
    raise Misdeclared(f"{name}: expected a list of lines", where=where)


def line_commands(name: str, wanted: Sequence[Line], held: Mapping[str, Any], where: str) -> list[Any]:
    """Commands that bring the party's lines to the wanted ones; lines that nobody asked about stay as they are."""
    _check_members(name, wanted, where)
    live = [line for line in held.get(name) or () if line.get("active", True)]
    commands: list[Any] = []
    for position, line in enumerate(wanted):
        given = {member: value for member, value in line.items() if member != "id"}
        match = _match(name, line, live, position)
        if _is_blank(name, given, match or {}):
            if match is not None:
                commands.append(["write", [match["id"]], {"active": False}])
        elif match is None:
            commands.append(["create", [given]])
        elif any(_held(match, member) != value for member, value in given.items()):
            commands.append(["write", [match["id"]], given])
    return commands


def _check_members(name: str, wanted: Sequence[Line], where: str) -> None:
    known = {field.split(".")[0] for field in LINES[name][1]}
    for line in wanted:
        unknown = sorted(set(line) - known)
        if unknown:
            raise Misdeclared(f"{name}: Tryton's lines have no {unknown[0]}", where=where)


def _match(name: str, line: Line, live: Sequence[Mapping[str, Any]], position: int) -> Mapping[str, Any] | None:
    """The line that is meant: by its id, by its type, or (addresses) by its place."""
    if line.get("id") is not None:
        return next((one for one in live if str(one["id"]) == str(line["id"])), None)
    if name == "addresses":
        return live[position] if position < len(live) else None
    return next((one for one in live if one.get("type") == line.get("type")), None)


def _is_blank(name: str, line: Line, held: Mapping[str, Any]) -> bool:
    """A line that would say nothing is to go: a mechanism without its value, an address with nothing left in it."""
    if name == "addresses":
        content = {member: value for member, value in {**held, **line}.items() if member not in ("id", "active")}
        return all(value is None or value == "" for value in content.values())
    member = "value" if name == "contact_mechanisms" else "code"
    return member in line and not line[member]


def _held(line: Mapping[str, Any], member: str) -> Any:
    value = line.get(member)
    return value.get("id") if isinstance(value, dict) else value


def _with_country(line: Line, country: Country, where: str) -> Line:
    """The address with Tryton's own id of the country."""
    if "country" not in line:
        return line
    given = line["country"]
    code = given.get("code") if isinstance(given, dict) else given
    if code is None:
        return {**line, "country": None}
    found = country(str(code).upper())
    if found is None:
        raise Rejected("Tryton has no such country: import its countries first", field="addresses.country.code")
    return {**line, "country": found}


def _tax_commands(value: Any, held: Mapping[str, Any], where: str) -> list[Any]:
    if not isinstance(value, dict) or not set(value) <= {"full", "code"}:
        raise Misdeclared("tax_identifier: expected its member `full`", where=where)
    number = value.get("full") or value.get("code")
    current = held.get("tax_identifier")
    if not number:
        return [["write", [current["id"]], {"active": False}]] if current else []
    kind = tax_kind(str(number))
    if kind is None:
        raise Rejected("no kind of tax number is known for its first two letters", field="tax_identifier.full")
    if current is None:
        return [["create", [{"type": kind, "code": str(number)}]]]
    if compact(str(number)) == compact(str(current.get("full") or current.get("code") or "")):
        return []
    return [["write", [current["id"]], {"type": kind, "code": str(number)}]]


def tax_kind(number: str) -> str | None:
    """Tryton's kind of identifier for a tax number with its country's prefix."""
    prefix = compact(number)[:2]
    return "eu_vat" if prefix in EU else NATIONAL.get(prefix)
