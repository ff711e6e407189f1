"""A small model and a small company, as values; helpers that run one rule or one sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pytest

from canonical.landscape import ChildOf, Stream, System
from canonical.mapping.functions.base import Context
from canonical.mapping.kinds import enforce
from canonical.mapping.pipeline import compile_rule, run_steps
from canonical.mapping.sheet import SheetRow
from canonical.model import Entity, Field, LeafKind, Model


def field(name: str, type_: Any, **more: Any) -> Field:
    return Field(name, type_, "crm", "head-of-sales", "crm", **more)


def entity(name: str, *fields: Field) -> Entity:
    return Entity(name, "", "head-of-sales", "crm", "crm", fields)


CUSTOMER = entity(
    "customer",
    field("name", "text", required=True),
    field("email", "email"),
    field("phone", "phone", region="GB"),
    field("status", "choice", values=("lead", "active")),
    field("tier", "choice", values=("gold", "silver"), on_bad="field"),
    field("address", "address"),
    field("balance", "money"),
    field("credit", "money", currency="EUR"),
    field("since", "date", sentinels=("0000-00-00", "1900-01-00", "9999-12-31")),
    field("seen", "datetime"),
    field("vip", "boolean"),
    field("staff", "integer"),
    field("rate", "decimal", scale=3),
    field("site", "url"),
    field("note", "text", null="keep", blank="keep"),
    field("memo", "text", null="keep"),
    field("hint", "text", blank="keep"),
    field("parent", "reference", entity="customer"),
)
PRODUCT = entity("product", field("sku", "text"), field("name", "text"))
ORDER = entity(
    "order",
    field("number", "text", required=True),
    field("customer", "reference", entity="customer"),
    field("currency", "currency"),
    field("gross", "money", currency="field:currency"),
    field("placed", "date"),
    field("open", "boolean"),
    field(
        "lines",
        "list",
        key="line",
        of=(
            field("line", "integer", required=True),
            field("product", "reference", entity="product"),
            field("description", "text"),
            field("quantity", "decimal", scale=6, minimum="0", maximum="1000"),
            field("net", "money", currency="field:currency"),
        ),
    ),
)
MODEL = Model((CUSTOMER, PRODUCT, ORDER))
STREAMS = {
    "contacts": Stream("contacts", changed="updatedAt"),
    "orders": Stream("orders"),
    "order_lines": Stream("order_lines", key=("order", "n"), child_of=ChildOf("orders", "order", "lines")),
    "invoices": Stream("invoices"),
    "products": Stream("products"),
}
CRM = System("crm", "hubspot", "head-of-sales", streams=STREAMS)
LONDON = System("crm", "hubspot", "head-of-sales", streams=STREAMS, timezone="Europe/London")


@pytest.fixture
def model() -> Model:
    return MODEL


@pytest.fixture
def crm() -> System:
    return CRM


@pytest.fixture
def london() -> System:
    return LONDON


Applied = tuple[list[str | None], list[str | None]]


@pytest.fixture
def apply() -> Callable[..., Applied]:
    """Run a rule on one column (or several) → (values, names of the rules that failed)."""

    def run(rule: str, *columns: Sequence[str | None], **about: Any) -> Applied:
        series = tuple(pl.Series(f"s{i}", list(c), dtype=pl.String) for i, c in enumerate(columns))
        height = len(series[0]) if series else 1
        frame = pl.DataFrame({s.name: s for s in series}) if series else pl.DataFrame({"s": [None] * height})
        lookups = about.pop("lookups", {})
        context = Context(system=about.pop("system", CRM), model=MODEL, sources=tuple(s.name for s in series), **about)
        done = run_steps(compile_rule(rule, context), series, frame, lookups)
        return done.values.to_list(), done.rules.to_list() if done.rules is not None else [None] * len(done.values)

    return run


@pytest.fixture
def enforced() -> Callable[..., Applied]:
    """Bring values to the canonical form of a kind → (values, reasons)."""

    def run(
        kind: LeafKind, values: Sequence[str | None], declared: Field | None = None, zone: str | None = None
    ) -> Applied:
        done = enforce(pl.Series(list(values), dtype=pl.String), kind, declared, zone)
        return done.values.to_list(), done.bad.to_list() if done.bad is not None else [None] * len(values)

    return run


@pytest.fixture
def sheet() -> Callable[[str], list[SheetRow]]:
    """Rows from lines `source -> target : rule`; targets of crm are outbound, others inbound."""

    def rows(text: str) -> list[SheetRow]:
        made = []
        for number, line in enumerate(text.strip().splitlines(), start=2):
            places, _, rule = line.strip().partition(" : ")
            source, _, target = (part.strip() for part in places.partition("->"))
            outbound = target.startswith("crm:")
            systems = ("canonical", "crm") if outbound else ("crm", "ignore" if target == "-" else "canonical")
            made.append(
                SheetRow(systems[0], source, systems[1], target.removeprefix("crm:"), rule.strip(), "", "m.csv", number)
            )
        return made

    return rows
