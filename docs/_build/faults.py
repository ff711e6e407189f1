"""Writes docs/reference/faults.md from the tests that are named after the fault matrix: `python -m docs._build.faults`.

A test of a row is a function `test_row_NN_…` under tests/; the first sentence of its docstring is the outcome. What may
go wrong is told by `fault_rows.yaml`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.mutations.defects import defects

TOP = Path(__file__).resolve().parent.parent.parent
PAGE = TOP / "docs" / "reference" / "faults.md"
ROWS = Path(__file__).with_name("fault_rows.yaml")
CAN_FAIL = """
## Can these tests fail?

`python -m tests.mutations` plants each of these defects in a copy of the code, one at a time, and ends with 0 only if
each makes one of its tests fail.
"""
_NAME = re.compile(r"test_row_(\d\d)_\w+\Z")
_LATER = {"slow", "faults"}
HEAD = """<!-- Made by docs/_build/faults.py from tests/; change a test's docstring, and run it. -->
# The fault matrix: what may go wrong, what comes of it, and the test that shows it

After each of these tests the ledger's sums hold, and a further run writes nothing. Tests marked *all* are long and run
with `make test-all`; the others also with `make test`, some of them there with a part of their cases. A test is run by
its name: `.venv/bin/python -m pytest -k test_row_23`.
"""


@dataclass(frozen=True)
class Evidence:
    """A test of one row."""

    row: int
    name: str
    file: str
    outcome: str
    when: str
    """Nothing: with `make test`; else the words that stand beside it."""


def evidence(folder: Path) -> list[Evidence]:
    """The tests under a folder that are named after a row, in the order of rows and files. Raises SystemExit for one
    that does not say its outcome."""
    found = [one for path in sorted(folder.rglob("test_*.py")) for one in _of(path, folder.parent)]
    return sorted(found, key=lambda one: one.row)


def _of(path: Path, top: Path) -> Iterator[Evidence]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    whole = {mark for node in tree.body if isinstance(node, ast.Assign) and _is_mark(node) for mark in _marks(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (name := _NAME.match(node.name)):
            where = path.relative_to(top).as_posix()
            outcome = _sentence(ast.get_docstring(node) or "")
            if not outcome:
                raise SystemExit(f"{where}: {node.name} has no docstring that says the outcome")
            marks = whole | {mark for each in node.decorator_list for mark in _marks(each)}
            yield Evidence(int(name[1]), node.name, where, outcome, _when(marks))


def _when(marks: set[str]) -> str:
    return " (all)" if marks & _LATER else ""


def _is_mark(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets)


def _marks(node: ast.AST) -> set[str]:
    """The marks of a decorator or of `pytestmark`; those inside parametrize are some cases' own."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "parametrize":
        return set()
    return {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}


def _sentence(text: str) -> str:
    """The first sentence, on one line."""
    return re.split(r"(?<=[.!?])\s", " ".join(text.split("\n\n")[0].split()), maxsplit=1)[0].rstrip(".")


def rows() -> dict[int, dict[str, str]]:
    """What may go wrong, by number."""
    found: dict[int, dict[str, str]] = yaml.safe_load(ROWS.read_text(encoding="utf-8"))
    return found


def unshown(found: Sequence[Evidence], wanted: Mapping[int, Mapping[str, Any]]) -> list[int]:
    """The rows that should have a test and have none."""
    shown = {one.row for one in found}
    return [row for row, about in wanted.items() if row not in shown and "later" not in about]


def page(found: Sequence[Evidence], wanted: Mapping[int, Mapping[str, Any]]) -> str:
    """The reference page."""
    by_row = defaultdict(list)
    for one in found:
        by_row[one.row].append(one)
    lines = [HEAD]
    for part in dict.fromkeys(about["part"] for about in wanted.values()):
        lines += [
            f"\n## {part[0].upper() + part[1:]}\n",
            "| row | what goes wrong | what comes of it | shown by |",
            "|---|---|---|---|",
        ]
        for row, about in wanted.items():
            if about["part"] == part:
                lines += _lines(row, about, by_row[row])
    lines += [CAN_FAIL, "| a defect like this | is caught by |", "|---|---|"]
    lines += [
        f"| {defect.name} | {', '.join(f'`{_bare(test)}`' for test in defect.caught_by)} |" for defect in defects()
    ]
    return "\n".join(lines) + "\n"


def _bare(test: str) -> str:
    return test.partition("::")[2].partition("[")[0]


def _lines(row: int, about: Mapping[str, Any], found: Sequence[Evidence]) -> Iterator[str]:
    if not found:
        yield f"| {row} | {about['fault']} | not shown: {about.get('later', 'no test yet')} | |"
    for place, one in enumerate(found):
        number, fault = (str(row), about["fault"]) if place == 0 else ("", "")
        outcome = one.outcome.replace("|", "\\|")
        yield f"| {number} | {fault} | {outcome} | `{one.name}`{one.when} |"


def main() -> int:
    """Writes the page."""
    found = evidence(TOP / "tests")
    PAGE.write_text(page(found, rows()), encoding="utf-8")
    left = unshown(found, rows())
    print(f"{PAGE.relative_to(TOP)}: {len(found)} tests of {len({one.row for one in found})} rows")
    if left:
        print(f"rows without a test: {', '.join(map(str, left))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
