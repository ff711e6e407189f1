"""Payloads as Asana takes them. A sheet writes the paths that it reads; Asana wants some of them in another form:

owner.gid, assignee.gid, parent.gid            the gid alone
projects[0].gid                                a list of gids
custom_fields[gid=123].text_value              {"123": value}
custom_fields[name=Kind].enum_value.name       {"123": the option's gid}
current_status.color                           a status update, by itself
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from connectors.asana.workspace import Workspace
from connectors.protocol import Misdeclared, Rejected

_GIDS = frozenset({"owner", "assignee", "parent", "team", "workspace"})
_TEXTS = frozenset({"name", "notes"})
"""Fields that "" empties."""
_APART = frozenset({"current_status", "current_status_update"})
STATUS_TYPES = {"green": "on_track", "yellow": "at_risk", "red": "off_track", "blue": "on_hold", "complete": "complete"}
"""A project's colour → the type of the status update that gives it (description of StatusUpdateBase.status_type)."""
_NAMED = "expected [gid=…] or [name=…] to say which custom field"


@dataclass(frozen=True, slots=True)
class Shaped:
    """What one write sends: `data` in its envelope, and what takes requests of its own after it."""

    data: dict[str, Any]
    status: Mapping[str, str] | None = None
    """A status update's `status_type` and `text`."""
    projects: tuple[str, ...] | None = None
    """All projects that an existing task shall be in."""


def shaped(payload: Mapping[str, Any], workspace: Workspace, *, is_new: bool) -> Shaped:
    """A payload as Asana takes it; nothing empty in a new record. Rejected for values that Asana has no place for."""
    data: dict[str, Any] = {}
    projects: tuple[str, ...] | None = None
    for name, value in payload.items():
        if name == "custom_fields":
            data[name] = _custom_fields(value, workspace)
        elif name in _GIDS:
            data[name] = _gid(value)
        elif name == "projects":
            projects = tuple(gid for one in _list(value, name) if (gid := _gid(one)) is not None)
        elif name == "external":
            data[name] = {part: inner for part, inner in dict(value or {}).items() if inner is not None}
        elif name not in _APART:
            data[name] = "" if value is None and name in _TEXTS else value
    if is_new:
        data = {name: value for name, value in data.items() if value not in (None, "")}
        if "custom_fields" in data:
            data["custom_fields"] = {gid: value for gid, value in data["custom_fields"].items() if value is not None}
        if projects:
            data["projects"] = list(projects)
        projects = None
    data = {name: value for name, value in data.items() if value != {}}
    return Shaped(data, _status(payload.get("current_status")), projects)


def _status(value: Any) -> Mapping[str, str] | None:
    """A colour as a status update; None where none is asked for (a status can be replaced, not taken away)."""
    colour = value.get("color") if isinstance(value, Mapping) else None
    if colour is None:
        return None
    if colour not in STATUS_TYPES:
        known = ", ".join(STATUS_TYPES)
        raise Rejected(f"expected one of {known}; found {str(colour)[:40]}", field="current_status.color")
    assert isinstance(value, Mapping)
    return {"status_type": STATUS_TYPES[colour], "text": str(value.get("text") or "Set by Concord")}


def _custom_fields(value: Any, workspace: Workspace) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for item in _list(value, "custom_fields"):
        if not isinstance(item, Mapping) or not (item.get("gid") or item.get("name")):
            raise Misdeclared(f"custom_fields: {_NAMED}")
        members = [member for member in item if member not in ("gid", "name")]
        if len(members) != 1:
            raise Misdeclared("custom_fields: expected one value for each custom field, such as text_value")
        gid = str(item["gid"]) if item.get("gid") else _named(workspace, str(item["name"]))
        out[gid] = _custom_value(gid, members[0], item[members[0]], workspace)
    return out


def _named(workspace: Workspace, name: str) -> str:
    found = workspace.field_named(name)
    if found is None:
        raise Rejected("the workspace has no custom field of this name", field=f"custom_fields[name={name}]")
    return found.gid


def _custom_value(gid: str, member: str, value: Any, workspace: Workspace) -> Any:
    """A custom field's value in the form that its type asks for (developers.asana.com/docs/custom-fields-guide)."""
    place = f"custom_fields[gid={gid}].{member}"
    match member:
        case "text_value":
            return None if value is None else str(value)
        case "number_value":
            return _number(value, place)
        case "enum_value":
            return _option(gid, value, workspace, place)
        case "multi_enum_values":
            return [_option(gid, one, workspace, place) for one in _list(value, place)]
        case "date_value":
            inner = value if isinstance(value, Mapping) else {"date": value}
            kept = {name: inner[name] for name in ("date", "date_time") if inner.get(name)}
            return kept or None
        case "people_value":
            return [person for one in _list(value, place) if (person := _gid(one))]
    raise Misdeclared(f"{place}: expected text_value, number_value, enum_value, multi_enum_values, date_value …")


def _number(value: Any, place: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return Decimal(value)
    except InvalidOperation:
        raise Rejected("expected a number", field=place) from None


def _option(gid: str, value: Any, workspace: Workspace, place: str) -> str | None:
    """An option by its gid or by its name."""
    inner = value if isinstance(value, Mapping) else {"gid": value}
    if inner.get("gid"):
        return str(inner["gid"])
    name = inner.get("name")
    if name is None:
        return None
    found = workspace.option_gid(gid, str(name))
    if found is None:
        raise Rejected(f"the custom field has no option {str(name)[:40]!r}", field=f"{place}.name")
    return found


def _gid(value: Any) -> str | None:
    inner = value.get("gid") if isinstance(value, Mapping) else value
    return None if inner in (None, "") else str(inner)


def _list(value: Any, place: str) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise Misdeclared(f"{place}: expected a list, found {type(value).__name__}")
    return value
