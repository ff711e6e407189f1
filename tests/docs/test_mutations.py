"""The list of deliberate defects still fits the code; `python -m tests.mutations` plants them."""

from __future__ import annotations

import ast

import pytest

from tests.mutations.defects import TOP, Defect, defects


@pytest.mark.parametrize("defect", defects(), ids=lambda d: d.name.replace(" ", "-"))
def test_a_defect_has_its_place_and_its_tests(defect: Defect) -> None:
    planted: dict[str, str] = {}
    for edit in defect.edits:
        sound = planted.get(edit.file) or (TOP / edit.file).read_text(encoding="utf-8")
        planted[edit.file] = edit.done_to(sound)
    for text in planted.values():
        ast.parse(text)
    assert defect.caught_by
    for test in defect.caught_by:
        file, _, name = test.partition("::")
        known = {n.name for n in ast.walk(ast.parse((TOP / file).read_text())) if isinstance(n, ast.FunctionDef)}
        assert name.partition("[")[0] in known, f"{file} has no test {name}"
