"""`concord model apply` against a real database: it adds, renames and sets aside, and never loses a value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from canonical.model import Entity, Field, FieldType, MatchRules, Model
from staging.engine import transaction
from staging.model_changes import Change, apply, model_applied, plan_changes
from tests.fixtures.database import TestDatabase


def field(name: str, kind: FieldType = "text", **more: Any) -> Field:
    return Field(name, kind, record="crm", owner="sales", origin="crm", **more)


LINES = field("lines", "list", key="line", of=(field("line"), field("quantity", "text")))
ORDER = Entity(
    "order", "", "sales", "crm", "crm", (field("number"), field("total"), field("placed", "date"), LINES),
    match=MatchRules(unique=("number",)),
)  # fmt: skip


def with_fields(*fields: Field, match: MatchRules | None = None) -> Model:
    return Model((replace(ORDER, fields=fields, match=match or ORDER.match),))


def applied(database: TestDatabase, model: Model) -> list[Change]:
    with transaction(database.owner_engine) as connection:
        changes = plan_changes(connection, model)
        apply(connection, changes, database.app_url.username)
        assert model_applied(connection, model)
    return changes


@pytest.fixture
def ordered(database: TestDatabase) -> TestDatabase:
    """A database with the order model and one order in staging and golden, written by the app role."""
    applied(database, Model((ORDER,)))
    with transaction(database.engine) as connection:
        connection.execute(
            sa.text(
                "insert into staging.order (system, stream, source_id, number, total, absent)"
                " values ('crm', 'orders', '1', 'A-1', '12.50', '{total,placed}')"
            )
        )
        connection.execute(
            sa.text(
                "insert into golden.order (id, version, number, total, provisional) values ('o1', 1, 'A-1', '12.50',"
                " '{total}')"
            )
        )
        connection.execute(sa.text("insert into golden.order_lines (id, line, quantity) values ('o1', '1', '2')"))
    return database


def scalar(database: TestDatabase, query: str) -> Any:
    with transaction(database.engine) as connection:
        return connection.execute(sa.text(query)).scalar_one()


def test_first_apply_creates_everything_and_the_next_nothing(database: TestDatabase) -> None:
    model = Model((ORDER,))
    with transaction(database.engine) as connection:
        assert not model_applied(connection, model)
    changes = applied(database, model)
    assert [c.sentence for c in changes] == [
        "create staging.order",
        "create staging.order_candidate",
        "create golden.order",
        "create golden.order_lines",
    ]
    assert applied(database, model) == []


def test_planning_changes_nothing(database: TestDatabase) -> None:
    with transaction(database.engine) as connection:
        assert plan_changes(connection, Model((ORDER,)))
        assert sa.inspect(connection).get_table_names(schema="staging") == []


def test_add(ordered: TestDatabase) -> None:
    changes = applied(ordered, with_fields(*ORDER.fields, field("channel")))
    assert {(c.kind, c.table, c.refill) for c in changes} == {
        ("add", "staging.order", True),
        ("add", "staging.order_candidate", True),
        ("add", "golden.order", True),
    }
    assert scalar(ordered, "select count(*) from golden.order where channel is null and number = 'A-1'") == 1


def test_rename_keeps_values_and_what_names_the_column(ordered: TestDatabase) -> None:
    number, _, placed, lines = ORDER.fields
    changes = applied(ordered, with_fields(number, field("gross", was="total"), placed, lines))
    assert {c.kind for c in changes} == {"rename"}
    assert scalar(ordered, "select gross from golden.order") == "12.50"
    assert scalar(ordered, "select absent from staging.order") == ["gross", "placed"]
    assert scalar(ordered, "select provisional from golden.order") == ["gross"]


def test_rename_of_a_matched_field_moves_its_index(ordered: TestDatabase) -> None:
    _, *others = ORDER.fields
    changes = applied(ordered, with_fields(field("code", was="number"), *others, match=MatchRules(unique=("code",))))
    assert {c.kind for c in changes} == {"rename", "create", "drop"}


def test_retype_sets_the_old_values_aside(ordered: TestDatabase) -> None:
    number, _, placed, lines = ORDER.fields
    changes = applied(ordered, with_fields(number, field("total", "decimal"), placed, lines))
    assert {c.kind for c in changes} == {"retype"}
    assert all(c.refill for c in changes)
    assert scalar(ordered, "select total__old from golden.order where total is null") == "12.50"
    again = applied(ordered, with_fields(number, field("total", "boolean"), placed, lines))
    assert "stay in total__old2" in again[0].sentence


def test_retype_of_a_matched_field_indexes_the_new_column(ordered: TestDatabase) -> None:
    _, *others = ORDER.fields
    applied(ordered, with_fields(field("number", "integer"), *others))
    indexed = "select indexdef from pg_indexes where indexname = 'ix_order_match_number'"
    assert "(number)" in scalar(ordered, indexed)


def test_removed_field_is_hidden_and_comes_back_with_its_values(ordered: TestDatabase) -> None:
    number, total, placed, lines = ORDER.fields
    hidden = applied(ordered, with_fields(number, placed, lines))
    assert {c.kind for c in hidden} == {"hide"}
    shown = applied(ordered, with_fields(number, total, placed, lines))
    assert {c.kind for c in shown} == {"show"}
    assert scalar(ordered, "select total from golden.order") == "12.50"


def test_removed_entity_is_hidden_with_its_rows(ordered: TestDatabase) -> None:
    assert {c.kind for c in applied(ordered, Model(()))} == {"hide"}
    assert scalar(ordered, "select count(*) from golden.order") == 1
    assert {c.kind for c in applied(ordered, Model((ORDER,)))} == {"show"}


def test_renamed_list_keeps_its_rows(ordered: TestDatabase) -> None:
    number, total, placed, lines = ORDER.fields
    applied(ordered, with_fields(number, total, placed, replace(lines, name="items", was="lines")))
    assert scalar(ordered, "select quantity from golden.order_items") == "2"


def test_list_with_another_key_is_set_aside(ordered: TestDatabase) -> None:
    number, total, placed, lines = ORDER.fields
    rekeyed = replace(lines, key="sku", of=(field("sku"), field("quantity", "decimal")))
    applied(ordered, with_fields(number, total, placed, rekeyed))
    assert scalar(ordered, "select quantity from golden.order_lines__old") == "2"
    assert scalar(ordered, "select count(*) from golden.order_lines") == 0


def test_quoted_names_are_only_names(database: TestDatabase) -> None:
    strange = replace(ORDER, name="select", fields=(field("user"), field('a"; drop table ops.audit; --')))
    applied(database, Model((replace(strange, match=MatchRules()),)))
    assert scalar(database, "select count(*) from ops.audit") == 0
