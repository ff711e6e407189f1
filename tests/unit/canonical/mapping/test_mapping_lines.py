"""A record's lines, from a child stream or from a list inside the record."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from canonical.landscape import System
from canonical.mapping.decode import Decoded, decode, decode_list
from canonical.mapping.program import InboundProgram, Mapped, compile_inbound
from canonical.model import Model
from canonical.problems import Refused

CHILD = """
    orders.no -> order.number
    orders.ccy -> order.currency
    order_lines.n -> order.lines.line
    order_lines.sku -> order.lines.product : lookup =product.sku
    order_lines.text -> order.lines.description
    order_lines.qty -> order.lines.quantity
    order_lines.net -> order.lines.net
"""
INSIDE = CHILD.replace("order_lines.", "orders.Items[].")


@pytest.fixture
def program(sheet: Any, crm: System, model: Model) -> Any:
    def compiled(text: str) -> InboundProgram:
        return compile_inbound(sheet(text), crm, crm.streams["orders"], model["order"], None, model, "UTC")

    return compiled


def payloads(records: Sequence[Any]) -> list[bytes]:
    return [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]


def with_children(program: InboundProgram, parents: Sequence[Any], lines: Sequence[tuple[int, Any]]) -> Mapped:
    assert program.child is not None
    decoded = decode(payloads([line for _, line in lines]), program.child.paths)
    rows = pl.Series("_row", [row for row, _ in lines], dtype=pl.UInt32)
    children = Decoded(decoded.frame.with_columns(rows), decoded.absent, decoded.refused)
    return program.run(decode(payloads(parents), program.paths), children)


def with_lists(program: InboundProgram, parents: Sequence[Any]) -> Mapped:
    assert program.child is not None
    assert program.child.list_path is not None
    records = payloads(parents)
    lines = decode_list(records, program.child.list_path, program.child.paths)
    return program.run(decode(records, program.paths), lines)


def reasons(mapped: Mapped) -> list[tuple[int, str, str]]:
    return [(p["_row"], p["rule"], p["reason"]) for p in mapped.problems.iter_rows(named=True)]


LINES = [
    {"n": 10, "sku": 'A"1', "text": None, "qty": 1.50, "net": "3"},
    {"n": 9, "sku": "B2", "text": "Bolt", "qty": "2", "net": 4.5},
]
EXPECTED = (
    '[{"description":"Bolt","line":"9","net":"4.50","product":"[\\"value\\",\\"sku\\",\\"B2\\"]","quantity":"2"},'
    '{"line":"10","net":"3.00","product":"[\\"value\\",\\"sku\\",\\"A\\\\\\"1\\"]","quantity":"1.5"}]'
)


def test_rows_of_a_child_stream_are_lines(program: Any) -> None:
    compiled = program(CHILD)
    assert (compiled.child.stream, compiled.child.list_path, compiled.child.field) == ("order_lines", None, "lines")
    assert compiled.child.paths == ("n", "sku", "text", "qty", "net")
    mapped = with_children(
        compiled, [{"no": "1", "ccy": "GBP"}, {"no": "2", "ccy": "EUR"}], [(0, line) for line in LINES]
    )
    assert mapped.frame["lines"].to_list() == [EXPECTED, None]
    assert reasons(mapped) == []
    assert mapped.absent.to_list() == [[], []]


def test_a_list_inside_the_record_gives_the_same_lines(program: Any) -> None:
    compiled = program(INSIDE)
    assert (compiled.child.stream, compiled.child.list_path) == (None, "Items")
    parents = [
        {"no": "1", "ccy": "GBP", "Items": LINES},
        {"no": "2", "ccy": "GBP", "Items": []},
        {"no": "3", "ccy": "GBP"},
    ]
    mapped = with_lists(compiled, parents)
    assert mapped.frame["lines"].to_list() == [EXPECTED, None, None]
    assert mapped.absent.to_list() == [[], [], ["lines"]]


def test_the_order_of_lines_as_sent_does_not_matter(program: Any) -> None:
    parent = [{"no": "1", "ccy": "GBP"}]
    mapped = with_children(program(CHILD), parent, [(0, line) for line in reversed(LINES)])
    assert mapped.frame["lines"].to_list() == [EXPECTED]


@pytest.mark.parametrize(
    ("line", "rule", "text"),
    [
        ({"n": 1, "qty": "-1"}, "decimal", 'line "1", quantity: expected at least 0'),
        ({"n": 1, "qty": "1001"}, "decimal", 'line "1", quantity: expected at most 1000'),
        ({"n": 1, "net": "1.234"}, "money", 'line "1", net: expected no more decimals'),
        ({"n": "x"}, "integer", "line without key, line: expected a whole number"),
        ({}, "required", "line without key, line: expected a value"),
    ],
    ids=["below its range", "above its range", "money of its record's currency", "bad key", "no key"],
)
def test_a_bad_line_costs_its_record(line: Any, rule: str, text: str, program: Any) -> None:
    parents = [{"no": "1", "ccy": "GBP"}, {"no": "2", "ccy": "GBP"}]
    mapped = with_children(program(CHILD), parents, [(0, LINES[0]), (1, line)])
    found = reasons(mapped)
    assert found[0][:2] == (1, rule)
    assert text in found[0][2]
    assert {row for row, _, _ in found} == {1}
    assert mapped.problems["column"].unique().to_list() == ["lines"]
    assert mapped.problems["fatal"].all()


def test_a_line_key_stands_once_in_a_record(program: Any) -> None:
    parents = [{"no": "1", "ccy": "GBP"}, {"no": "2", "ccy": "GBP"}]
    mapped = with_children(program(CHILD), parents, [(0, {"n": 1}), (1, {"n": 1}), (1, {"n": "1.0"})])
    assert reasons(mapped) == [(1, "line_key", 'expected each line key once, found "1" twice')]


def test_a_refused_line_costs_its_record(program: Any) -> None:
    mapped = with_children(program(CHILD), [{"no": "1", "ccy": "GBP"}], [(0, {"n": 1}), (0, b'{"n":2,"n":3}')])
    assert (0, "duplicate_key") in [(row, rule) for row, rule, _ in reasons(mapped)]


def test_lines_of_records_that_make_nothing_are_left_out(program: Any) -> None:
    mapped = with_children(program(CHILD), [b"{", {"no": "1", "ccy": "GBP"}], [(0, {"n": "bad"}), (1, {"n": 1})])
    assert mapped.frame["lines"].to_list() == ['[{"line":"1"}]']
    assert reasons(mapped) == []


def test_without_the_lines_the_list_has_no_opinion(program: Any) -> None:
    compiled = program(CHILD)
    mapped = compiled.run(decode([b'{"no":"1","ccy":"GBP"}'], compiled.paths))
    assert mapped.frame["lines"].to_list() == [None]
    assert mapped.absent.to_list() == [["lines"]]


def changed(model: Model, **about: Any) -> Any:
    """The order with another declaration of its lines."""
    order = model["order"]
    fields = tuple(dataclasses.replace(f, **about) if f.name == "lines" else f for f in order.fields)
    return dataclasses.replace(order, fields=fields)


def test_a_list_that_is_required_must_have_a_line(sheet: Any, crm: System, model: Model) -> None:
    order = changed(model, required=True)
    compiled = compile_inbound(sheet(CHILD), crm, crm.streams["orders"], order, None, model, "UTC")
    parents = [{"no": "1", "ccy": "GBP"}, {"no": "2", "ccy": "GBP"}, {"no": "3", "ccy": "GBP"}]
    mapped = with_children(compiled, parents, [(0, {"n": 1}), (2, {"n": "x"})])
    assert [(row, rule) for row, rule, _ in reasons(mapped)] == [(2, "integer"), (2, "line_key"), (1, "required")]


def test_a_list_may_cost_only_itself(sheet: Any, crm: System, model: Model) -> None:
    order = changed(model, on_bad="field")
    compiled = compile_inbound(sheet(CHILD), crm, crm.streams["orders"], order, None, model, "UTC")
    parents = [{"no": "1", "ccy": "GBP"}, {"no": "2", "ccy": "GBP"}]
    mapped = with_children(compiled, parents, [(0, {"n": 1}), (1, {"n": 1, "qty": "-1"})])
    assert mapped.frame["lines"].to_list() == ['[{"line":"1"}]', None]
    assert mapped.absent.to_list() == [[], ["lines"]]
    assert mapped.problems["fatal"].to_list() == [False]


def test_lines_without_a_declared_key_keep_their_order(sheet: Any, crm: System, model: Model) -> None:
    order = changed(model, key=None)
    rows = sheet(CHILD.replace("order_lines.n -> order.lines.line", ""))
    compiled = compile_inbound(rows, crm, crm.streams["orders"], order, None, model, "UTC")
    mapped = with_children(compiled, [{"no": "1", "ccy": "GBP"}], [(0, {"text": "b"}), (0, {"text": "a"})])
    assert mapped.frame["lines"].to_list() == ['[{"description":"b"},{"description":"a"}]']


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("orders.qty -> order.lines.quantity", "a child stream, or LIST"),
        ("order_lines.qty -> order.lines.quantity", "a row for the line key"),
        ("order_lines.n -> order.lines.line\norders.L[].q -> order.lines.quantity", "one list"),
        ("order_lines.n -> order.lines.lime", "a field of order"),
        ("order_lines.n -> order.number", "a field of orders"),
        ("order_lines.n -> order.lines", "a field of order"),
        ("order_lines.n -> order.lines.line\norder_lines.x -> order.lines.net", "a currency"),
    ],
)
def test_rows_that_make_no_lines_are_refused(rows: str, expected: str, program: Any) -> None:
    with pytest.raises(Refused) as caught:
        program(rows)
    assert any(expected in problem.expected for problem in caught.value.problems)
