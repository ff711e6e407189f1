"""Which tables a model asks for, and which models are refused because their names collide."""

from __future__ import annotations

import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from canonical.model import Entity, Field, FieldType, MatchRules, Model
from canonical.problems import Refused
from staging.entity_tables import entity_tables


def field(name: str, kind: FieldType = "text", **more: object) -> Field:
    return Field(name, kind, record="crm", owner="sales", origin="crm", **more)  # type: ignore[arg-type]


def entity(name: str, *fields: Field, match: MatchRules | None = None) -> Entity:
    return Entity(name, "", "sales", "crm", "crm", fields, match=match or MatchRules())


LINES = field("lines", "list", key="line", of=(field("line"), field("quantity", "decimal")))
CUSTOMER = entity(
    "customer",
    field("name"),
    field("email", "email"),
    field("phone", "phone"),
    field("address", "address"),
    field("balance", "money"),
    field("since", "date"),
    field("parent", "reference", entity="customer"),
    match=MatchRules(unique=("email",), shared=("phone", "address_postcode")),
)


@pytest.mark.parametrize(
    ("kind", "sql"),
    [
        ("text", "TEXT"),
        ("email", "TEXT"),
        ("choice", "TEXT"),
        ("reference", "TEXT"),
        ("integer", "BIGINT"),
        ("decimal", "NUMERIC"),
        ("date", "DATE"),
        ("datetime", "TIMESTAMP WITH TIME ZONE"),
        ("boolean", "BOOLEAN"),
        ("list", "JSON"),
    ],
)
def test_column_type_by_kind(kind: FieldType, sql: str) -> None:
    made = entity_tables(Model((entity("thing", field("value", kind)),)))["thing"]
    for table in (made.staged, made.candidate, made.golden):
        assert table.c.value.type.compile(dialect=postgresql.dialect()) == sql
        assert table.c.value.nullable


def test_groups_become_their_leaves() -> None:
    made = entity_tables(Model((CUSTOMER,)))["customer"]
    assert {"address_line1", "address_country", "balance", "balance_currency"} <= set(made.golden.c.keys())
    assert "address" not in made.golden.c


def test_keys_and_indexes() -> None:
    made = entity_tables(Model((CUSTOMER,)))["customer"]
    assert made.staged.primary_key.columns.keys() == ["system", "stream", "source_id"]
    assert made.golden.primary_key.columns.keys() == ["id"]
    assert {str(i.name) for i in made.staged.indexes} == {
        "ix_customer_dirty",
        "ix_customer_unresolved",
        "ix_customer_match_email",
        "ix_customer_match_phone",
        "ix_customer_match_address_postcode",
    }
    assert {str(i.name) for i in made.golden.indexes} == {"ix_customer_golden_email", "ix_customer_golden_parent"}


def test_candidates_are_unlogged_and_carry_problems() -> None:
    candidate = entity_tables(Model((CUSTOMER,)))["customer"].candidate
    assert "CREATE UNLOGGED TABLE staging.customer_candidate" in str(CreateTable(candidate))
    assert {"_row", "problems", "failed", "batch_id"} <= set(candidate.c.keys())


def test_lists_become_rows_under_their_line_key() -> None:
    lines = entity_tables(Model((entity("order", field("number"), LINES),)))["order"].lines["lines"]
    assert lines.fullname == "golden.order_lines"
    assert lines.primary_key.columns.keys() == ["id", "line"]
    assert not lines.c.line.nullable
    assert lines.c.quantity.nullable


def test_long_index_names_stay_apart() -> None:
    long = "a" * 50
    made = entity(long, field("first_" + "x" * 40), field("first_" + "y" * 40))
    match = MatchRules(unique=made.columns)
    table = entity_tables(Model((Entity(long, "", "s", "c", "c", made.fields, match=match),)))[long].staged
    names = [str(i.name) for i in table.indexes]
    assert len(names) == len(set(names))
    assert max(map(len, names)) <= 63


@pytest.mark.parametrize(
    ("entities", "says"),
    [
        ([entity("thing", field("system"))], "Concord's own bookkeeping"),
        ([entity("thing", field("version"))], "Concord's own bookkeeping"),
        ([entity("thing", field("address", "address"), field("address_line1"))], "address_line1 twice"),
        ([entity("history", field("name"))], "golden.history, which Concord has"),
        ([entity("order", LINES), entity("order_lines", field("name"))], "golden.order_lines"),
        ([entity("a", field("b")), entity("a_candidate", field("b"))], "staging.a_candidate"),
        ([entity("thing", field("x" * 60))], "too long"),
        ([entity("e" * 60, field("name"))], "at most 63"),
        ([entity("order", field("lines", "list", key="id", of=(field("id"),)))], "a line field of another name"),
    ],
    ids=[
        "column-of-ours", "golden-column-of-ours", "two-fields-one-column", "table-of-ours", "list-and-entity",
        "candidate-and-entity", "long-column", "long-table", "line-id",
    ],
)  # fmt: skip
def test_colliding_names_are_refused(entities: list[Entity], says: str) -> None:
    with pytest.raises(Refused, match=says):
        entity_tables(Model(tuple(entities)))


def test_all_collisions_are_said_at_once() -> None:
    with pytest.raises(Refused) as refused:
        entity_tables(Model((entity("history", field("state"), field("batch_id")),)))
    assert len(refused.value.problems) == 3
