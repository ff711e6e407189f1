"""Golden records in a target's own shape."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from canonical.landscape import System
from canonical.mapping.payloads import build_payloads
from canonical.mapping.program import OutboundProgram, compile_outbound
from canonical.model import Model
from canonical.problems import Refused


@pytest.fixture
def program(sheet: Any, crm: System, model: Model) -> Any:
    def compiled(text: str, entity: str = "order", stream: str = "invoices") -> OutboundProgram:
        return compile_outbound(sheet(text), model[entity], crm, crm.streams[stream], model)

    return compiled


GOLDEN = pl.DataFrame(
    {
        "id": ["g1", "g2"],
        "number": ["A1", "A2"],
        "customer": ["c1", None],
        "currency": ["GBP", "EUR"],
        "gross": ["12.50", None],
        "placed": ["2024-01-31", None],
        "open": ["true", None],
        "lines": ['[{"line":"1","product":"p1","quantity":"1.5"},{"description":"x","line":"2","product":"p9"}]', None],
    }
)
SKUS = {("product", "sku"): pl.DataFrame({"id": ["p1"], "value": ["SKU1"]})}


def test_columns_become_the_targets_own_record(program: Any) -> None:
    compiled = program("""
        order.number -> crm:invoices.InvoiceNumber
        order.customer -> crm:invoices.Contact.ContactID
        order.gross -> crm:invoices.Total
        order.open -> crm:invoices.Open
        order.placed -> crm:invoices.Date : date DD/MM/YYYY
        -> crm:invoices.Type : const ACCREC
        order.number + order.currency -> crm:invoices.Reference : join /
        order.currency -> crm:invoices.Phones[PhoneType=DEFAULT].PhoneNumber
    """)
    made = compiled.run(GOLDEN)
    assert json.loads(build_payloads(made.frame, compiled.kinds)[0]) == {
        "InvoiceNumber": "A1",
        "Contact": {"ContactID": "c1"},
        "Total": 12.5,
        "Open": True,
        "Date": "31/01/2024",
        "Type": "ACCREC",
        "Reference": "A1/GBP",
        "Phones": [{"PhoneType": "DEFAULT", "PhoneNumber": "GBP"}],
    }
    assert compiled.refs == {"Contact.ContactID": "customer"}
    assert compiled.sources["Reference"] == ("number", "currency")
    assert compiled.sources["Type"] == ()
    assert made.frame.columns == ["id", *compiled.paths]
    assert made.problems.height == 0


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("order.gross -> crm:invoices.X", "number"),
        ("order.open -> crm:invoices.X", "boolean"),
        ("order.number -> crm:invoices.X", "string"),
        ("order.placed -> crm:invoices.X", "string"),
        ("order.gross -> crm:invoices.X : text", "string"),
        ("order.gross -> crm:invoices.X : default 0", "number"),
        ("order.number -> crm:invoices.X : number", "number"),
        ("order.open -> crm:invoices.X : map true=Y false=N", "string"),
        ("order.open -> crm:invoices.X : map true=1 false=0 | number", "number"),
        ("-> crm:invoices.X : const true | bool", "boolean"),
        ("-> crm:invoices.X : const 5", "string"),
    ],
)
def test_the_json_kind_follows_the_leaf_unless_the_rule_fixes_it(row: str, kind: str, program: Any) -> None:
    assert program(row).kinds == {"X": kind}


def test_lines_become_a_list_in_the_target(program: Any) -> None:
    compiled = program("""
        order.lines.quantity -> crm:invoices.LineItems[].Quantity
        order.lines.product -> crm:invoices.LineItems[].ItemCode : value_of sku
        order.lines.description -> crm:invoices.LineItems[].Info.Text
        order.currency -> crm:invoices.LineItems[].Ccy
        -> crm:invoices.LineItems[].AccountCode : const 200
    """)
    made = compiled.run(GOLDEN, SKUS)
    assert compiled.kinds == {"LineItems": "json"}
    assert compiled.needs == {("lines.product", "product", "sku")}
    assert compiled.sources == {"LineItems": ("lines", "currency")}
    assert made.frame["LineItems"].to_list() == [
        '[{"Quantity":1.5,"ItemCode":"SKU1","Ccy":"GBP","AccountCode":"200"},'
        '{"Info":{"Text":"x"},"Ccy":"GBP","AccountCode":"200"}]',
        None,
    ]
    assert made.problems.rows() == [("g1", "LineItems[].ItemCode", "value_of", 'expected a known product, found "p9"')]


def test_a_reference_may_be_written_as_a_value_of_its_record(program: Any) -> None:
    compiled = program("order.customer -> crm:invoices.Email : value_of email")
    known = {("customer", "email"): pl.DataFrame({"id": ["c1"], "value": ["a@b.com"]})}
    assert compiled.needs == {("customer", "customer", "email")}
    assert compiled.refs == {}
    assert compiled.run(GOLDEN, known).frame["Email"].to_list() == ["a@b.com", None]


def test_a_value_that_cannot_be_made_is_said(program: Any) -> None:
    made = program("order.currency -> crm:invoices.X : map GBP=1 *=flag").run(GOLDEN)
    assert made.frame["X"].to_list() == ["1", None]
    assert made.problems.rows() == [("g2", "X", "choice", 'expected a code of the table, found "EUR"')]


def test_no_records(program: Any) -> None:
    compiled = program("order.number -> crm:invoices.N\norder.lines.quantity -> crm:invoices.L[].Q")
    made = compiled.run(GOLDEN.head(0))
    assert made.frame.shape == (0, 3)


def test_records_without_any_line(program: Any) -> None:
    compiled = program("order.lines.quantity -> crm:invoices.L[].Q")
    empty = GOLDEN.with_columns(lines=pl.lit(None, dtype=pl.String))
    assert compiled.run(empty).frame["L"].to_list() == [None, None]


def test_rows_of_others_are_passed_over(program: Any) -> None:
    compiled = program("""
        customer.name -> crm:invoices.Name
        order.number -> crm:orders.Number
        orders.x -> order.number
        -> crm:invoices.ListOfAnotherEntity[].X : const 1
        order.number -> crm:invoices.N
    """)
    assert compiled.paths == ("N",)


@pytest.mark.parametrize(
    ("row", "expected", "hint"),
    [
        ("order.nmber -> crm:invoices.N", "a field of order", "number"),
        ("order.lines.quantty -> crm:invoices.L[].Q", "a field of order", "lines.quantity"),
        ("order.lines.quantity -> crm:invoices.Q", "a list in the target", None),
        ("order.lines.product -> crm:invoices.L[].P", "value_of", None),
        ("order.lines -> crm:invoices.L", "a field of order", None),
        ("order.number -> crm:invoices.N[", "'.' at position 2", None),
        ("order.number -> crm:invoices.N[].M[].O", "one list", None),
        ("order.number -> crm:invoices.N\norder.currency -> crm:invoices.N", "each target once", None),
        ("-> crm:invoices.N", "const", None),
        ("order.currency -> crm:invoices.L[].N", "a field of lines", None),
    ],
)
def test_a_row_that_cannot_be_written_is_refused(row: str, expected: str, hint: str | None, program: Any) -> None:
    with pytest.raises(Refused) as caught:
        program(row)
    (problem,) = caught.value.problems
    assert problem.line is not None
    assert expected in problem.expected
    if hint:
        assert problem.suggestion == hint
