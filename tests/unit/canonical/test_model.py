"""The canonical model as values: which columns a field becomes, and what the entity knows of itself."""

from __future__ import annotations

import pytest

from canonical.model import Entity, Field, FieldType, MatchRules, Model


def field(name: str, kind: FieldType, **more: object) -> Field:
    return Field(name, kind, "crm", "boss", "crm", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("declared", "leaves"),
    [
        pytest.param(field("name", "text"), [("name", "name", "text")], id="text"),
        pytest.param(
            field("price", "money"),
            [("price", "price", "money"), ("price.currency", "price_currency", "currency")],
            id="money-with-its-currency",
        ),
        pytest.param(
            field("price", "money", currency="EUR"), [("price", "price", "money")], id="money-in-one-currency"
        ),
        pytest.param(
            field("price", "money", currency="field:currency"), [("price", "price", "money")], id="currency-elsewhere"
        ),
        pytest.param(field("lines", "list", key="no"), [("lines", "lines", "lines")], id="list"),
        pytest.param(
            field("home", "address"),
            [
                ("home.line1", "home_line1", "text"),
                ("home.line2", "home_line2", "text"),
                ("home.city", "home_city", "text"),
                ("home.region", "home_region", "text"),
                ("home.postcode", "home_postcode", "text"),
                ("home.country", "home_country", "country"),
            ],
            id="address",
        ),
    ],
)
def test_leaves(declared: Field, leaves: list[tuple[str, str, str]]) -> None:
    assert [(leaf.path, leaf.column, leaf.kind) for leaf in declared.leaves] == leaves
    assert {leaf.field for leaf in declared.leaves} == {declared.name}


ORDER = Entity(
    "order", "", "boss", "crm", "crm",
    (
        field("number", "text"),
        field("customer", "reference", entity="customer"),
        field("total", "money"),
        field("lines", "list", key="no", of=(field("no", "text"), field("product", "reference", entity="product"))),
    ),
)  # fmt: skip


def test_an_entity_knows_its_columns_by_name_path_and_column() -> None:
    assert ORDER.columns == ("number", "customer", "total", "total_currency", "lines")
    assert ORDER.by_path["total.currency"].column == "total_currency"
    assert ORDER.by_column["total_currency"].path == "total.currency"
    assert ORDER.by_name["total"].type == "money"


def test_references_of_the_entity_and_of_its_lines_are_apart() -> None:
    assert ORDER.references == {"customer": "customer"}
    assert ORDER.line_references == {"lines": {"product": "product"}}


def test_match_columns_come_once() -> None:
    rules = MatchRules(unique=("a",), strong=("b", "a"), different_if=("a",), alike=("c",))
    assert rules.columns == ("a", "b", "c")


def test_a_model_gives_entities_by_name() -> None:
    model = Model((ORDER,))
    assert model["order"] is ORDER
    with pytest.raises(KeyError):
        model["invoice"]
