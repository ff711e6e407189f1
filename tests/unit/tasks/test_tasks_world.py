"""What a world knows of its landscape: who is right, what must be read, what carries money."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from canonical.landscape import Brake, Limit
from connectors.protocol import Misdeclared
from tasks.world import World, referenced


@pytest.mark.parametrize(
    ("integrations", "entities"),
    [
        ((), []),
        (("customers",), ["customer"]),
        (("orders",), ["customer", "product", "order"]),
        (("orders", "customers"), ["customer", "product", "order"]),
    ],
)
def test_an_integration_needs_what_its_entity_points_to(
    world: World, integrations: tuple[str, ...], entities: list[str]
) -> None:
    needed = world.needed_entities(integrations)
    assert sorted(needed) == sorted(entities)
    if "order" in needed:
        assert needed[-1] == "order"


def test_streams_to_be_read_have_child_streams_behind_their_parents(world: World) -> None:
    assert world.streams_for(["order"]) == [("shop", "orders"), ("shop", "order_lines")]
    found = world.streams_for(["customer", "order"])
    assert set(found) == {
        ("shop", "customers"), ("books", "contacts"), ("shop", "orders"), ("shop", "order_lines"),
    }  # fmt: skip
    assert world.streams_for([]) == []


def test_makers_are_streams_of_active_systems(world: World) -> None:
    assert world.makers("customer") == [("shop", "customers"), ("books", "contacts")]
    assert world.makers("nothing") == []


def test_the_system_of_record_founds_first(world: World) -> None:
    assert world.ranks(world.landscape.model["customer"]) == ["shop", "books"]
    assert world.ranks(world.landscape.model["order"]) == ["shop"]


def test_children(world: World) -> None:
    assert [s.name for s in world.children("shop", "orders")] == ["order_lines"]
    assert world.children("shop", "customers") == []


def test_targets(world: World) -> None:
    assert world.target_systems(["customers", "orders"]) == {"books"}
    assert world.target_systems([]) == set()


@pytest.mark.parametrize(
    ("columns", "system"),
    [(("name",), "shop"), (("terms",), "books"), (("name", "terms"), "shop"), ((), ""), (("id",), "")],
    ids=["one", "another", "mixed", "constant", "our-own-id"],
)
def test_authority(world: World, columns: tuple[str, ...], system: str) -> None:
    assert world.authority(world.landscape.model["customer"], columns) == system


def test_money_paths_name_their_currency(world: World) -> None:
    order = world.landscape.model["order"]
    program = world.outbound("order", "books", "invoices")
    assert world.money_paths(order, program) == {"gross": "path:currency", "fee": "EUR", "deposit": ""}


def test_currency_paths_are_those_that_carry_nothing_else(world: World) -> None:
    order = world.landscape.model["order"]
    assert world.currency_paths(order, world.outbound("order", "books", "invoices")) == {"currency"}


def test_people_are_named_with_their_handles(world: World) -> None:
    assert world.contact("head") == "head (Ada Moss, @ada)"
    assert world.contact("clerk") == "clerk (Ben Okoro)"
    assert world.contact("nobody") == "nobody"
    assert world.owner_of_system("books") == "clerk (Ben Okoro)"
    assert world.owner_of(world.landscape.model["order"]) == "clerk (Ben Okoro)"


def test_the_brake_of_a_stream_is_that_of_what_it_feeds(world: World) -> None:
    assert world.brake_of("shop", "customers").deletes == Limit(5, 0.02)
    assert world.brake_of("shop", "news") == Brake()


def test_pairs_to_be_planned_are_every_record_with_every_target(world: World) -> None:
    pairs = world.pairs("customer", pl.Series(["a", "b"]), without=())
    assert pairs.sort("canonical_id").select("canonical_id", "integration", "system", "stream").rows() == [
        ("a", "customers", "books", "contacts"),
        ("b", "customers", "books", "contacts"),
    ]
    assert world.pairs("customer", pl.Series(["a"]), without={"customers"}).is_empty()
    assert world.pairs("product", pl.Series(["a"]), without=()).is_empty()


def test_conditions_tell_scope_and_what_must_be_asked(world: World) -> None:
    integration = world.landscape.integrations["customers"]
    entity = world.landscape.model["customer"]
    records = pl.DataFrame(
        {"id": ["a", "b", "c"], "name": ["A", "B", "C"], "vip": ["true", "false", None], "terms": [None] * 3},
        schema_overrides={"terms": pl.String},
    )
    changed = pl.DataFrame({"id": ["a", "b"], "_changed": [["name"], ["vip"]]})
    in_scope, asks = world.conditions(integration, integration.to[0], entity, records, changed)
    assert in_scope.to_list() == [True, False, False]
    assert asks.rows() == [("a", "asks when changed('name')")]


def test_programs_are_compiled_once(world: World) -> None:
    assert world.inbound("shop", "orders", "order") is world.inbound("shop", "orders", "order")
    assert world.outbound("order", "books", "invoices") is world.outbound("order", "books", "invoices")
    assert world.outbound_if_any("customer", "books", "invoices") is None


def test_what_decides_on_staging_is_one_digest(world: World, folder: Path) -> None:
    before = {s: world.declared(*s) for s in (("shop", "orders"), ("shop", "customers"), ("books", "contacts"))}
    sheet = folder / "mappings" / "shop.csv"
    row = "customer.name,books,contacts.name,"
    sheet.write_text(sheet.read_text().replace(f"{row},", f"{row}upper,"))
    from tasks.landscape import load

    after = World(load(folder), folder, world.engine)
    assert after.declared("shop", "orders") == before["shop", "orders"]
    assert after.declared("shop", "customers") == before["shop", "customers"]
    assert after.declared("books", "contacts") != before["books", "contacts"]


def test_a_system_without_a_connector_is_nothing_to_read_from(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "x")
    assert id(world.source("shop")) == id(world.target("shop"))
    world.close()
    with pytest.raises(Misdeclared):
        world.source("post")


LINES = '[{"line":"1","product":"p1"},{"line":"2","product":null},{"line":"3","product":"p1"},{"line":"4"}]'
RECORDS = pl.DataFrame(
    {"id": ["a", "b", "c"], "customer": ["c1", None, "c1"], "lines": [LINES, None, '[{"product":"p2"}]']}
)


@pytest.mark.parametrize(
    ("column", "ids"),
    [("customer", ["c1"]), ("lines.product", ["p1", "p2"]), ("nothing", []), ("nothing.product", [])],
)
def test_the_ids_that_records_point_to(column: str, ids: list[str]) -> None:
    assert sorted(referenced(RECORDS, column)) == ids


def test_no_lines_point_to_nothing() -> None:
    assert referenced(RECORDS.with_columns(lines=pl.lit(None, dtype=pl.String)), "lines.product") == []
