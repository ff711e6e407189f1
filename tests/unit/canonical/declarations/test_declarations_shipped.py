"""What every connector ships fits the standard model: its streams, and each row of its standard sheet."""

from __future__ import annotations

from pathlib import Path

import pytest

from canonical.declarations.connectors import ConnectorDefaults, read_defaults
from canonical.declarations.landscape import read_landscape
from canonical.declarations.models import standard_names
from canonical.landscape import Landscape
from canonical.mapping.sheet import parse_sheet

HERE = Path(__file__).parents[4] / "connectors"
SHIPPED = sorted(path.parent.name for path in HERE.glob("*/defaults.yaml"))
WITH_SHEET = [name for name in SHIPPED if (HERE / name / "mapping.csv").exists()]
VALUES = {
    "url": '"https://api.example.com"',
    "database_url": '"postgresql://db.example.com/x"',
    "integer": "1",
    "list": "[x]",
    "any": "x",
}


def shipped(name: str) -> ConnectorDefaults:
    folder = HERE / name
    sheet = folder / "mapping.csv"
    return read_defaults(name, (folder / "defaults.yaml").read_bytes(), sheet.read_bytes() if sheet.exists() else None)


def landscape(name: str, defaults: ConnectorDefaults) -> Landscape:
    """One system of that kind, everything standard, everything that its sheet writes asked for."""
    settings = "".join(
        f"    {key}: {'{env: X}' if setting['secret'] else VALUES.get(setting['type'], 'x')}\n"
        for key, setting in defaults.settings_schema.items()
        if setting["required"] or key == "token"  # or oauth2
    )
    rows = parse_sheet("mapping.csv", defaults.sheet or b"", "it") if defaults.sheet else []
    written = sorted({(row.entity, row.stream) for row in rows if row.direction == "outbound" and row.entity})
    flows = "".join(
        f"  f{n}: {{owner: boss, entity: {entity}, to: [{{system: it, stream: {stream}, when: 'true', create: true}}]}}"
        "\n"
        for n, (entity, stream) in enumerate(written)
    )
    main = (
        "timezone: Europe/London\npeople: {boss: {name: B, email: b@example.com}}\n"
        f"systems:\n  it:\n    connector: {name}\n    owner: boss\n{settings}"
        f"integrations:\n{flows or '  {}'}"
    )
    files = {"landscape.yaml": main.encode()}
    for entity in standard_names():
        files[f"model/{entity}.yaml"] = f"extends: standard/{entity}\nrecord: it\n".encode()
    return read_landscape(files, {name: defaults}, "shipped")


@pytest.mark.parametrize("name", SHIPPED)
def test_defaults_are_good(name: str) -> None:
    assert landscape(name, shipped(name)).systems["it"].engine == name


@pytest.mark.parametrize("name", WITH_SHEET)
def test_every_row_of_a_standard_sheet_is_of_use_to_the_whole_standard_model(name: str) -> None:
    defaults = shipped(name)
    rows = parse_sheet("mapping.csv", defaults.sheet or b"", "it")
    used = {row.line for row in landscape(name, defaults).sheet}
    assert [f"{row.line}: {row.source_field} -> {row.target_field}" for row in rows if row.line not in used] == []
