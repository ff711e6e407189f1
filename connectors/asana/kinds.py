"""The streams as Asana names them: paths, fields asked for, what can be done; and a stream's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.paging import Shape, Splitter
from connectors.protocol import Misdeclared

BASE = "api/1.0"
PAGE_SIZE = 100
BATCH_SIZE = 10
"""Most actions in a batch (developers.asana.com/docs/batch-requests)."""
_CUSTOM = (
    "custom_fields.name", "custom_fields.type", "custom_fields.text_value", "custom_fields.number_value",
    "custom_fields.enum_value.name", "custom_fields.multi_enum_values.name", "custom_fields.date_value",
)  # fmt: skip
_FIELDS = {
    "projects": (
        "name", "notes", "archived", "completed", "completed_at", "created_at", "modified_at", "start_on", "due_on",
        "owner", "current_status.color", "current_status.text", *_CUSTOM,
    ),
    "tasks": (
        "name", "notes", "completed", "completed_at", "created_at", "modified_at", "start_on", "due_on", "assignee",
        "projects", "parent", "resource_subtype", *_CUSTOM,
    ),
    "users": ("name", "email"),
}  # fmt: skip
_OPS = {
    "projects": frozenset({"create", "update", "archive", "delete"}),
    "tasks": frozenset({"create", "update", "delete"}),
    "users": frozenset[str](),
}
_OPTIONS = {
    "projects": {"more_fields"},
    "tasks": {"more_fields", "projects", "external", "overlap_seconds"},
    "users": {"more_fields"},
}
_OVERLAP_SECONDS = 120.0


@dataclass(frozen=True)
class Kind:
    """One stream.

    fields     what each record shall show (`opt_fields`): the same for reading and in answers to writes
    projects   for tasks: the projects that are read; empty: all of the workspace
    external   for tasks: whether `external` data is ours to read and write
    """

    name: str
    fields: tuple[str, ...]
    ops: frozenset[str]
    where: str
    projects: tuple[str, ...] = ()
    external: bool = False
    overlap_seconds: float = _OVERLAP_SECONDS

    @property
    def path(self) -> str:
        return f"{BASE}/{self.name}"

    @property
    def query(self) -> dict[str, str]:
        """What each record shall show, for plain requests."""
        return {"opt_fields": ",".join(self.fields)}

    @property
    def has_marks(self) -> bool:
        """Whether Asana can be asked for what changed."""
        return self.name == "tasks"

    def splitter(self) -> Splitter:
        """Splits lists of this stream."""
        return Splitter(
            Shape(
                records="data",
                key=("gid",),
                changed="modified_at" if "modified_at" in self.fields else None,
                deleted=("archived", frozenset({"true"})) if "archived" in self.fields else None,
                envelope={"next": "next_page.offset"},
            )
        )


def kind_of(system: str, stream: str, options: Mapping[str, Any]) -> Kind:
    """A stream with its options; Misdeclared for streams and options that this connector does not have."""
    where = f"{system}/{stream}"
    if stream not in _FIELDS:
        raise Misdeclared(f"expected a stream among {', '.join(_FIELDS)}, found {stream}", where=where)
    known = _OPTIONS[stream]
    if unknown := sorted(set(options) - known):
        raise Misdeclared(f"expected options among {', '.join(sorted(known))}; found {unknown[0]}", where=where)
    external = options.get("external", False)
    if not isinstance(external, bool):
        raise Misdeclared(f"external: expected true or false, found {external!r}", where=where)
    more = [*_names(options, "more_fields", where), *(("external", "external.data") if external else ())]
    return Kind(
        name=stream,
        fields=tuple(dict.fromkeys([*_FIELDS[stream], *more])),
        ops=_OPS[stream],
        where=where,
        projects=tuple(_names(options, "projects", where)),
        external=external,
        overlap_seconds=float(options.get("overlap_seconds", _OVERLAP_SECONDS)),
    )


def _names(options: Mapping[str, Any], option: str, where: str) -> list[str]:
    names = options.get(option) or []
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) and name for name in names):
        raise Misdeclared(f"{option}: expected a list of quoted names or gids", where=where)
    return list(names)
