"""Entities as declared: the standard model, extending it, and what does not fit together."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from canonical.declarations.models import DeclaredModel, in_reference_order, read_entity, standard_names
from canonical.declarations.shapes import Notes
from canonical.declarations.yaml import load_yaml
from canonical.expressions import compile_for_entity
from canonical.landscape import Landscape
from canonical.mapping.sheet import parse_sheet
from canonical.model import Entity, Field, Model
from canonical.problems import Problem

STANDARD = (
    "contact", "customer", "employee", "invoice", "order", "payment", "product", "project", "return", "shipment",
    "ticket",
)  # fmt: skip


def read(*texts: str) -> tuple[dict[str, Entity], list[Problem]]:
    notes, model = Notes(), DeclaredModel()
    for text in texts:
        read_entity(notes, load_yaml("model/x.yaml", text.encode()), {"crm": "boss"}, model)
    return model.entities, notes.problems


def one(text: str) -> Entity:
    entities, problems = read(text)
    assert problems == []
    return next(iter(entities.values()))


def wrong(text: str) -> Problem:
    (problem,) = read(text)[1]
    return problem


FIELDS = "entity: thing\nrecord: crm\nfields:\n"


# ---- the standard model


def test_the_standard_model_is_complete() -> None:
    assert standard_names() == STANDARD


@pytest.mark.parametrize("name", STANDARD)
def test_a_standard_entity_needs_only_a_system_of_record(name: str) -> None:
    entity = one(f"extends: standard/{name}\nrecord: crm\n")
    assert entity.name == name
    assert {(field.record, field.owner, field.origin) for field in entity.fields} == {("crm", "boss", "crm")}
    lines = [line for field in entity.fields for line in field.of]
    assert all(field.means for field in (*entity.fields, *lines))
    assert entity.match.columns


def test_the_standard_model_refers_only_to_itself() -> None:
    entities, _ = read(*(f"extends: standard/{name}\nrecord: crm\n" for name in STANDARD))
    model = in_reference_order(entities)
    names = [entity.name for entity in model.entities]
    for entity in model.entities:
        for target in (*entity.references.values(), *(t for r in entity.line_references.values() for t in r.values())):
            assert target in names
        assert all(names.index(t) <= names.index(entity.name) for t in entity.references.values())


@pytest.mark.parametrize("name", ["order", "invoice"])
def test_money_has_its_currency_in_one_field_and_unit_prices_six_digits(name: str) -> None:
    entity = one(f"extends: standard/{name}\nrecord: crm\n")
    lines = {field.name: field for field in entity.by_name["lines"].of}
    assert {f.currency for f in (*entity.fields, *lines.values()) if f.type == "money"} == {"field:currency"}
    assert (lines["unit_price"].type, lines["unit_price"].scale) == ("decimal", 6)
    assert entity.by_name["lines"].key == "line"


# ---- extending


def test_an_extension_adds_to_fields_replaces_them_and_leaves_some_out() -> None:
    entity = one(
        "extends: standard/customer\nrecord: crm\nowner: sales\nmeans: Who buys\nwithout: [tax_id, website]\n"
        "fields:\n  phone: {region: GB}\n  status: {type: text}\n  segment: {type: choice, values: [a, b]}\n"
    )
    assert entity.means == "Who buys"
    assert not {"tax_id", "website"} & set(entity.by_name)
    assert (entity.by_name["phone"].region, entity.by_name["phone"].on_bad) == ("GB", "field")
    assert (entity.by_name["status"].type, entity.by_name["status"].values) == ("text", ())
    assert entity.by_name["segment"].values == ("a", "b")


def test_match_rules_of_fields_left_out_are_left_out_with_them() -> None:
    entity = one("extends: standard/customer\nrecord: crm\nwithout: [tax_id]\nmatch: {alike: [name, address.city]}\n")
    assert (entity.match.unique, entity.match.different_if) == ((), ())
    assert entity.match.alike == ("name", "address_city")
    assert entity.match.strong == ("email", "registration_no")


def test_without_wants_something_to_leave_out_of() -> None:
    assert wrong("entity: thing\nrecord: crm\nwithout: [a]\nfields: {b: {type: text}}\n").where == "without"
    assert wrong("extends: standard/product\nrecord: crm\nwithout: sku\n").expected == "a list"


def test_a_standard_reference_to_an_entity_that_is_not_there_may_be_left_out(
    files: dict[str, bytes], problems: Callable[[], list[Problem]], read: Callable[[], Landscape]
) -> None:
    files["model/payment.yaml"] = b"extends: standard/payment\nrecord: erp\n"
    (problem,) = problems()
    assert problem.file == "model/payment.yaml"
    assert problem.expected.endswith("or without: [invoice]")
    files["model/payment.yaml"] += b"without: [invoice]\n"
    assert "payment" in read().model.by_name


# ---- fields


def test_who_is_right_and_who_answers_come_from_the_nearest() -> None:
    entity = one(
        "entity: thing\nrecord: crm\nowner: sales\norigin: shop\nfields:\n  a: {type: text}\n"
        "  b: {type: text, record: erp, owner: finance}\n  c: {type: text, record: erp, origin: web}\n"
        "  d: {type: list, key: n, record: erp, of: {n: {type: text}}}\n"
    )
    found = {field.name: (field.record, field.owner, field.origin) for field in entity.fields}
    assert found == {
        "a": ("crm", "sales", "shop"), "b": ("erp", "finance", "erp"), "c": ("erp", "sales", "web"),
        "d": ("erp", "sales", "erp"),
    }  # fmt: skip
    assert entity.by_name["d"].of[0].record == "erp"


def test_everything_a_field_may_say() -> None:
    field = one(
        FIELDS + '  a: {type: decimal, required: true, scale: 3, min: -1, max: "2.5", on_bad: field, null: keep, '
        'blank: keep, sentinels: ["999"], was: b, until_recorded: [shop]}\n'
    ).fields[0]
    assert field == Field(
        "a", "decimal", "crm", "boss", "crm", required=True, scale=3, on_bad="field", null="keep", blank="keep",
        until_recorded=("shop",), sentinels=("999",), minimum="-1", maximum="2.5", was="b",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("field", "where", "expected"),
    [
        ("a: {means: x}", "fields.a.type", "one of text"),
        ("a: {type: text, values: [x]}", "fields.a.values", "this key only for choice"),
        ("a: {type: text, scale: 2}", "fields.a.scale", "this key only for decimal or money"),
        ("a: {type: choice}", "fields.a.values", "the choices"),
        ("a: {type: choice, values: []}", "fields.a.values", "the choices"),
        ("a: {type: choice, values: [x, x]}", "fields.a.values[1]", "each name once"),
        ("a: {type: choice, values: [7, x]}", "fields.a.values[0]", "text, in quotes"),
        ("a: {type: reference}", "fields.a.entity", "text"),
        ("a: {type: list, key: n}", "fields.a.of", "a mapping"),
        ("a: {type: list, key: m, of: {n: {type: text}}}", "fields.a.key", "one of n"),
        ("a: {type: list, key: n, of: {n: {type: list}}}", "fields.a.of.n.type", "one of text"),
        ("a: {type: money, currency: eur}", "fields.a.currency", "an ISO 4217 code"),
        ('a: {type: money, currency: "field:ccy"}', "fields.a.currency", "field:"),
        ("a: {type: phone, region: Britain}", "fields.a.region", "a name like"),
        ("a: {type: integer, min: x}", "fields.a.min", "a number"),
        ("a: {type: integer, min: 3, max: 2}", "fields.a.max", "at least the minimum 3"),
        ("a: {type: date, min: 3}", "fields.a.min", "a date in quotes"),
        ('a: {type: date, min: "2024-02-01", max: "2024-01-01"}', "fields.a.max", "at least the minimum"),
        ("a: {type: text, required: 1}", "fields.a.required", "true or false"),
        ("a: {type: decimal, scale: 99}", "fields.a.scale", "a whole number from 0 to 12"),
        ("a: text", "fields.a", "a mapping"),
        ("version: {type: text}", "fields.version", "a name that no table of ours uses"),
        ("a: {type: address}\n  a_city: {type: text}", "fields.a_city", "a column of its own"),
    ],
)
def test_what_does_not_fit_is_refused(field: str, where: str, expected: str) -> None:
    problems = [p for p in read(FIELDS + f"  {field}\n")[1] if p.where == where]
    assert problems
    assert problems[0].expected.startswith(expected)
    assert problems[0].line is not None


def test_an_entity_without_fields_name_or_owner() -> None:
    found = read("means: x\n")[1]
    assert {problem.where for problem in found} == {"entity", "fields", "owner"}


def test_an_entity_without_owner_takes_that_of_its_system_of_record() -> None:
    assert one(FIELDS + "  a: {type: text}\n").owner == "boss"
    assert wrong(FIELDS.replace("crm", "erp") + "  a: {type: text}\n").where == "owner"


# ---- reference order


def entity(name: str, *targets: str) -> Entity:
    fields = tuple(Field(f"to_{t}", "reference", "crm", "boss", "crm", entity=t) for t in targets)
    return Entity(name, "", "boss", "crm", "crm", fields)


def order(*entities: Entity) -> list[str]:
    model: Model = in_reference_order({e.name: e for e in entities})
    return [e.name for e in model.entities]


def test_what_is_pointed_to_stands_first() -> None:
    assert order(entity("a", "b"), entity("b", "c"), entity("c")) == ["c", "b", "a"]


def test_a_circle_is_broken_and_keeps_everything() -> None:
    names = order(entity("a", "b"), entity("b", "c"), entity("c", "a"), entity("d", "a"), entity("e", "e"))
    assert sorted(names) == ["a", "b", "c", "d", "e"]
    assert names.index("a") < names.index("d")
    assert names == order(entity("e", "e"), entity("d", "a"), entity("c", "a"), entity("b", "c"), entity("a", "b"))
    kept = [names.index(target) < names.index(source) for source, target in ("ab", "bc", "ca")]
    assert sum(kept) == 2


def test_an_entity_may_be_called_like_a_word_of_python_and_sql() -> None:
    entity = one("extends: standard/return\nrecord: crm\n")
    condition = compile_for_entity("status == 'received' && changed('status')", entity)
    assert condition.columns == ("status",)
    sheet = (
        "source_system,source_field,target_system,target_field,rule,notes\n"
        "crm,returns.no,canonical,return.number,trim,\n"
        "canonical,return.number,crm,notes.Reference,,\n"
    )
    rows = parse_sheet("mappings/crm.csv", sheet.encode())
    assert [row.entity for row in rows] == ["return", "return"]
