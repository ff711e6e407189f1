# ruff: noqa: E501 - a table reads best with one case on one line
"""Every program of a landscape is compiled when it is read: what a sync would stumble over is told before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from canonical.problems import Problem

SHEET = "mappings/erp.csv"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        pytest.param(
            "canonical,customer.name,erp,clients.fullname,,",
            "canonical,customer.name,erp,clients.fullname,number xx,",
            14,
            id="outbound",
        ),
        pytest.param("orders.placed,canonical,order.ordered_on,date DD/MM/YYYY,", "orders.placed,canonical,order.ordered_on,date DD/MM,", 8, id="inbound"),
    ],
)  # fmt: skip
def test_a_rule_that_does_not_compile_is_told_with_its_row(
    files: dict[str, bytes], problems: Callable[[], list[Problem]], old: str, new: str, line: int
) -> None:
    text = files[SHEET].decode()
    assert old in text
    assert text[: text.index(old)].count("\n") + 1 == line
    files[SHEET] = text.replace(old, new, 1).encode()
    (problem,) = problems()
    assert (problem.file, problem.line) == (SHEET, line)
    assert problem.where.startswith(f"row {line}")


def test_a_stream_that_makes_what_no_model_knows_is_told_once(
    files: dict[str, bytes], problems: Callable[[], list[Problem]]
) -> None:
    main = "landscape.yaml"
    files[main] = files[main].replace(b"makes: [{entity: customer}]", b"makes: [{entity: client}]", 1)
    found = [problem for problem in problems() if problem.file == main and "client'" in problem.found]
    assert len(found) == 1
