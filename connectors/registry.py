"""Which kinds of systems can be spoken to: found by folder, loaded when needed.

A kind is a package in this folder with `build(context) -> Connector`; its `defaults.yaml` (settings and streams) and
`mapping.csv` (its standard sheet) stand beside it. `rest` has no defaults: it runs the manifests of a landscape.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from connectors.protocol import Connector, Context, Misdeclared

_HERE = Path(__file__).parent
REST = "rest"
"""The engine of manifests: build it with the manifest in `context.settings["manifest"]`."""


@dataclass(frozen=True, slots=True)
class ConnectorKind:
    """One kind of system. `defaults` and `sheet` are the bytes of its defaults.yaml and mapping.csv."""

    name: str
    defaults: bytes = b""
    sheet: bytes | None = None

    def build(self, context: Context) -> Connector:
        """A connector for one system. Raises Misdeclared for settings it cannot work with."""
        package = importlib.import_module(f"connectors.{self.name}")
        return cast(Connector, package.build(context))


@cache
def kinds() -> Mapping[str, ConnectorKind]:
    """Every kind that ships with Concord, by name; without `rest`, which no landscape names."""
    found = {}
    for file in sorted(_HERE.glob("*/defaults.yaml")):
        sheet = file.with_name("mapping.csv")
        name = file.parent.name
        found[name] = ConnectorKind(name, file.read_bytes(), sheet.read_bytes() if sheet.exists() else None)
    return found


def kind(name: str) -> ConnectorKind:
    """The kind of that name, `rest` too; Misdeclared, with the nearest name, for one that nobody ships."""
    if name == REST:
        return ConnectorKind(REST)
    found = kinds().get(name)
    if found is not None:
        return found
    near = difflib.get_close_matches(name.lower(), [*kinds(), REST], n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise Misdeclared(f"expected a connector among {', '.join(kinds())}, found {name!r}{hint}")


def build(name: str, context: Context) -> Connector:
    """A connector of that kind for one system."""
    return kind(name).build(context)


def defaults(name: str) -> tuple[bytes, bytes | None]:
    """A kind's defaults.yaml and mapping.csv as bytes, for canonical.declarations."""
    found = kind(name)
    return found.defaults, found.sheet
