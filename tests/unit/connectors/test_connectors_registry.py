"""Connectors are found by folder, and what they ship can be declared."""

from __future__ import annotations

import pytest

from canonical.declarations.connectors import default_streams, read_defaults
from canonical.mapping.sheet import parse_sheet
from connectors import registry
from connectors.protocol import Misdeclared


def test_every_folder_with_defaults_is_a_kind() -> None:
    assert {"hubspot", "xero", "slack", "sql", "files"} <= set(registry.kinds())
    assert "rest" not in registry.kinds(), "no landscape names the engine itself"


@pytest.mark.parametrize("name", sorted(registry.kinds()))
def test_what_a_kind_ships_is_good(name: str) -> None:
    data, sheet = registry.defaults(name)
    streams = default_streams(read_defaults(name, data, sheet))
    if sheet is not None:
        rows = parse_sheet(f"connectors/{name}/mapping.csv", sheet, system="here")
        assert {row.stream for row in rows} <= set(streams)


@pytest.mark.parametrize(("name", "hint"), [("Hubspot", "hubspot"), ("xreo", "xero"), ("rst", "rest")])
def test_an_unknown_kind_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(Misdeclared, match=f"did you mean {hint}"):
        registry.kind(name)


def test_an_unlikely_kind_gets_no_hint() -> None:
    with pytest.raises(Misdeclared) as raised:
        registry.kind("zzzzzz")
    assert "did you mean" not in str(raised.value)
