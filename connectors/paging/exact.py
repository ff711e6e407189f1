"""Checking what a search found: systems search loosely, Concord asks for exact equality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from canonical.mapping.paths import parse_path, walk


def value_at(record: Any, path: str) -> str | None:
    """The value at a sheet path of a decoded record, as text; None where there is none."""
    value = walk(record, parse_path(path))
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else None


def equals_all(payload: bytes, by: Mapping[str, str]) -> bool:
    """Whether a record holds exactly these values at these sheet paths."""
    record = msgspec.json.decode(payload)
    return all(value_at(record, path) == value for path, value in by.items())
