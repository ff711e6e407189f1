"""What happens around orders: who took them, what left for them, what came back, what customers said, what was undone.

It has a seeded source of its own, so that customers, orders and invoices are what they were without it. Each part
changes orders in place, adds rows, and notes in the truth what was planted:

- employee: lists of `{"true_id", "members"}`; leavers_with_login: clerks whose login still works after they left;
  staff_without_login: who should have one and has none
- cancelled_billed: cancelled orders whose invoice is still open in the ledger
- shipping_unmarked: orders of which goods left without the order desk's marking it
- shipments_untold: shipments that the order desk has not heard of
- returns_to_credit: returns that are back and have no credit note
- credits_untold: returns of whose credit note the warehouse does not know
- orders_without_project: confirmed orders of the time of projects that have none
- disputed_orders: orders that a customer disputes in an open ticket; disputes_unmarked: those that are not on hold
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from sandbox.asana_seed import INTERNAL_PROJECTS, PEOPLE, TASKS, AsanaProject, AsanaUser, asana_docs, user_gid
from sandbox.people import plain
from sandbox.plant import Member, Planted
from sandbox.render import clock, return_credit_doc, ticket_doc, typed_phone
from sandbox.store import Doc
from sandbox.world import ANCHOR, Chance, Face, Line, Order

Row = tuple[Any, ...]
PROJECTS_SINCE = date(2025, 4, 1)
"""The day from which the business runs orders as projects."""
DISPUTES = AsanaProject(
    3, "Disputes", datetime(2025, 1, 6, 9), owner=3, custom={"Kind": "Internal", "Number": "P-0003"}
)
CARRIERS = ("Northway Parcels", "Pennine Freight", "Channel Cargo")
RETURN_REASONS = ("DAM", "WRG", "NOT", "LAT")
_HEADS = (
    ("Priya", "Raman", "Head of sales", "Sales"),
    ("Tom", "Okafor", "Finance lead", "Finance"),
    ("Ellen", "Moss", "Order desk lead", "Order desk"),
    ("Jonas", "Beck", "Product manager", "Products"),
)
_TEAMS = (
    ("Order desk", "Order clerk", 6),
    ("Sales", "Account manager", 6),
    ("Finance", "Bookkeeper", 3),
    ("Warehouse", "Storekeeper", 5),
)
_TALK = {
    "GENERAL_INQUIRY": ("Delivery date of {}?", "Can we change the address of {}?", "Price list, please"),
    "PRODUCT_ISSUE": ("Broken on arrival: {}", "Wrong colour in {}", "Too short by a hand: {}"),
    "FEATURE_REQUEST": ("Order by e-mail?", "Smaller packs, please"),
}
_DISPUTES = ("We did not get all of {}", "Price of {} is not what we agreed", "{} was billed twice")


@dataclass(frozen=True)
class Employee:
    """Someone who works in the business, as HR knows them."""

    number: str
    first: str
    last: str
    phone: str
    job: str
    department: str
    manager: str
    joined: date
    left: date | None = None

    @property
    def email(self) -> str:
        """Heads have been here since first names were enough."""
        local = (
            plain(self.first) if self.number <= f"E-{len(_HEADS):03d}" else f"{plain(self.first)}.{plain(self.last)}"
        )
        return f"{local}@wholesale.example"

    @property
    def name(self) -> str:
        """First name and family name."""
        return f"{self.first} {self.last}"


@dataclass
class Operations:
    """Rows and documents to be added to the systems."""

    chance: Chance
    orders: Sequence[Order]
    invoices: dict[str, Doc]
    """The ledger's invoices by the order's number."""
    planted: Planted
    truth: dict[str, Any]
    staff: list[Employee] = field(default_factory=list)
    staff_rows: list[Row] = field(default_factory=list)
    tables: dict[str, list[Row]] = field(default_factory=dict)
    credit_notes: list[Doc] = field(default_factory=list)
    tickets: list[Doc] = field(default_factory=list)

    def run(self, companies: dict[str, Face]) -> None:
        """Everything, in the order in which it happened. `companies`: true customer → its company in the CRM."""
        self._hire()
        self._take()
        self._cancel()
        self._ship()
        self._take_back()
        self._listen(companies)

    # people

    def _hire(self) -> None:
        chance = self.chance
        people = [(*names, "") for names in _HEADS]
        for department, job, count in _TEAMS:
            head = next((f"E-{place:03d}" for place, one in enumerate(_HEADS, 1) if one[3] == department), "E-002")
            people += [(*chance.maker.person("GB"), job, department, head) for _ in range(count)]
        for place, (first, last, job, department, manager) in enumerate(people, 1):
            joined = (ANCHOR - timedelta(days=chance.random.randint(90, 4_000))).date()
            phone = chance.maker.phone("GB", "2079460")
            self.staff.append(Employee(f"E-{place:03d}", first, last, phone, job, department, manager, joined))
        for place in (9, 12):  # a clerk and an account manager are gone
            self.staff[place] = replace(self.staff[place], left=date(2025, 3, 31))
        self.staff_rows = [self._staff_row(one) for one in self.staff]
        self.planted.bad_records.append(
            {"system": "hr", "stream": "staff", "id": self.staff[-1].number, "field": "Phone",
             "why": "not a telephone number", "required": False}
        )  # fmt: skip
        desk = [one for one in self.staff if one.department in ("Order desk", "Sales")]
        known = desk[:-1]  # the newest account manager has no login yet
        self.tables["clerks"] = [(one.number, one.name, one.email, "Y", clock(one.joined, 9)) for one in known]
        clerks = {one.number for one in known}
        known_as: dict[str, list[Member]] = {one.number: [] for one in self.staff}
        for one in self.staff:
            known_as[one.number].append({"system": "hr", "stream": "staff", "id": one.number})
            if one.number in clerks:
                known_as[one.number].append({"system": "legacy", "stream": "clerks", "id": one.number})
            if (user := self._user(one)) is not None:
                known_as[one.number].append({"system": "projects", "stream": "users", "id": user_gid(user)})
        self.truth["employee"] = [{"true_id": number, "members": members} for number, members in known_as.items()]
        self.truth["leavers_with_login"] = [one.number for one in known if one.left]
        self.truth["staff_without_login"] = [one.number for one in desk if one.number not in clerks]

    def _staff_row(self, one: Employee) -> Row:
        """A row of the staff workbook: names either way round, days as days or as text."""
        chance = self.chance
        name = f"{one.last}, {one.first}" if chance.maybe(0.3) else one.name
        phone = "ext. 12" if one is self.staff[-1] else typed_phone(chance, one.phone)
        joined: Any = clock(one.joined, 0) if chance.maybe(0.5) else one.joined.strftime("%d/%m/%Y")
        left = one.left.strftime("%d/%m/%Y") if one.left else None
        days = (joined, left, "Left" if one.left else chance.random.choice(("active", "Active")))
        return (one.number, name, one.email, phone, one.job, one.department, one.manager or None, *days)

    def _take(self) -> None:
        """Who took each order: those who left took none after they had gone."""
        clerks = [one for one in self.staff if one.department == "Order desk"]
        for order in self.orders:
            able = [one for one in clerks if one.left is None or order.placed < one.left]
            if self.chance.maybe(0.92):
                order.taken_by = self.chance.random.choice(able).number

    def _user(self, one: Employee) -> int | None:
        """The number of an employee's seat in Asana: heads first, then who takes orders or looks after customers."""
        heads = {user.email: user.number for user in PEOPLE}
        if one.email in heads:
            return heads[one.email]
        has_seat = one.department in ("Order desk", "Sales") and one.left is None
        return len(PEOPLE) + int(one.number.removeprefix("E-")) if has_seat else None

    def asana(self) -> dict[str, list[Doc]]:
        """The organisation in Asana: its people, its own projects, and half of the orders that should be projects."""
        seats = [(self._user(one), one) for one in self.staff]
        users = [*PEOPLE, *(AsanaUser(n, one.name, one.email) for n, one in seats if n and n > len(PEOPLE))]
        owners = {one.number: number for number, one in seats}
        due = [one for one in self.orders if one.state == "CONF" and one.placed >= PROJECTS_SINCE]
        known = sorted((one for one in due if one.is_invoiced), key=lambda one: one.number)[::2]
        projects = [
            AsanaProject(
                10 + place,
                order.number,
                clock(order.placed, 17),
                owner=owners.get(order.taken_by),
                colour="green",
                custom={"Kind": "Order", "Number": order.number, "Customer": order.client.name},
            )
            for place, order in enumerate(known)
        ]
        self.truth["orders_without_project"] = sorted({one.number for one in due} - {one.number for one in known})
        return asana_docs(users, [*INTERNAL_PROJECTS, DISPUTES, *projects], TASKS)

    def managers(self, faces: Sequence[Face]) -> dict[str, str]:
        """Which account manager looks after a company of the CRM: company id → mail address."""
        sales = [one for one in self.staff if one.department == "Sales" and one.left is None]
        return {face.id: self.chance.random.choice(sales).email for face in faces if self.chance.maybe(0.6)}

    # cancellations

    def _cancel(self) -> None:
        """Orders that were cancelled after they had been billed; nobody told the ledger."""
        able = [order for order in self.orders if order.state == "CONF" and self._is_open(order)]
        for order in self.chance.random.sample(able, min(len(able), self.chance.count(12, 2))):
            order.state = "CANC"
        self.truth["cancelled_billed"] = sorted(one.number for one in able if one.state == "CANC")

    def _is_open(self, order: Order) -> bool:
        invoice = self.invoices.get(order.number)
        return (
            invoice is not None
            and invoice["Status"] == "AUTHORISED"
            and not invoice["Payments"]
            and not invoice["CreditNotes"]
            and order.currency == "GBP"
        )

    # shipments

    def _ship(self) -> None:
        chance = self.chance
        confirmed = [order for order in self.orders if order.state == "CONF" and order.is_invoiced]
        partly = [order for order in confirmed if sum(line.quantity for line in order.lines) > 1]
        partly = chance.random.sample(partly, min(len(partly), chance.count(120, 4)))
        whole = [order for order in self.orders if order.state == "SHIP"]
        numbers = itertools.count(1)
        shipments: list[Row] = []
        lines: list[Row] = []
        for order in sorted((*partly, *whole), key=lambda one: one.number):
            loads = self._loads(order, is_whole=order.state == "SHIP")
            for load in loads:
                number, sent = f"SH-{next(numbers):06d}", self._sent_on(order)
                order.shipped_on = max(sent, order.shipped_on or sent)
                order.ship_code = "F" if order.state == "SHIP" else "P"
                row = (number, order.number, order.client.id, "SENT", sent, chance.random.choice(CARRIERS))
                shipments.append((*row, f"{chance.random.randrange(10**10):010d}", clock(sent, 16)))
                lines += [
                    (number, place, line.number, line.product.sku, quantity, clock(sent, 16))
                    for place, (line, quantity) in enumerate(load, 1)
                ]
        self.tables["warehouse.shipments"], self.tables["warehouse.shipment_lines"] = shipments, lines
        self._forget((*partly, *whole), shipments)

    def _loads(self, order: Order, *, is_whole: bool) -> list[list[tuple[Line, int]]]:
        """What leaves together; a part leaves out the last line, or half of the only one."""
        full = [(line, line.quantity) for line in order.lines]
        if is_whole:
            is_split = len(full) > 1 and self.chance.maybe(0.3)
            return [full[:1], full[1:]] if is_split else [full]
        line = order.lines[0]
        load = full[:-1] if len(full) > 1 else [(line, max(1, line.quantity // 2))]
        sent = {line.number: quantity for line, quantity in load}
        order.lines = [replace(line, shipped=sent.get(line.number, 0)) for line in order.lines]
        return [load]

    def _sent_on(self, order: Order) -> date:
        return min(order.placed + timedelta(days=self.chance.random.randint(1, 15)), ANCHOR.date() - timedelta(days=1))

    def _forget(self, sent: Sequence[Order], shipments: Sequence[Row]) -> None:
        """Some orders were not marked when goods left, and of some shipments the order desk never heard."""
        for order in sorted(sent, key=lambda one: one.number)[::9]:
            order.ship_code, order.shipped_on = "N", None
        self.truth["shipping_unmarked"] = sorted(order.number for order in sent if order.ship_code == "N")
        untold = {row[0] for row in shipments[4::9]}
        self.tables["deliveries"] = [
            (number, order, sent_on.strftime("%d/%m/%Y"), carrier, tracking, changed)
            for number, order, _, _, sent_on, carrier, tracking, changed in shipments
            if number not in untold
        ]
        self.truth["shipments_untold"] = sorted(untold)

    # returns

    def _take_back(self) -> None:
        chance = self.chance
        able = [order for order in self.orders if order.state == "SHIP" and order.is_invoiced and order.shipped_on]
        plan = [("ANN", 15, 1), ("REC", 25, 2), ("CHK", 30, 2), ("REF", 8, 1), ("REC?", 2, 1)]
        states = [state for state, full, least in plan for _ in range(chance.count(full, least))]
        returns: list[Row] = []
        lines: list[Row] = []
        to_credit: list[str] = []
        untold: list[str] = []
        for place, (state, order) in enumerate(zip(states, chance.random.sample(able, len(states)), strict=True), 1):
            number = f"RT-{place:05d}"
            back = self._back(order)
            announced = min(order.placed + timedelta(days=chance.random.randint(18, 40)), ANCHOR.date())
            received = min(announced + timedelta(days=5), ANCHOR.date()) if state != "ANN" else None
            reason = "77" if state == "REC?" else chance.random.choice(RETURN_REASONS)
            credit = None
            if state == "CHK":
                numbers = (number, len(self.credit_notes) + 1)
                invoice, day = self.invoices[order.number], received or announced
                self.credit_notes.append(return_credit_doc(chance, numbers, invoice, back, day))
                credit = "C" if place % 4 else None
                untold += [] if credit else [number]
            elif state == "REC":
                to_credit.append(number)
            at = clock(received or announced, 10)
            row = (number, order.number, order.client.id, reason, state.rstrip("?"), announced, received)
            returns.append((*row, order.currency, credit, at))
            lines += [
                (number, n, line.number, line.product.sku, quantity, line.product.price, line.vat_rate, at)
                for n, (line, quantity) in enumerate(back, 1)
            ]
        odd = {"system": "warehouse", "stream": "returns", "field": "reason_cd", "value": "77"}
        self.planted.unknown_codes += [{**odd, "id": row[0]} for row in returns if row[3] == "77"]
        self.tables["warehouse.returns"], self.tables["warehouse.return_lines"] = returns, lines
        self.truth |= {"returns_to_credit": to_credit, "credits_untold": untold}

    def _back(self, order: Order) -> list[tuple[Line, int]]:
        """One or two lines of an order, some or all of their pieces."""
        chosen = order.lines[: self.chance.random.randint(1, 2)]
        return [(line, self.chance.random.randint(1, line.quantity)) for line in chosen]

    # tickets

    def _listen(self, companies: dict[str, Face]) -> None:
        chance = self.chance
        heard = [order for order in self.orders if order.client.true_id in companies]
        open_ones = [order for order in heard if order.state in ("CONF", "SHIP") and self._is_open(order)]
        disputed = chance.random.sample(open_ones, min(len(open_ones), chance.count(12, 4)))
        for place, order in enumerate(disputed):
            stage = "4" if place == 0 else "3"
            self._ticket(companies, order, "BILLING_ISSUE", chance.random.choice(_DISPUTES), stage)
            order.is_on_hold = place == 1  # the order desk knows of one of them
        self.truth["disputed_orders"] = sorted(order.number for order in disputed[1:])
        self.truth["disputes_unmarked"] = sorted(order.number for order in disputed[2:])
        others = [order for order in heard if order not in disputed]
        for order in chance.random.sample(others, min(len(others), chance.count(160, 8))):
            category = chance.random.choice(list(_TALK))
            stage = chance.random.choices(("1", "2", "3", "4"), (10, 10, 10, 70))[0]
            self._ticket(companies, order, category, chance.random.choice(_TALK[category]), stage)

    def _ticket(self, companies: dict[str, Face], order: Order, category: str, subject: str, stage: str) -> None:
        at = min(clock(order.placed, 9) + timedelta(days=18, minutes=len(self.tickets)), ANCHOR - timedelta(days=1))
        number = 70_000_000_000 + len(self.tickets) * 5
        values = {
            "subject": subject.format(order.number),
            "content": f"About {order.number}.",
            "hs_pipeline": "0",
            "hs_pipeline_stage": stage,
            "hs_ticket_category": category,
            "hs_ticket_priority": self.chance.random.choice(("LOW", "MEDIUM", "HIGH")),
            "order_number": order.number if "{}" in subject else None,
        }
        self.tickets.append(ticket_doc(str(number), values, companies[order.client.true_id].id, at))
