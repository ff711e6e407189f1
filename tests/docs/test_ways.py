"""The page about the way of each entity says what the demo's landscape does: all of it, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from canonical.declarations.models import standard_names
from canonical.landscape import Landscape
from canonical.mapping.sheet import SheetRow, parse_sheet
from tasks.landscape import load

TOP = Path(__file__).resolve().parent.parent.parent
PAGE = (TOP / "docs" / "reference" / "ways.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
HEADER = "source_system,source_field,target_system,target_field,rule,notes\n"


@pytest.fixture(scope="module")
def demo() -> Landscape:
    return load(TOP / "deployments" / "demo")


def told(section: str, title: str) -> list[list[str]]:
    """The rows of the table whose first column has this title, cell by cell."""
    table = re.search(rf"^\| {title} .*\n\|[-|]+\n((?:\|.*\n)+)", section, re.M)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table[1].splitlines()] if table else []


def names(text: str) -> list[str]:
    """What stands in code letters."""
    return re.findall(r"`([^`]+)`", text)


def test_every_entity_has_its_section() -> None:
    assert sorted(SECTIONS) == sorted(standard_names())


@pytest.mark.parametrize("entity", sorted(standard_names()))
def test_every_stream_that_makes_the_entity_is_named_the_system_of_record_first(demo: Landscape, entity: str) -> None:
    streams = {
        f"{system.name}/{stream.name}": [
            f"{system.name}/{child.name}"
            for child in system.streams.values()
            if child.child_of and child.child_of.stream == stream.name
        ]
        for system in demo.systems.values()
        for stream in system.streams.values()
        if any(made.entity == entity for made in stream.makes)
    }
    named = [names(row[0]) for row in told(SECTIONS[entity], "read from")]
    assert {first: children for first, *children in named} == streams
    assert named[0][0].partition("/")[0] == demo.model[entity].record


@pytest.mark.parametrize("entity", sorted(standard_names()))
def test_every_target_is_named_with_its_integration(demo: Landscape, entity: str) -> None:
    targets = {
        (f"{target.system}/{target.stream}", flow.name)
        for flow in demo.integrations.values()
        if flow.entity == entity
        for target in flow.to
    }
    assert {(*names(row[0]), *names(row[1])) for row in told(SECTIONS[entity], "told to")} == targets


def said(row: SheetRow) -> tuple[object, ...]:
    """A row without its place."""
    return (row.source_system, row.source_field, row.target_system, row.target_field, row.rule)


@pytest.mark.parametrize("entity", sorted(standard_names()))
def test_every_row_that_is_shown_runs(demo: Landscape, entity: str) -> None:
    blocks = re.findall(r"```csv\n(.*?)```", SECTIONS[entity], re.S)
    shown = parse_sheet("ways.md", (HEADER + "".join(blocks)).encode())
    running = {said(row) for row in demo.sheet}
    assert [row.target_field for row in shown if said(row) not in running] == []
    assert {row.entity for row in shown} - {None} <= {entity}


def test_every_field_that_is_named_is_one_of_the_model(demo: Landscape) -> None:
    fields = {f"{entity.name}.{field.name}" for entity in demo.model.entities for field in entity.fields}
    dotted = {name for name in names(PAGE) if re.fullmatch(r"[a-z]+\.[a-z_]+", name)}
    assert {name for name in dotted if not name.startswith(("golden.", "staging.", "ops."))} <= fields
