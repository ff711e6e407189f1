"""The page of the fault matrix is what the tests say, and every row that can be shown is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs._build import faults

TESTS = Path(__file__).resolve().parents[1]


def test_the_page_is_what_the_tests_say() -> None:
    wanted = faults.page(faults.evidence(TESTS), faults.rows())
    assert faults.PAGE.read_text(encoding="utf-8") == wanted, "run: python -m docs._build.faults"


def test_every_row_is_shown_by_a_test_or_says_why_not() -> None:
    assert list(faults.rows()) == list(range(1, 61))
    assert faults.unshown(faults.evidence(TESTS), faults.rows()) == []


def test_outcome_and_pace_are_read_from_a_test(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_rows_x.py").write_text(
        "import pytest\n\n"
        "@pytest.mark.faults\ndef test_row_03_it_dies():\n    '''It goes on. Later\n    more.'''\n\n"
        "@pytest.mark.parametrize('a', [pytest.param(1, marks=pytest.mark.faults)])\n"
        "def test_row_02_it_lives(a):\n    '''Nothing is\n    lost'''\n"
    )
    found = faults.evidence(folder)
    assert [(one.row, one.outcome, one.when) for one in found] == [
        (2, "Nothing is lost", ""),
        (3, "It goes on", " (all)"),
    ]
    assert faults.unshown(found, {2: {}, 3: {}, 4: {}, 5: {"later": "why"}}) == [4]


def test_a_test_without_its_outcome_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_rows_x.py").write_text("def test_row_03_it_dies():\n    pass\n")
    with pytest.raises(SystemExit, match="says the outcome"):
        faults.evidence(folder)
