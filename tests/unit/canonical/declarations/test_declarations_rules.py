"""Expectations of the business in a file: rules, tolerance, volume, and what is wrong with them."""

from __future__ import annotations

import subprocess
import sys

from canonical.declarations.rules import EntityRules, SqlRule, VolumeRule, read_rules
from canonical.declarations.shapes import Notes
from canonical.declarations.yaml import load_yaml
from canonical.landscape import Limit
from canonical.model import Entity, Field
from canonical.problems import Problem


def field(name: str, kind: str) -> Field:
    return Field(name, kind, "crm", "boss", "crm")  # type: ignore[arg-type]


ENTITY = Entity("thing", "", "boss", "crm", "crm", (field("name", "text"), field("total", "decimal")))


def read(text: str) -> tuple[EntityRules | None, list[Problem]]:
    notes = Notes()
    return read_rules(notes, load_yaml("expectations/x.yaml", text.encode()), {"thing": ENTITY}), notes.problems


def test_a_file_of_expectations() -> None:
    found, problems = read(
        'entity: thing\ntolerance: "3%"\nvolume: {at_least: "80%"}\nrules:\n'
        "  - {name: positive, predicate: total > 0, means: Never for nothing, on_fail: stop}\n"
    )
    assert problems == []
    rule = SqlRule("positive", '"total" > 0', "Never for nothing", ("total",), "stop")
    assert found == EntityRules("thing", (rule,), Limit(0, 0.03), VolumeRule(0.8), "expectations/x.yaml")


def test_without_more_said_the_defaults_hold() -> None:
    found, problems = read("entity: thing\n")
    assert problems == []
    assert found == EntityRules("thing", (), Limit(20, 0.05), None, "expectations/x.yaml")


def test_all_that_is_wrong_with_a_file() -> None:
    _, problems = read(
        "entity: thing\nrules:\n  - {name: a, predicate: totl > 0}\n  - {name: a, predicate: total > 0}\n"
        "  - {predicate: total > 0, on_fail: explode}\n  - {name: b}\nvolume: {atleast: '1%'}\n"
    )
    assert [(problem.where, problem.line) for problem in sorted(problems, key=lambda p: (p.line or 0, p.where))] == [
        ("rules[0].predicate", 3),
        ("rules[1].name", 4),
        ("rules[2].name", 5),
        ("rules[2].on_fail", 5),
        ("rules[3].predicate", 6),
        ("volume.atleast", 7),
    ]


def test_no_parser_of_sql_is_loaded_for_who_declares_none() -> None:
    """It takes 33 MiB of every worker's memory."""
    code = "import sys, canonical.declarations.landscape, tasks.sync; sys.exit('sqlglot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
