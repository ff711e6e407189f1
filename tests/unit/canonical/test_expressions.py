"""Conditions of declarations: CEL's words, polars' columns, null-safe."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canonical.expressions import ExpressionError, compile_expression, compile_for_entity
from canonical.model import Entity, Field

FRAME = pl.DataFrame(
    {
        "amount": ["10.10", "3", None],
        "status": ["active", "lead", None],
        "archived": ["true", "false", None],
        "since": ["2024-05-01", "2023-01-01", None],
        "a.b": ["x", "yy", None],
        "_changed": [["status", "amount"], [], None],
    },
    schema_overrides={"_changed": pl.List(pl.String)},
)
KINDS = {"amount": "money", "status": "choice", "archived": "boolean", "since": "date", "a.b": "text"}


def holds(text: str, *, typed: bool = True) -> list[bool]:
    expression = compile_expression(text, KINDS if typed else None)  # type: ignore[arg-type]
    return FRAME.select(expression.expr.alias("r"))["r"].to_list()


@pytest.mark.parametrize("typed", [True, False], ids=["leaves", "source"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("amount > 10", [True, False, False]),
        ("amount == 10.1", [True, False, False]),
        ("amount <= 3", [False, True, False]),
        ("amount >= 3 && amount < 4", [False, True, False]),
        ("amount * 2 - 1 > 15 || status == 'lead'", [True, True, False]),
        ("amount / 0 > 1", [False, False, False]),
        ("-amount < -5", [True, False, False]),
        ("status == 'active' or status == 'lead'", [True, True, False]),
        ("not (status == 'active')", [False, True, True]),
        ("status != 'active'", [False, True, False]),
        ("status == null", [False, False, True]),
        ("status != null", [True, True, False]),
        ("has(status) and status in ['lead', 'x']", [False, True, False]),
        ("status == 'and or not'", [False, False, False]),
        ("status.startsWith('act')", [True, False, False]),
        ("status.endsWith('d')", [False, True, False]),
        ("status.contains('.')", [False, False, False]),
        ("status.matches('^a.*e$')", [True, False, False]),
        ("size(status) == 4", [False, True, False]),
        ("a.b == 'x'", [True, False, False]),
        ("a['b'] + 'z' == 'xz'", [True, False, False]),
        ("since >= '2024-01-01'", [True, False, False]),
        ("archived == true", [True, False, False]),
        ("archived", [True, False, False]),
        ("!archived", [False, True, True]),
        ("archived ? amount > 1 : status == 'lead'", [True, True, False]),
        ("changed('status')", [True, False, False]),
    ],
)
def test_conditions(text: str, expected: list[bool], typed: bool) -> None:
    assert holds(text, typed=typed) == expected


def test_columns_are_named_in_order() -> None:
    expression = compile_expression("a.b == 'x' && status != null && changed('amount') && a.b != 'y'", None)
    assert expression.columns == ("a.b", "status")
    assert expression.changed == ("amount",)


def test_list_elements_are_named_as_the_sheet_names_them() -> None:
    assert compile_expression("results[0].id == '7'", None).columns == ("results[0].id",)


def test_entity_leaves_are_read_from_their_columns() -> None:
    place = Field("address", "address", "crm", "boss", "crm")
    entity = Entity("customer", "", "boss", "crm", "crm", (place,))
    expression = compile_for_entity("address.postcode == 'E1' or changed('address')", entity)
    assert expression.columns == ("address_postcode",)
    assert "address_city" in expression.changed
    frame = pl.DataFrame({"address_postcode": ["E1", "E2", None], "_changed": [[], ["address_line1"], ["name"]]})
    assert frame.select(expression.expr.alias("r"))["r"].to_list() == [True, True, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("__import__('os')", "one of has, size, changed", id="59-import"),
        pytest.param("amount.__class__ == 'x'", "a known field", id="dunder"),
        pytest.param("amount = 3", "a condition such as", id="one-equals-sign"),
        pytest.param("amount ==", "a condition such as", id="nothing-right"),
        pytest.param("", "a condition such as", id="empty"),
        pytest.param("amount", "a condition (true or false)", id="a-number"),
        pytest.param("[true]", "a comparison", id="a-list"),
        pytest.param("{'a': 1} == status", "a comparison", id="a-map"),
        pytest.param("amount % 2 == 1", "+ - * /", id="modulo"),
        pytest.param("amount == 'x'", "two sides of one kind", id="number-and-text"),
        pytest.param("status + 1 == 'x'", "a text", id="text-plus-number"),
        pytest.param("status * 2 == 4", "a number", id="text-times-number"),
        pytest.param("amount < null", "== null or != null", id="less-than-null"),
        pytest.param("status in status", "in [a, b, …]", id="in-no-list"),
        pytest.param("has(3)", "has(a field)", id="has-literal"),
        pytest.param("has(status, amount)", "has(one thing)", id="has-two"),
        pytest.param("size(amount) == 1", "a text", id="size-of-number"),
        pytest.param("changed(status)", "changed('field')", id="changed-without-quotes"),
        pytest.param("changed('stats')", "changed('a known field')", id="changed-unknown"),
        pytest.param("since > 'May'", "a date as '2024-12-31'", id="no-date"),
        pytest.param("status.matches('(?=a)')", "a regular expression of RE2", id="58-look-ahead"),
        pytest.param("status.matches('(a+)\\\\1')", "a regular expression of RE2", id="58-back-reference"),
        pytest.param("status.lower('x')", "one of startsWith", id="unknown-method"),
        pytest.param("status.contains(status)", "contains('a text')", id="method-of-column"),
        pytest.param("archived ? 1 : 'x'", "both answers of one kind", id="two-kinds"),
        pytest.param("amount > 0x1F", "a text, a number", id="hexadecimal"),
        pytest.param("amount > 1e300", "a number of at most 20 digits", id="huge-number"),
        pytest.param("archived > true", "two sides of one kind", id="boolean-order"),
        pytest.param("('a').b == 'x'", "a field's name", id="member-of-text"),
        pytest.param("(" * 400 + "archived" + ")" * 400, "a simpler condition", id="deep"),
        pytest.param("archived && " * 100 + "archived", "at most 1000 characters", id="long"),
    ],
)
def test_refused(text: str, expected: str) -> None:
    with pytest.raises(ExpressionError) as error:
        holds(text)
    assert error.value.expected.startswith(expected)


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(ExpressionError) as error:
        compile_expression("statsu == 'x'", KINDS)  # type: ignore[arg-type]
    assert error.value.suggestion == "status"
    with pytest.raises(ExpressionError) as error:
        compile_expression("hass(status)", KINDS)  # type: ignore[arg-type]
    assert error.value.suggestion == "has"


WORDS = [
    "amount", "status", "archived", "a.b", "3", "-1.5", "'x'", "true", "null", "(", ")", "[", "]", "{", "}", ",", "?",
    ":", "==", "!=", "<", ">=", "&&", "or", "not", "!", "in", "+", "-", "*", "/", "%", ".", "has(", "size(",
    ".matches(", "changed('status')", "a['b']", "[0]", "b'x'", "r'y'", "0x1", "2u", "//", '"',
]  # fmt: skip


@pytest.mark.parametrize("text", [".matches()", ".status", ".status == 'x'", ".size(status)"])
def test_a_name_that_begins_with_a_dot_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError, match="begins with a dot"):
        compile_expression(text, KINDS)  # type: ignore[arg-type]


@given(st.lists(st.sampled_from(WORDS), max_size=12))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_condition_or_refused(words: list[str]) -> None:
    try:
        expression = compile_expression(" ".join(words), KINDS)  # type: ignore[arg-type]
    except ExpressionError:
        return
    found = FRAME.select(expression.expr.alias("r"))["r"]
    assert found.dtype == pl.Boolean
    assert found.null_count() == 0


def test_an_element_is_picked_by_a_member_as_sheets_do() -> None:
    expression = compile_expression("custom_fields['name=Kind of work'].enum_value.name == 'Order'", None)
    assert expression.columns == ("custom_fields[name=Kind of work].enum_value.name",)
