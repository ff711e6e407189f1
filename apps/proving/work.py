"""What people do in the demo's systems: something to do for every step, and a stream of it for as long as wanted."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from apps.proving.ground import Copy, Json
from sandbox import workbook

if TYPE_CHECKING:
    from sandbox.runner import Running

_EVERYWHERE = (
    "select g.id from golden.customer g join ops.crosswalk c on c.canonical_id = g.id and c.ended_at is null"
    " where g.status = 'active' and not g.deleted and not g.provisional && array['phone', 'email']"
    " and c.system in ('crm', 'accounting', 'legacy') group by 1"
    " having count(*) = 3 and count(distinct c.system) = 3 order by 1 limit %s"
)
_WORDS = (
    "Alder", "Bramble", "Cinder", "Damson", "Elder", "Fennel", "Gorse", "Hazel", "Iris", "Juniper", "Kelp", "Larch",
    "Mallow", "Nettle", "Osier", "Privet", "Quince", "Rowan", "Sorrel", "Tansy", "Umber", "Vetch", "Willow", "Yarrow",
    "Anchor", "Barrow", "Cobalt", "Drumlin", "Ember", "Flint", "Granite", "Harrow", "Ingot",
)  # fmt: skip
_PLACES = (
    "select system, stream, source_id from ops.crosswalk where entity = 'customer' and canonical_id = %s"
    " and ended_at is null and is_primary"
)


def customers(copy: Place, limit: int) -> list[dict[tuple[str, str], str]]:
    """Customers whom CRM, ledger and order database all know, as (system, stream) → id there."""
    return [
        {(r["system"], r["stream"]): r["source_id"] for r in copy.rows(_PLACES, row["id"])}
        for row in copy.rows(_EVERYWHERE, limit)
    ]


class Place(Protocol):
    """What work is planted in: a copy of a proof, or a test's own."""

    @property
    def sandbox(self) -> Running: ...
    def rows(self, query: str, *values: Any) -> list[Json]: ...
    def edit(self, system: str, stream: str, record_id: str, fields: Json) -> Json: ...
    def edit_legacy(self, table: str, key: str, fields: Json) -> None: ...
    def add_legacy(self, table: str, fields: Json) -> None: ...


def plant(copy: Place) -> None:
    """Edits, corrections, an unauthorised edit, new records with and without anything that they could be recognised
    by, a new customer's order, an order to be billed."""
    *moved, edited = customers(copy, 4)
    for number, ids in enumerate(moved):
        copy.edit("crm", "companies", ids["crm", "companies"], {"phone": f"020 7946 030{number}"})
    copy.edit("accounting", "contacts", edited["accounting", "contacts"], {"EmailAddress": "typo@nowhere.example"})
    [draft] = copy.rows(
        "select o.number from golden.order o join ops.crosswalk c on c.canonical_id = o.customer and c.system ="
        " 'accounting' and c.ended_at is null where o.status = 'draft' and json_array_length(o.lines) > 0"
        " order by 1 limit 1"
    )
    copy.edit_legacy("orders", draft["number"], {"state_cd": "CONF"})
    [product] = copy.rows("select sku from golden.product order by sku limit 1")
    _new_customers(copy, product["sku"])
    people = Path(copy.sandbox.workbook_dir) / "contacts.xlsx"
    workbook.add_row(people, ("P-9001", "Ottoline Marchbanks", "", "", "+44 20 7946 0777"))
    workbook.add_row(people, ("P-9002", "Zebedee Farrow", "", "", ""))


def _new_customers(copy: Place, sku: str) -> None:
    """One who can be recognised, one who cannot; an order of each."""
    new: Json = {"client_no": "C-NEW", "company_name": "Quillfeather Bindery", "fullname": "Ada Quill"}
    new |= {"vat_no": "GB914223017", "mail": "ada@quillfeather.example", "status_cd": "A", "ctry": "GB"}
    bare: Json = {"client_no": "C-BARE", "company_name": "Tallowmere Joinery", "fullname": "", "status_cd": "A"}
    for client in (new, bare):
        copy.add_legacy("clients", client)
    for number, whose, quantity, price in (("SO-NEW", "C-NEW", 2, 9.5), ("SO-BARE", "C-BARE", 1, 4)):
        order: Json = {"order_no": number, "client_no": whose, "order_date": "02/03/2025", "currency": "GBP"}
        copy.add_legacy("orders", {**order, "state_cd": "CONF"})
        line: Json = {"order_no": number, "line_no": 1, "sku": sku, "qty": quantity, "shipped_qty": 0}
        copy.add_legacy("order_lines", {**line, "unit_price": price, "vat_rate": 20})


@dataclass(frozen=True)
class Deed:
    """One thing that a person did, so that it can be done again elsewhere."""

    what: str
    do: Callable[[Copy], object]


def deeds(copy: Copy, seed: int, count: int) -> list[Deed]:
    """So many things that people do in the CRM, drawn from a generator: moves, renamings, new customers."""
    draw = random.Random(seed)  # noqa: S311  no secret
    known = [ids["crm", "companies"] for ids in customers(copy, 40)]
    return [_deed(draw, number, known) for number in range(count)]


def _deed(draw: random.Random, number: int, known: list[str]) -> Deed:
    company = draw.choice(known)
    match draw.randrange(3):
        case 0:
            phone = f"+44207946{number:04d}"
            return Deed("a number changes", lambda copy: copy.edit("crm", "companies", company, {"phone": phone}))
        case 1:
            street = f"{number} Mill Lane"
            return Deed("an address changes", lambda copy: copy.edit("crm", "companies", company, {"address": street}))
    name = " ".join(draw.sample(_WORDS, 3))
    domain = name.lower().replace(" ", "-") + f"-{number}.example"
    values = {"name": name, "email": f"office@{domain}", "domain": domain, "country": "GB"}
    body = {"properties": {**values, "hs_lead_status": "CUSTOMER"}}
    return Deed("a customer comes", lambda copy: copy.create("crm", "/crm/v3/objects/companies", body))
