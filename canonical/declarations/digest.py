"""Short digests of what a batch was made with: a change of a digest is what makes old work dirty (DESIGN 9.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import msgspec
import xxhash

from canonical.landscape import Landscape
from canonical.mapping.sheet import SheetRow


def declared_digest(landscape: Landscape, system: str, stream: str, entity: str) -> str:
    """xxh3 hex over all that decides how a stream's payloads become staged records of an entity: the sheet's inbound
    rows, the stream, the entity's fields and its rules. Notes and places of rows do not count."""
    declared = landscape.systems[system]
    children = sorted(name for name, s in declared.streams.items() if s.child_of and s.child_of.stream == stream)
    streams = {name: _plain(declared.streams[name]) for name in (stream, *children) if name in declared.streams}
    rows = [
        _row(row)
        for row in landscape.sheet
        if row.system == system
        and row.stream in (stream, *children, "")
        and (row.direction == "ignored" or (row.direction == "inbound" and row.entity == entity))
    ]
    model = landscape.model.by_name.get(entity)
    fields = [] if model is None else [_field(field) for field in model.fields]
    zone = declared.timezone or landscape.timezone
    return _digest([sorted(rows), streams, fields, _plain(landscape.rules.get(entity)), zone])


def outbound_digest(landscape: Landscape, entity: str, system: str, stream: str) -> str:
    """xxh3 hex over all that decides what is written to a target stream for an entity: the sheet's outbound rows, the
    entity's fields and the targets of integrations. A mode (observe, ask, write) does not change what is wanted."""
    rows = [
        _row(row)
        for row in landscape.sheet
        if row.direction == "outbound" and (row.system, row.stream) == (system, stream) and row.entity in (entity, None)
    ]
    targets = sorted(
        msgspec.json.encode([flow.on_delete, target.when, target.on_leave, target.create], order="sorted")
        for flow in landscape.integrations.values()
        for target in flow.to
        if flow.entity == entity and (target.system, target.stream) == (system, stream)
    )
    model = landscape.model.by_name.get(entity)
    fields = [] if model is None else [_field(field) for field in model.fields]
    return _digest([sorted(rows), [target.decode() for target in targets], fields])


def landscape_digest(files: Mapping[str, bytes], shipped: Mapping[str, bytes]) -> str:
    """xxh3 hex of all declaration bytes, what connectors ship included."""
    hasher = xxhash.xxh3_64()
    for group in (files, shipped):
        for name, data in sorted(group.items()):
            hasher.update(f"{len(name)}:{name}:{len(data)}:".encode())
            hasher.update(data)
    return hasher.hexdigest()


def _row(row: SheetRow) -> list[str]:
    return [row.source_system, row.source_field, row.target_system, row.target_field, row.rule]


def _field(field: Any) -> dict[str, Any]:
    """A field without what only people read."""
    found = asdict(field)
    found.pop("means")
    found.pop("owner")
    return found


def _plain(value: Any) -> Any:
    if value is None:
        return None
    found = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    if isinstance(found, dict):
        found.pop("source", None)
    return found


def _digest(parts: list[Any]) -> str:
    return xxhash.xxh3_64_hexdigest(msgspec.json.encode(parts, order="sorted", enc_hook=str))
