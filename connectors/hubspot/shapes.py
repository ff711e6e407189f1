"""HubSpot's object types as declared by streams, and its pages as shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from connectors.paging import Shape, Splitter
from connectors.protocol import Misdeclared

PAGE_SIZE = 100
"""Most records in a list page."""
SEARCH_PAGE_SIZE = 200
"""Most records in a search page."""
SEARCH_DEPTH = 10_000
"""Search answers no further than this many results."""
BATCH_SIZE = 100
_MARKS = {"contacts": "lastmodifieddate"}
_MARK = "hs_lastmodifieddate"
"""The property that tells when a record changed: contacts are older than the others and have a name of their own."""
_SPLITTER_KEY = ("id",)


@dataclass(frozen=True)
class ObjectType:
    """One stream: its object type, the properties asked for, and what goes with them."""

    stream: str
    name: str
    properties: tuple[str, ...]
    associations: tuple[str, ...]
    external_id: str | None
    """A unique property that only Concord fills: creates become upserts by it (write class A)."""
    archived: Literal["always", "sweep", "never"]
    overlap_seconds: float | None
    where: str

    @property
    def mark(self) -> str:
        """The property that carries the change mark."""
        return _MARKS.get(self.name, _MARK)

    @property
    def path(self) -> str:
        return f"crm/v3/objects/{self.name}"

    @property
    def query(self) -> dict[str, str]:
        """What each record shall show, for list and read requests."""
        query = {"properties": ",".join(self.properties)}
        if self.associations:
            query["associations"] = ",".join(self.associations)
        return query

    def splitter(self) -> Splitter:
        """Splits pages of this type."""
        return Splitter(
            Shape(
                records="results",
                key=_SPLITTER_KEY,
                changed=f"properties.{self.mark}",
                deleted=("archived", frozenset({"true"})),
                envelope={"next": "paging.next.after", "total": "total"},
            )
        )


def object_type(system: str, stream: str, options: Mapping[str, Any]) -> ObjectType:
    """A stream's options as an object type; Misdeclared for options that HubSpot has no use for."""
    where = f"{system}/{stream}"
    known = {"object", "properties", "more_properties", "associations", "external_id", "archived", "overlap_seconds"}
    if unknown := sorted(set(options) - known):
        raise Misdeclared(f"expected options among {', '.join(sorted(known))}; found {', '.join(unknown)}", where=where)
    name = str(options.get("object", stream))
    external_id = options.get("external_id")
    asked = [*_names(options, "properties", where), *_names(options, "more_properties", where)]
    mark = _MARKS.get(name, _MARK)
    properties = dict.fromkeys([*asked, *([str(external_id)] if external_id else []), mark])
    archived = options.get("archived", "always")
    if archived not in ("always", "sweep", "never"):
        raise Misdeclared(f"archived: expected always, sweep or never, found {archived!r}", where=where)
    overlap = options.get("overlap_seconds")
    return ObjectType(
        stream=stream,
        name=name,
        properties=tuple(properties),
        associations=tuple(_names(options, "associations", where)),
        external_id=str(external_id) if external_id else None,
        archived=archived,
        overlap_seconds=None if overlap is None else float(overlap),
        where=where,
    )


def _names(options: Mapping[str, Any], option: str, where: str) -> list[str]:
    names = options.get(option) or []
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise Misdeclared(f"{option}: expected a list of names", where=where)
    return list(names)
