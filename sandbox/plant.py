"""Trouble planted among the faces: doubtful and look-alike pairs, duplicates, stale copies, bad values, deletions.

Each function changes faces in place or adds some, and returns what the truth must say about it. A customer carries at
most one kind of trouble (`used`), so that each can be judged by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sandbox.world import (
    Chance,
    Customer,
    Face,
    make_customer,
    make_face,
    moved,
    other_form,
    personal_mailbox,
    pick,
    typo,
)

Member = dict[str, str]


@dataclass
class Planted:
    """What was planted, in the truth's own shape."""

    doubtful_pairs: list[list[Member]] = field(default_factory=list)
    different_pairs: list[list[Member]] = field(default_factory=list)
    name_clashes: list[list[Member]] = field(default_factory=list)
    duplicates: list[list[Member]] = field(default_factory=list)
    stale: list[dict[str, Any]] = field(default_factory=list)
    bad_records: list[dict[str, Any]] = field(default_factory=list)
    unknown_codes: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[dict[str, Any]] = field(default_factory=list)
    merged: list[dict[str, Any]] = field(default_factory=list)
    shared_mailboxes: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Cast:
    """All faces, by customer and by system, while trouble is planted."""

    chance: Chance
    customers: dict[str, Customer]
    faces: list[Face]
    used: set[str] = field(default_factory=set)
    planted: Planted = field(default_factory=Planted)

    def of(self, true_id: str) -> dict[str, Face]:
        """A customer's face in each system (the first one there)."""
        return {face.system: face for face in reversed(self.faces) if face.true_id == true_id}

    def take(self, system: str, count: int, exactly: Sequence[str] | None = None, least: int = 1) -> list[Face]:
        """Untouched faces of a system; `exactly`: only of customers known in just these systems."""
        pool = [face for face in self.faces if face.system == system and not face.is_deleted]
        if exactly is not None:
            pool = [face for face in pool if set(self.customers[face.true_id].systems) == set(exactly)]
        return pick(self.chance, pool, self.chance.count(count, least), self.used)

    def bad(self, face: Face, name: str, why: str, is_required: bool = False) -> None:
        """Note a malformed value, by the name the field has in its system."""
        self.planted.bad_records.append({**face.member, "field": name, "why": why, "required": is_required})


def plant_all(cast: Cast) -> None:
    """Plant everything that concerns customers."""
    _doubtful(cast)
    _look_alike(cast)
    _linked_by_mail(cast)
    _shared_mailboxes(cast)
    _duplicates(cast)
    _stale(cast)
    _malformed(cast)
    _unknown_codes(cast)
    _deleted(cast)
    _merged(cast)


def _doubtful(cast: Cast) -> None:
    """One customer in two systems that share only a similar name and a telephone number or a postcode."""
    chance = cast.chance
    plan = (("crm", "accounting", 26), ("crm", "legacy", 20), ("accounting", "legacy", 14))
    for left, right, count in plan:
        for face in cast.take(left, count, (left, right), least=2):
            other = cast.of(face.true_id)[right]
            customer = cast.customers[face.true_id]
            face.name = customer.name
            other.name = typo(chance, customer.name if chance.maybe(0.6) else other_form(customer.name))
            other.vat = ""
            other.email = "" if chance.maybe(0.4) else f"{customer.domain.split('.')[0][:24]}@post.example"
            face.phone = customer.phone
            if chance.maybe(0.5):
                other.phone, other.address = customer.phone, moved(chance, customer.address)
            else:
                other.phone = chance.maker.mobile(customer.country)
                other.address = replace(
                    customer.address, street=f"{chance.random.randint(1, 9)} Business Park", extra=""
                )
            cast.planted.doubtful_pairs.append([face.member, other.member])


def _look_alike(cast: Cast) -> None:
    """Two customers that share a telephone number, or nearly a name; each has a VAT number of its own everywhere."""
    chance = cast.chance
    firsts, seconds = cast.take("crm", 20, least=2), cast.take("legacy", 20, least=2)
    for first, second in zip(firsts, seconds, strict=True):
        for face in cast.of(second.true_id).values():
            face.phone = first.phone
        cast.planted.different_pairs.append([first.member, second.member])
    british = [face for face in cast.take("accounting", 40, least=4) if face.address.country == "GB"]
    others = [face for face in cast.take("crm", 40, least=4) if face.address.country == "GB"]
    for first, second in zip(british[: chance.count(18, 2)], others, strict=False):
        name = cast.customers[first.true_id].name
        for face in cast.of(first.true_id).values():
            face.name = name
        for face in cast.of(second.true_id).values():
            face.name = name.removesuffix(" Ltd") + " Limited"
        cast.planted.different_pairs.append([first.member, second.member])
    taken = cast.take("accounting", 2, ("crm", "accounting", "legacy"), least=1)
    for first, second in zip(taken, cast.take("crm", 2, ("crm",), least=1), strict=True):
        for face in cast.of(first.true_id).values():
            face.name = cast.customers[first.true_id].name
        second.name = first.name
        cast.planted.different_pairs.append([first.member, second.member])
        cast.planted.name_clashes.append([first.member, second.member])


def _linked_by_mail(cast: Cast) -> None:
    """Customers without a VAT number somewhere: a personal mailbox, the name and the telephone number tell."""
    for system, exactly, count in (
        ("accounting", ("crm", "accounting", "legacy"), 70),
        ("legacy", ("crm", "legacy"), 30),
        ("accounting", ("crm", "accounting"), 20),
    ):
        for face in cast.take(system, count, exactly, least=2):
            customer = cast.customers[face.true_id]
            mailbox = personal_mailbox(cast.chance, customer.country, customer.domain)
            for one in cast.of(face.true_id).values():
                one.email, one.phone, one.name = mailbox, customer.phone, customer.name
            face.vat = ""


def _shared_mailboxes(cast: Cast) -> None:
    """A bookkeeper's mailbox that several customers gave as theirs."""
    for number in (1, 2):
        mailbox = f"clients.{number}@hartley-bookkeeping.example"
        faces = cast.take("accounting", 5, least=5)
        for face in faces:
            face.email = mailbox
        cast.planted.shared_mailboxes.append({"email": mailbox, "members": [face.member for face in faces]})


def _duplicates(cast: Cast) -> None:
    """A customer twice in one system, with the same VAT number."""
    for system, count in (("crm", 12), ("accounting", 6), ("legacy", 7)):
        for face in cast.take(system, count, least=1):
            twin = make_face(cast.chance, cast.customers[face.true_id], system, 8_000 + len(cast.faces))
            twin.name = f"{face.name} ({face.address.city})" if system == "accounting" else face.name
            twin.email = face.email
            cast.faces.append(twin)
            cast.planted.duplicates.append([face.member, twin.member])


def _stale(cast: Cast) -> None:
    """Contacts in the ledger whose address or telephone number the CRM knows better."""
    for place, face in enumerate(cast.take("accounting", 40, ("crm", "accounting", "legacy"), least=4)):
        fields = (["address"], ["phone"], ["address", "phone"])[place % 3]
        if "address" in fields:
            face.address = moved(cast.chance, face.address)
        if "phone" in fields:
            face.phone = cast.chance.maker.mobile(face.address.country)
        cast.planted.stale.append({**face.member, "fields": fields})


def _malformed(cast: Cast) -> None:
    """Values that no rule can read, in optional and in required fields."""
    for face in cast.take("crm", 4):
        face.phone = "0"
        cast.bad(face, "phone", "not a telephone number")
    for face in cast.take("crm", 3):
        face.email = f"{face.domain.split('.')[0][:20]}(at)mail"
        cast.bad(face, "email", "not a mail address")
    for face in cast.take("crm", 3):
        face.name = None
        cast.bad(face, "name", "required and missing", is_required=True)
    for face in cast.take("crm", 2):
        face.country_text = "Atlantis"
        cast.bad(face, "country", "not a country")
    for face in cast.take("accounting", 3):
        face.email = "jane@@mail.example"
        cast.bad(face, "EmailAddress", "not a mail address")
    for face in cast.take("accounting", 3):
        face.phone = "0"
        cast.bad(face, "Phones", "not a telephone number")
    for face in cast.take("legacy", 4):
        face.since = "2024-02-30"
        cast.bad(face, "since", "a day that never was: 30/02/2024")
    for face in cast.take("legacy", 3):
        face.email = "n/a"
        cast.bad(face, "mail", "not a mail address")
    for face in cast.take("legacy", 3):
        face.name = ""
        cast.bad(face, "company_name", "required and missing", is_required=True)
    for face in cast.take("legacy", 2):
        face.country_text = "XX"
        cast.bad(face, "ctry", "not a country")


def _unknown_codes(cast: Cast) -> None:
    """Codes that no value table has."""
    for system, name, code, count in (
        ("crm", "hs_lead_status", "LEGACY_7", 5),
        ("crm", "hs_lead_status", "MIGRATED_2019", 2),
        ("legacy", "status_cd", "X9", 6),
    ):
        for face in cast.take(system, count):
            face.status = code
            cast.planted.unknown_codes.append({**face.member, "field": name, "value": code})


def _deleted(cast: Cast) -> None:
    """Records in the bin: customers of their own, known nowhere else."""
    for system, count in (("crm", 11), ("accounting", 7), ("legacy", 7)):
        for number in range(cast.chance.count(count, 1)):
            customer = make_customer(cast.chance, f"gone-{system}-{number:02d}", (system,))
            face = make_face(cast.chance, customer, system, 9_000 + number, is_plain=True)
            face.is_deleted = True
            cast.faces.append(face)
            cast.planted.deleted.append({**face.member, "entity": "customer", "true_id": customer.true_id})


def _merged(cast: Cast) -> None:
    """Two records of the CRM that a person made one: the loser's id leads to the survivor."""
    for number, face in enumerate(cast.take("crm", 7, least=1)):
        loser = make_face(cast.chance, cast.customers[face.true_id], "crm", 9_500 + number)
        loser.merged_into = face.id
        cast.faces.append(loser)
        cast.planted.merged.append({**face.member, "entity": "customer", "loser": loser.id})
