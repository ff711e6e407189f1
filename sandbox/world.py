"""The true world behind the systems: customers, the faces they show in each system, people, products and orders.

Everything follows from a seed and a scale. Rates and counts are those of a business of 2,000 customers; at smaller
scales each planted kind keeps a few instances. `seed` turns this world into the systems' records and tells the truth.
"""

from __future__ import annotations

import random
import unicodedata
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from sandbox.people import SUFFIX, Address, Maker, plain, words

ANCHOR = datetime(2025, 6, 30, 12, 0)  # the last moment of the seeded past, UTC: the same on every machine and day

# How many of 2,000 customers are kept in which systems.
SPREAD: tuple[tuple[tuple[str, ...], int], ...] = (
    (("crm", "accounting", "legacy"), 730),
    (("crm", "accounting"), 250),
    (("crm", "legacy"), 200),
    (("accounting", "legacy"), 90),
    (("crm",), 320),
    (("accounting",), 230),
    (("legacy",), 180),
)
STREAM_OF = {"crm": "companies", "accounting": "contacts", "legacy": "clients"}
ROLE_MAILBOXES = ("info", "accounts", "office", "sales")


@dataclass(frozen=True)
class Customer:
    """A true customer. `phone` is E.164, `vat` has no spaces."""

    true_id: str
    name: str
    address: Address
    phone: str
    vat: str
    email: str
    domain: str
    since: date
    terms: int
    status: str
    systems: tuple[str, ...]

    @property
    def country(self) -> str:
        """ISO 3166 alpha-2."""
        return self.address.country


@dataclass
class Face:
    """What one system holds of a customer, before it is written in that system's own manner."""

    true_id: str
    system: str
    id: str
    name: str | None
    address: Address
    phone: str
    vat: str
    email: str
    domain: str
    since: str  # ISO; in the legacy database possibly a day that never was, as typed
    terms: int | None
    status: str | None
    changed: datetime
    country_text: str = ""
    is_deleted: bool = False
    merged_into: str = ""

    @property
    def member(self) -> dict[str, str]:
        """How the truth names this record."""
        return {"system": self.system, "stream": STREAM_OF[self.system], "id": self.id}


@dataclass(frozen=True)
class Person:
    """A true contact person."""

    true_id: str
    first: str
    last: str
    title: str
    job: str
    email: str
    phone: str
    mobile: str
    customer: str  # true id of the customer


@dataclass(frozen=True)
class Product:
    """A product. `price` is net, in the order's currency."""

    sku: str
    name: str
    price: Decimal
    vat_rate: int


@dataclass(frozen=True)
class Line:
    """One line of an order."""

    number: int
    product: Product
    quantity: int
    shipped: int
    vat_rate: int


@dataclass
class Order:
    """An order of the legacy database. `state` is one of its codes; invoiced orders have a twin in the ledger."""

    number: str
    client: Face
    placed: date
    currency: str
    state: str
    lines: list[Line]
    is_invoiced: bool = False
    is_paid: bool = False
    is_marked_paid: bool = False
    date_text: str = ""
    changed: datetime = field(default=ANCHOR)
    taken_by: str = ""
    ship_code: str = "N"
    shipped_on: date | None = None
    is_on_hold: bool = False


class Chance:
    """The seeded source of everything, and the scale."""

    def __init__(self, seed: int, scale: float) -> None:
        self.random = random.Random(seed)
        self.scale = scale
        self.maker = Maker(self.random)
        self.mailbox_owner: dict[str, str] = {}  # personal mailbox -> the person's name

    def count(self, full: int, least: int = 1) -> int:
        """A count of the full world at this scale, never below `least`."""
        return max(least, round(full * self.scale))

    def guid(self) -> str:
        """A version 4 UUID."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def moment(self, days: int = 700) -> datetime:
        """A moment in the seeded past, whole milliseconds."""
        return ANCHOR - timedelta(milliseconds=self.random.randrange(days * 86_400_000))

    def maybe(self, share: float) -> bool:
        """True in this share of cases."""
        return self.random.random() < share


def make_customers(chance: Chance) -> list[Customer]:
    """All true customers with the systems that know them, in mixed order."""
    spread = [systems for systems, full in SPREAD for _ in range(chance.count(full, 3))]
    chance.random.shuffle(spread)
    return [make_customer(chance, f"cust-{number:05d}", systems) for number, systems in enumerate(spread, 1)]


def make_customer(chance: Chance, true_id: str, systems: tuple[str, ...]) -> Customer:
    """One true customer."""
    maker, choose = chance.maker, chance.random
    country = maker.country()
    core = maker.company_name(country)
    address, prefix = maker.address(country)
    domain = f"{plain(core)}.example"
    role = choose.choice(ROLE_MAILBOXES)
    return Customer(
        true_id=true_id,
        name=f"{core} {SUFFIX[country]}",
        address=address,
        phone=maker.phone(country, prefix),
        vat=maker.vat_number(country),
        email=f"{role}@{domain}" if chance.maybe(0.3) else personal_mailbox(chance, country, domain),
        domain=domain,
        since=(ANCHOR - timedelta(days=choose.randint(30, 4_000))).date(),
        terms=choose.choice((7, 30, 30)),
        status=choose.choices(("active", "lead", "inactive", ""), (62, 25, 8, 5))[0],
        systems=systems,
    )


def personal_mailbox(chance: Chance, country: str, domain: str) -> str:
    """A mailbox of one person at the customer's: the kind that tells two customers apart."""
    first, last = chance.maker.person(country)
    mailbox = f"{plain(first)}.{plain(last)}@{domain}"
    chance.mailbox_owner[mailbox] = f"{first} {last}"
    return mailbox


def record_id(chance: Chance, system: str, number: int) -> str:
    """An id of the form that the system gives."""
    match system:
        case "crm":
            return str(18_000_000_000 + number * 7)
        case "legacy":
            return f"C{number:05d}"
    return chance.guid()


def make_face(chance: Chance, customer: Customer, system: str, number: int, is_plain: bool = False) -> Face:
    """What a system holds of a customer: as in the CRM, or with another system's slips in name, mail and phone."""
    name, email, phone = customer.name, customer.email, customer.phone
    if system != "crm" and not is_plain:
        name = name_variant(chance, name) if chance.maybe(0.3) else name
        email = "" if chance.maybe(0.06) else email
        phone = "" if chance.maybe(0.05) else phone
    return Face(
        true_id=customer.true_id,
        system=system,
        id=record_id(chance, system, number),
        name=name,
        address=customer.address,
        phone=phone,
        vat=customer.vat,
        email=email,
        domain=customer.domain,
        since=customer.since.isoformat(),
        terms=customer.terms if system == "accounting" or chance.maybe(0.5) else None,
        status=customer.status or None,
        changed=chance.moment(),
    )


_OTHER_FORM = {" Ltd": " Limited", " GmbH": " G.m.b.H.", " SARL": " S.A.R.L.", " B.V.": " BV"}


def name_variant(chance: Chance, name: str) -> str:
    """The same name as another person would type it."""
    kind = chance.random.choice(("form", "form", "case", "and", "accents", "typo"))
    match kind:
        case "case":
            return name.upper()
        case "and" if " & " in name:
            return name.replace(" & ", " and ")
        case "accents" if (folded := without_accents(name)) != name:
            return folded
        case "typo":
            return typo(chance, name)
    return other_form(name)


def other_form(name: str) -> str:
    """The same name with its legal form written the other way."""
    for ending, other in _OTHER_FORM.items():
        if name.endswith(ending):
            return name.removesuffix(ending) + other
    return name


def without_accents(text: str) -> str:
    """Letters without their accents, ü as u and ß as ss."""
    folded = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    return "".join(sign for sign in folded if not unicodedata.combining(sign))


def typo(chance: Chance, name: str) -> str:
    """One letter of a long word left out, or two swapped."""
    words = name.split(" ")
    places = [place for place, word in enumerate(words) if len(word) > 5 and word.isalpha()] or [0]
    place = chance.random.choice(places)
    word = words[place]
    at = chance.random.randrange(1, max(2, len(word) - 2))
    swapped = word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :]
    words[place] = word[:at] + word[at + 1 :] if chance.maybe(0.5) or swapped == word else swapped
    return " ".join(words)


def moved(chance: Chance, address: Address) -> Address:
    """Another address in the same country: where the customer was before."""
    other, _ = chance.maker.address(address.country)
    return other if other.postcode != address.postcode else replace(other, street="1 " + other.street)


def make_people(chance: Chance, customers: Sequence[Customer], count: int) -> list[Person]:
    """Contact persons, spread unevenly over the customers."""
    maker, choose = chance.maker, chance.random
    found = []
    for number in range(1, count + 1):
        customer = choose.choice(customers)
        first, last = maker.person(customer.country) if chance.maybe(0.9) else maker.person("GB")
        found.append(
            Person(
                true_id=f"pers-{number:05d}",
                first=first,
                last=last,
                title=choose.choices(("", "Dr.", "Mrs", "Mr", "Prof."), (80, 6, 6, 6, 2))[0],
                job=choose.choice(words("jobs")),
                email=f"{plain(first)}.{plain(last)}@{customer.domain}",
                phone=customer.phone if chance.maybe(0.02) else maker.mobile(customer.country),
                mobile=maker.mobile(customer.country) if chance.maybe(0.2) else "",
                customer=customer.true_id,
            )
        )
    return found


def make_products(chance: Chance) -> list[Product]:
    """Products; some article numbers are all digits, some of those start with zeros."""
    maker, choose = chance.maker, chance.random
    found = []
    for number in range(1, chance.count(500, 40) + 1):
        kind = number % 25
        sku = (
            f"{number * 37:07d}"
            if kind == 0
            else str(7_310_000 + number)
            if kind in (1, 2)
            else f"TL-{10_000 + number}"
        )
        name = maker.once(lambda: " ".join(choose.choice(words(kind)) for kind in ("sizes", "materials", "things")))
        cents = choose.choice((choose.randint(150, 9_900), choose.randint(10_000, 250_000)))
        found.append(Product(sku, name, Decimal(cents) / 100, choose.choices((20, 5, 0), (90, 5, 5))[0]))
    return found


def make_order(chance: Chance, number: int, client: Face, state: str, products: Sequence[Product]) -> Order:
    """One order with one to five lines."""
    choose = chance.random
    placed = (ANCHOR - timedelta(days=choose.randint(20, 540))).date()
    is_home = client.address.country == "GB"
    lines = []
    for line_number, product in enumerate(
        choose.sample(list(products), choose.choices((1, 2, 3, 4, 5), (35, 28, 18, 11, 8))[0]), 1
    ):
        quantity = choose.randint(1, 20)
        shipped = quantity if state == "SHIP" else 0
        lines.append(Line(line_number, product, quantity, shipped, product.vat_rate if is_home else 0))
    changed = datetime(placed.year, placed.month, placed.day, choose.randint(7, 18), choose.randint(0, 59))
    return Order(f"SO-{number:06d}", client, placed, "GBP" if is_home else "EUR", state, lines, changed=changed)


def pick(chance: Chance, pool: Iterable[Face], count: int, used: set[str]) -> list[Face]:
    """Faces of customers nothing else is planted on; their customers count as used from then on."""
    free = [face for face in pool if face.true_id not in used]
    chosen: list[Face] = []
    for face in chance.random.sample(free, len(free)):
        if len(chosen) == count:
            break
        if face.true_id not in used:
            used.add(face.true_id)
            chosen.append(face)
    return chosen
