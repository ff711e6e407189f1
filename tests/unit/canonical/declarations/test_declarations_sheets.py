"""Rows of several entities for one stream of a target: who may write a field, and what replaces a shipped row."""

from __future__ import annotations

import pytest

from canonical.declarations.sheets import overridden, row_problems
from canonical.mapping.sheet import parse_sheet

HEADER = "source_system,source_field,target_system,target_field,rule,notes\n"
CUSTOMER = "canonical,customer.name,jobs,projects.name,,\n"
ORDER = "canonical,order.number,jobs,projects.name,,\n"
CONSTANT = "canonical,,jobs,projects.name,const Work,\n"


def twice(text: str) -> list[str]:
    """What is said of target fields that stand in the sheet more than once."""
    problems = row_problems(parse_sheet("mappings/jobs.csv", (HEADER + text).encode()), {}, {})
    return [problem.found for problem in problems if problem.expected == "each target field once for a stream"]


@pytest.mark.parametrize(
    ("text", "is_refused"),
    [
        pytest.param(CUSTOMER + ORDER, False, id="each-entity-its-own-row"),
        pytest.param(CUSTOMER + CUSTOMER, True, id="one-entity-twice"),
        pytest.param(CONSTANT + CONSTANT, True, id="two-constants"),
        pytest.param(CUSTOMER + CONSTANT, True, id="a-constant-after-a-row"),
        pytest.param(CONSTANT + CUSTOMER, True, id="a-row-after-a-constant"),
    ],
)
def test_a_target_field_is_written_once_for_each_entity(text: str, is_refused: bool) -> None:
    expected = ["'projects.name' again (first in mappings/jobs.csv:2)"] if is_refused else []
    assert twice(text) == expected


@pytest.mark.parametrize(
    ("shipped", "own", "is_kept"),
    [
        pytest.param(CUSTOMER, ORDER, True, id="another-entity-s-row-stays"),
        pytest.param(ORDER, ORDER, False, id="the-same-entity-s-goes"),
        pytest.param(ORDER, CONSTANT, False, id="a-constant-replaces-all"),
        pytest.param(CONSTANT, ORDER, False, id="any-row-replaces-a-constant"),
    ],
)
def test_what_a_row_of_the_landscape_replaces(shipped: str, own: str, is_kept: bool) -> None:
    theirs = parse_sheet("connectors/jobs/mapping.csv", (HEADER + shipped).encode(), "jobs")
    ours = parse_sheet("mappings/jobs.csv", (HEADER + own).encode(), "jobs")
    assert (theirs[0] in overridden(theirs, ours)) is is_kept
