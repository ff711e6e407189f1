"""From a seed to every system's records, and the truth about them.

`build_world(seed, scale)` is pure: the same seed and scale give the same records and the same truth. `World.truth`
has these keys (a member is `{"system", "stream", "id"}`; ids of streams with a composite key are JSON arrays):

- customer, contact: lists of `{"true_id", "members"}`; deleted and merged-away records are not members
- doubtful_pairs: the same customer (or person), but nothing proves it; different_pairs: look alike, are not the same
- name_clashes: of the different pairs those with exactly one name; duplicates: one customer twice in one system
- bad_records: `{member, "field", "why", "required"}`; unknown_codes: `{member, "field", "value"}`
- stale: ledger contacts whose address or phone the CRM knows better; shared_mailboxes: mailboxes of many customers
- deleted, merged: records in the bin; losers of merges with their survivors (`loser` is an id of the same stream)
- orders_to_invoice: confirmed orders without an invoice; paid_unmarked: orders paid in the ledger, not marked so
- what happens around orders (staff, cancellations, shipments, returns, tickets): see `operations`
- impossible: `{"kind", member}`; counts: rows that a complete read of each stream finds, records in the bin included
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sandbox.operations import Operations
from sandbox.plant import Cast, Member, plant_all
from sandbox.render import (
    Credit,
    client_row,
    company_doc,
    credit_note_doc,
    crm_contact_doc,
    invoice_doc,
    item_doc,
    ledger_contact_doc,
    line_rows,
    order_row,
    paid,
    typed_phone,
)
from sandbox.store import Doc
from sandbox.world import (
    ANCHOR,
    Chance,
    Face,
    Line,
    Order,
    Person,
    Product,
    make_customers,
    make_face,
    make_order,
    make_people,
    make_products,
)

Row = tuple[Any, ...]
SMALLEST_SCALE, LARGEST_SCALE = 0.03, 10.0


@dataclass(frozen=True)
class World:
    """Everything to be put into the systems, and the truth about it."""

    crm: dict[str, list[Doc]]
    accounting: dict[str, list[Doc]]
    asana: dict[str, list[Doc]]
    legacy: dict[str, list[Row]]
    workbook: dict[str, list[Row]]
    truth: dict[str, Any]


def build_world(seed: int = 7, scale: float = 1.0) -> World:
    """The world of a seed; scale 1 is about 2,000 customers, smaller scales keep some of each planted kind.

    Raises ValueError for a scale outside 0.03 to 10: with fewer customers not everything finds a place.
    """
    if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
        raise ValueError(f"scale: expected {SMALLEST_SCALE} to {LARGEST_SCALE}; found {scale}")
    chance = Chance(seed, scale)
    customers = make_customers(chance)
    faces = [
        make_face(chance, customer, system, number)
        for number, customer in enumerate(customers, 1)
        for system in customer.systems
    ]
    cast = Cast(chance, {customer.true_id: customer for customer in customers}, faces)
    plant_all(cast)
    _make_ledger_names_unique(cast.faces)
    builder = _Builder(cast, make_products(chance))
    return builder.build(seed, scale)


def _make_ledger_names_unique(faces: list[Face]) -> None:
    """Active contacts of the ledger never share a name, whatever was planted."""
    seen: set[str] = set()
    for face in faces:
        if face.system == "accounting" and face.name and not face.is_deleted:
            if face.name.lower() in seen:
                face.name = f"{face.name} ({face.address.city})"
            seen.add(face.name.lower())


class _Builder:
    """Turns a cast into records and truth, step by step."""

    def __init__(self, cast: Cast, products: list[Product]) -> None:
        self.cast = cast
        self.chance = cast.chance
        self.products = products
        self.truth: dict[str, Any] = {}
        self.impossible: list[dict[str, Any]] = []
        self.bad = cast.planted.bad_records
        self.by_customer: dict[str, dict[str, Face]] = {}
        for face in cast.faces:
            if not face.is_deleted and not face.merged_into:
                self.by_customer.setdefault(face.true_id, {}).setdefault(face.system, face)

    def build(self, seed: int, scale: float) -> World:
        """All systems' records."""
        faces = {
            system: [face for face in self.cast.faces if face.system == system]
            for system in ("crm", "accounting", "legacy")
        }
        contacts = [ledger_contact_doc(face, number) for number, face in enumerate(faces["accounting"], 1)]
        crm = {"companies": [company_doc(face) for face in faces["crm"]]}
        people_truth = self._legacy_persons(faces["legacy"])
        crm["contacts"], people_rows = self._people(people_truth)
        prices, product_rows = self._price_list()
        orders = self._orders()
        ledger = self._ledger(orders, {contact["ContactID"]: contact for contact in contacts})
        around = self._around(orders, ledger, seed, scale)
        ledger["credit_notes"] += around.credit_notes
        crm["tickets"] = around.tickets
        managers = around.managers(faces["crm"])
        for doc in crm["companies"]:
            doc["properties"]["account_manager"] = managers.get(doc["id"])
        owners = self.chance.mailbox_owner
        legacy: dict[str, list[Row]] = {
            "clients": [client_row(face, owners.get(face.email, "")) for face in faces["legacy"]],
            "products": product_rows,
            "orders": [order_row(order) for order in orders],
            "order_lines": [row for order in orders for row in line_rows(order)],
            **around.tables,
        }
        accounting = {"contacts": contacts, "items": [item_doc(self.chance, one) for one in self.products], **ledger}
        asana = around.asana()
        workbook = {"prices": prices, "people": people_rows, "staff": around.staff_rows}
        self.truth |= {"seed": seed, "scale": scale, "customer": self._customers(), "contact": people_truth}
        planted = self.cast.planted
        self.truth |= {
            "doubtful_pairs": planted.doubtful_pairs,
            "different_pairs": planted.different_pairs,
            "name_clashes": planted.name_clashes,
            "duplicates": planted.duplicates,
            "bad_records": planted.bad_records,
            "unknown_codes": planted.unknown_codes,
            "stale": planted.stale,
            "shared_mailboxes": planted.shared_mailboxes,
            "deleted": planted.deleted,
            "merged": planted.merged,
            "impossible": self.impossible,
            "counts": {
                "crm": {name: sum("merged_into" not in doc for doc in docs) for name, docs in crm.items()},
                "accounting": {name: len(docs) for name, docs in accounting.items()},
                "asana": {name: len(asana[name]) for name in ("projects", "tasks", "users")},
                "legacy": {name: len(rows) for name, rows in legacy.items() if "." not in name},
                "warehouse": {name.partition(".")[2]: len(rows) for name, rows in legacy.items() if "." in name},
                "workbook": {name: sum(any(row) for row in rows) for name, rows in workbook.items()},
            },
        }
        return World(crm, accounting, asana, legacy, workbook, self.truth)

    def _customers(self) -> list[dict[str, Any]]:
        members: dict[str, list[Member]] = {}
        for face in self.cast.faces:
            if not face.is_deleted and not face.merged_into:
                members.setdefault(face.true_id, []).append(face.member)
        return [{"true_id": true_id, "members": found} for true_id, found in sorted(members.items())]

    def _around(self, orders: list[Order], ledger: dict[str, list[Doc]], seed: int, scale: float) -> Operations:
        """Staff, shipments, returns, tickets and cancellations, from a source of their own."""
        invoices = {doc["Reference"]: doc for doc in ledger["invoices"]}
        around = Operations(Chance(seed + 1_000_003, scale), orders, invoices, self.cast.planted, self.truth)
        around.run({true_id: systems["crm"] for true_id, systems in self.by_customer.items() if "crm" in systems})
        return around

    # people

    def _legacy_persons(self, clients: list[Face]) -> list[dict[str, Any]]:
        """The persons to speak to whom the legacy clients name: in no other system."""
        found: dict[str, list[Member]] = {}
        for face in clients:
            if face.email in self.chance.mailbox_owner and not face.is_deleted:
                found.setdefault(face.email, []).append(face.member)
        return [
            {"true_id": f"pers-l{number:05d}", "members": members} for number, members in enumerate(found.values(), 1)
        ]

    def _people(self, truth: list[dict[str, Any]]) -> tuple[list[Doc], list[Row]]:
        """Contacts of the CRM and rows of the workbook; 2,800 and 420 of 3,000 people."""
        chance = self.chance
        in_crm, in_both, total = chance.count(2_800, 100), chance.count(220, 20), chance.count(3_000, 120)
        customers = [self.cast.customers[true_id] for true_id in self.by_customer]
        people = make_people(chance, customers, total)
        docs: list[Doc] = []
        rows: list[Row] = [()]
        special = _PersonTrouble(self, truth)
        for number, person in enumerate(people, 1):
            members: list[Member] = []
            company = self.by_customer[person.customer].get("crm")
            if number <= in_crm:
                shown = special.in_crm(person, number)
                docs.append(crm_contact_doc(shown, str(51_000_000_000 + number * 3), company, chance.moment()))
                members.append({"system": "crm", "stream": "contacts", "id": docs[-1]["id"]})
            if number > in_crm - in_both:
                ref = f"P-{len(rows):04d}"
                members.append({"system": "workbook", "stream": "people", "id": ref})
                rows.append(special.row(ref, person, members, number))
                if chance.maybe(0.03):
                    rows.append(())
            truth.append({"true_id": person.true_id, "members": members})
        special.bins(docs)
        return docs, rows[1:]

    # products

    def _price_list(self) -> tuple[list[Row], list[Row]]:
        """Rows of the price workbook and of legacy.products, some of them wrong."""
        chance, choose = self.chance, self.chance.random
        rows: list[Row] = [()]
        legacy: list[Row] = []
        bad = set(range(len(self.products) - chance.count(14, 3), len(self.products)))
        for place, product in enumerate(self.products):
            price = f"{product.price:,.2f}"
            if place in bad and place % 2 == 0:
                price = f"{1_000 + place},56".replace("1", "1.", 1)
                self.bad.append(_bad("legacy", "products", product.sku, "unit_price", f"German number {price}", True))
            legacy.append((product.sku, product.name, price, chance.moment()))
            valid = date(2025, choose.randint(1, 6), choose.randint(1, 28))
            shown: Any = f"£{product.price:,.2f}" if chance.maybe(0.5) else float(product.price)
            since: Any = (
                datetime(valid.year, valid.month, valid.day) if chance.maybe(0.6) else valid.strftime("%d/%m/%Y")
            )
            if place in bad and place % 4 == 1:
                shown = "POA"
                self.bad.append(_bad("workbook", "prices", product.sku, "List price", "no number", True))
            elif place in bad and place % 4 == 3:
                since = "31/02/2025"
                self.bad.append(_bad("workbook", "prices", product.sku, "Valid from", "a day that never was", False))
            sku: Any = int(product.sku) if product.sku.startswith("73") else product.sku
            name = product.name + ("  " if chance.maybe(0.1) else "")
            rows.append(
                (sku, name, shown, choose.choice(("GBP", "GBP", "gbp")), since, choose.choice(("yes", "Y", "ja", "no")))
            )
            if chance.maybe(0.03):
                rows.append(())
        return rows[1:], legacy

    # orders and the ledger

    def _orders(self) -> list[Order]:
        chance = self.chance
        sold = self.products[: -chance.count(14, 3)]
        clean = [
            one
            for one in self.by_customer.values()
            if "legacy" in one and one["legacy"].true_id not in self._troubled()
        ]
        billed = [one["legacy"] for one in clean if "accounting" in one]
        unbilled = [one["legacy"] for one in clean if "accounting" not in one and "crm" in one]
        unbilled = [face for face in unbilled if face.status == "active"] or unbilled  # nobody bills a lead
        anyone = [one["legacy"] for one in self.by_customer.values() if "legacy" in one]
        plan = (
            ("CONF", 1_600, 20, billed, True),
            ("SHIP", 900, 12, billed, True),
            ("CONF", 150, 4, billed, False),
            ("CONF", 50, 3, unbilled, False),
            ("NEW", 1_300, 8, anyone, False),
            ("CANC", 992, 5, anyone, False),
            ("ZZ", 8, 2, anyone, False),
        )
        drafts = [
            (state, pool, invoiced)
            for state, full, least, pool, invoiced in plan
            for _ in range(chance.count(full, least))
        ]
        chance.random.shuffle(drafts)
        orders = []
        for number, (state, pool, invoiced) in enumerate(drafts, 1):
            order = make_order(chance, number, chance.random.choice(pool), state, sold)
            order.is_invoiced = invoiced
            orders.append(order)
        self._spoil_orders([order for order in orders if order.state == "NEW"])
        wanted = [order.number for order in orders if order.state == "CONF" and not order.is_invoiced]
        self.truth["orders_to_invoice"] = wanted
        codes = [
            _bad("legacy", "orders", order.number, "state_cd", "ZZ", True) for order in orders if order.state == "ZZ"
        ]
        kept = ("system", "stream", "id", "field")
        self.cast.planted.unknown_codes += [{**{name: one[name] for name in kept}, "value": "ZZ"} for one in codes]
        return orders

    def _troubled(self) -> set[str]:
        """Customers whose records may wait for a person: their orders are not the ones to be invoiced."""
        planted = self.cast.planted
        members = [member for pair in (*planted.doubtful_pairs, *planted.different_pairs) for member in pair]
        ids = {member["id"] for member in (*members, *planted.bad_records, *planted.unknown_codes)}
        return {face.true_id for face in self.cast.faces if face.id in ids}

    def _spoil_orders(self, fresh: list[Order]) -> None:
        chance = self.chance
        spoiled = iter(fresh)
        for order in [next(spoiled) for _ in range(chance.count(3, 1))]:
            order.date_text = "30/02/2024"
            self.bad.append(_bad("legacy", "orders", order.number, "order_date", "a day that never was", True))
        for order in [next(spoiled) for _ in range(chance.count(2, 1))]:
            order.currency = "GPB"
            self.bad.append(_bad("legacy", "orders", order.number, "currency", "not a currency", True))
        for order in [next(spoiled) for _ in range(chance.count(5, 2))]:
            line = order.lines[0]
            order.lines[0] = Line(line.number, line.product, line.quantity, line.quantity + 3, line.vat_rate)
            key = json.dumps([order.number, line.number], separators=(",", ":"))
            found = {"system": "legacy", "stream": "order_lines", "id": key, "order": order.number}
            self.impossible.append({"kind": "shipped_above_ordered", **found})

    def _ledger(self, orders: list[Order], contacts: dict[str, Doc]) -> dict[str, list[Doc]]:
        chance = self.chance
        invoices: list[Doc] = []
        payments: list[Doc] = []
        invoiced = [order for order in orders if order.is_invoiced]
        for number, order in enumerate(invoiced, 1):
            face = self.by_customer[order.client.true_id]["accounting"]
            due = order.placed + timedelta(days=face.terms or 30)
            invoices.append(invoice_doc(chance, order, contacts[face.id], number, due))
        pairs = list(zip(invoiced, invoices, strict=True))
        chance.random.shuffle(pairs)
        full, part = chance.count(1_350, 16), chance.count(150, 3)
        for place, (order, invoice) in enumerate(pairs[: full + part]):
            share = Decimal(1) if place < full else Decimal("0.4")
            when = min(order.placed + timedelta(days=chance.random.randint(2, 40)), ANCHOR.date())
            if place < chance.count(4, 2):
                when = order.placed - timedelta(days=9)
            amount = (Decimal(str(invoice["Total"])) * share).quantize(Decimal("0.01"))
            payments.append(paid(chance, invoice, amount, when))
            if place < chance.count(4, 2):
                found = {"system": "accounting", "stream": "payments", "id": payments[-1]["PaymentID"]}
                self.impossible.append({"kind": "paid_before_issued", **found, "invoice": invoice["InvoiceID"]})
            order.is_paid = place < full
            order.is_marked_paid = order.is_paid and place % 5 != 4
        self.truth["paid_unmarked"] = sorted(one.number for one in orders if one.is_paid and not one.is_marked_paid)
        notes = self._credit_notes([invoice for _, invoice in pairs[full + part :]])
        return {"invoices": invoices, "credit_notes": notes, "payments": payments}

    def _credit_notes(self, open_invoices: list[Doc]) -> list[Doc]:
        chance = self.chance
        notes = []
        for number, invoice in enumerate(open_invoices[: chance.count(150, 6)], 1):
            total = Decimal(str(invoice["Total"]))
            is_impossible = number <= chance.count(3, 2)
            share = Decimal("1.5") if is_impossible else Decimal("0.25")
            credit = Credit((total * share).quantize(Decimal("0.01")), is_allocated=number % 5 != 0)
            when = min(datetime.fromisoformat(invoice["DateString"]).date() + timedelta(days=5), ANCHOR.date())
            notes.append(credit_note_doc(chance, invoice, number, credit, when))
            if is_impossible:
                found = {"system": "accounting", "stream": "credit_notes", "id": notes[-1]["CreditNoteID"]}
                self.impossible.append({"kind": "credit_above_invoice", **found, "invoice": invoice["InvoiceID"]})
        return notes


class _PersonTrouble:
    """Trouble among contact persons: bad values, doubtful and look-alike people, deletions and merges."""

    def __init__(self, builder: _Builder, truth: list[dict[str, Any]]) -> None:
        self.builder = builder
        self.chance = builder.chance
        self.truth = truth
        self.last_crm: tuple[Person, str] | None = None

    def in_crm(self, person: Person, number: int) -> Person:
        """The person as the CRM holds it: every so often with something wrong."""
        record_id = str(51_000_000_000 + number * 3)
        period = max(20, self.chance.count(190))
        kind = number % period
        if kind == 3 and number < period * 10:
            self.builder.bad.append(_bad("crm", "contacts", record_id, "email", "not a mail address", False))
            person = replace(person, email=person.email.replace("@", " at "))
        elif kind == 7 and number < period * 3:
            self.builder.bad.append(_bad("crm", "contacts", record_id, "firstname", "no name at all", True))
            person = replace(person, first="", last="")
        elif kind == 11 and self.last_crm is not None:
            other, other_id = self.last_crm
            person = replace(person, phone=other.phone)
            pair = [{"system": "crm", "stream": "contacts", "id": one} for one in (other_id, record_id)]
            self.builder.cast.planted.different_pairs.append(pair)
        self.last_crm = (person, record_id)
        return person

    def row(self, ref: str, person: Person, members: list[Member], number: int) -> Row:
        """A row of the people workbook: title, name and all in one cell."""
        name = " ".join(part for part in (person.title, person.first, person.last) if part)
        customer = self.builder.cast.customers[person.customer]
        email, phone = person.email, typed_phone(self.chance, person.phone)
        shown_phone: Any = phone
        is_known = len(members) == 2
        kind = number % max(14, self.chance.count(28))
        if is_known and kind == 1:
            name, email = f"{person.first[0]}. {person.last}", ""
            self.builder.cast.planted.doubtful_pairs.append(list(members))
        elif kind == 2:
            email = f"{person.email}; {person.last.lower().replace(' ', '')}@post.example"
            self.builder.bad.append(_bad("workbook", "people", ref, "E-mail", "two addresses in one cell", False))
        elif kind == 3:
            shown_phone = "0"
            self.builder.bad.append(_bad("workbook", "people", ref, "Phone", "not a telephone number", False))
        elif kind % 4 == 0 and person.phone.startswith("+44"):
            shown_phone = int(person.phone.removeprefix("+44"))  # typed as a number: the leading zero is lost
        elif kind == 5:
            name = f" {name} "
        return (ref, name, customer.name, email, shown_phone)

    def bins(self, docs: list[Doc]) -> None:
        """Put some contacts of the CRM into the bin and merge some; they are added, nobody's true record is lost."""
        planted = self.builder.cast.planted
        for number in range(self.chance.count(6, 2)):
            person = make_people(self.chance, list(self.builder.cast.customers.values())[:1], 1)[0]
            doc = crm_contact_doc(person, str(52_000_000_000 + number), None, self.chance.moment())
            docs.append({**doc, "archived": True, "archivedAt": doc["updatedAt"]})
            member = {"system": "crm", "stream": "contacts", "id": doc["id"]}
            planted.deleted.append({**member, "entity": "contact", "true_id": f"gone-contact-{number:02d}"})
        for number in range(self.chance.count(3, 1)):
            survivor = docs[number * 5]
            loser_id = str(52_500_000_000 + number)
            properties = {**survivor["properties"], "email": f"old.{number}@post.example", "hs_object_id": loser_id}
            docs.append({**survivor, "id": loser_id, "properties": properties, "merged_into": survivor["id"]})
            survivor["properties"]["hs_merged_object_ids"] = loser_id
            member = {"system": "crm", "stream": "contacts", "id": survivor["id"]}
            planted.merged.append({**member, "entity": "contact", "loser": loser_id})


def _bad(system: str, stream: str, record_id: str, name: str, why: str, is_required: bool) -> dict[str, Any]:
    return {"system": system, "stream": stream, "id": record_id, "field": name, "why": why, "required": is_required}
