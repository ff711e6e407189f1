"""The seeded world: the same for a seed, of the promised size, and the truth about it is true of its records."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from typing import Any

import phonenumbers
import pytest

from sandbox.people import PLACES, Maker
from sandbox.seed import World, build_world
from sandbox.world import Chance, without_accents

Member = dict[str, str]
Key = tuple[str, str, str]


@pytest.fixture(scope="module", params=[0.05, 1.0], ids=["tiny", "full"])
def world(request: pytest.FixtureRequest) -> World:
    return build_world(seed=7, scale=request.param)


def key(member: Member) -> Key:
    return member["system"], member["stream"], member["id"]


def e164(text: str) -> str:
    try:
        return phonenumbers.format_number(phonenumbers.parse(text, "GB"), phonenumbers.PhoneNumberFormat.E164)
    except phonenumbers.NumberParseException:
        return text


def facts(world: World) -> dict[Key, dict[str, str]]:
    """Name, VAT number, mail, phone and postcode of every customer record, in one form for all systems."""
    found: dict[Key, dict[str, str]] = {}
    for doc in world.crm["companies"]:
        values = doc["properties"]
        names = {"name": "name", "vat_number": "vat", "email": "mail", "phone": "phone", "zip": "postcode"}
        found["crm", "companies", doc["id"]] = {to: values[of] or "" for of, to in names.items()}
    for doc in world.accounting["contacts"]:
        found["accounting", "contacts", doc["ContactID"]] = {
            "name": doc["Name"],
            "vat": doc["TaxNumber"],
            "mail": doc["EmailAddress"],
            "phone": doc["Phones"][0]["PhoneNumber"],
            "postcode": doc["Addresses"][1]["PostalCode"],
        }
    for row in world.legacy["clients"]:
        block = row[6].split("\n")[-1]
        postcode = re.match(r"\d{4} [A-Z]{2}(?= )|\d{5}(?= )", block)
        fact = {"name": row[2] or "", "vat": row[3], "mail": row[5], "phone": row[4]}
        found["legacy", "clients", row[0]] = {**fact, "postcode": postcode[0] if postcode else block}
    for fact in found.values():
        fact["vat"] = re.sub(r"\W", "", fact["vat"]).upper()
        fact["phone"] = e164(fact["phone"])
    return found


def test_the_same_seed_makes_the_same_world() -> None:
    first, second, other = build_world(3, 0.05), build_world(3, 0.05), build_world(4, 0.05)
    assert first == second
    assert first.truth != other.truth


def test_the_full_world_has_the_promised_size() -> None:
    truth = build_world(7, 1.0).truth
    counts = truth["counts"]
    assert len(truth["customer"]) == 2_000
    assert 1_500 <= counts["crm"]["companies"] <= 1_550
    assert 1_300 <= counts["accounting"]["contacts"] <= 1_350
    assert 1_200 <= counts["legacy"]["clients"] <= 1_250
    assert (counts["legacy"]["orders"], counts["accounting"]["invoices"]) == (5_000, 2_500)
    assert (counts["accounting"]["credit_notes"], counts["accounting"]["payments"]) == (180, 1_500)
    assert (counts["warehouse"]["returns"], counts["crm"]["tickets"], counts["workbook"]["staff"]) == (80, 172, 24)
    assert counts["warehouse"]["shipments"] > 1_000
    assert len(truth["orders_to_invoice"]) == 200
    sizes = {"doubtful_pairs": 60, "different_pairs": 40, "duplicates": 25, "stale": 40, "deleted": 30, "merged": 10}
    assert all(len(truth[name]) >= least for name, least in sizes.items())


@pytest.mark.parametrize("scale", [0.03, 0.05])
def test_a_tiny_world_keeps_some_of_each_kind(scale: float) -> None:
    truth = build_world(7, scale).truth
    kinds = ("doubtful_pairs", "different_pairs", "duplicates", "bad_records", "unknown_codes", "stale", "deleted")
    around = ("cancelled_billed", "shipping_unmarked", "shipments_untold", "returns_to_credit", "credits_untold")
    around += ("orders_without_project", "disputed_orders", "disputes_unmarked", "leavers_with_login", "employee")
    for kind in (*kinds, *around, "merged", "impossible", "orders_to_invoice", "paid_unmarked", "name_clashes"):
        assert truth[kind], kind
    impossible = {one["kind"] for one in truth["impossible"]}
    assert impossible == {"shipped_above_ordered", "credit_above_invoice", "paid_before_issued"}


def test_every_member_is_a_record_and_belongs_to_one_customer(world: World) -> None:
    members = [key(member) for customer in world.truth["customer"] for member in customer["members"]]
    assert len(members) == len(set(members))
    gone = {key(one) for one in world.truth["deleted"]} | {
        ("crm", "companies", one["loser"]) for one in world.truth["merged"]
    }
    assert set(members) == facts(world).keys() - gone


def test_people_of_the_truth_are_records(world: World) -> None:
    members = [key(member) for person in world.truth["contact"] for member in person["members"]]
    assert len(members) == len(set(members))
    rows = {("workbook", "people", row[0]) for row in world.workbook["people"] if row}
    live = {
        ("crm", "contacts", doc["id"])
        for doc in world.crm["contacts"]
        if not doc["archived"] and "merged_into" not in doc
    }
    clients = {("legacy", "clients", row[0]) for row in world.legacy["clients"] if row[1] and row[11] == "N"}
    assert set(members) == rows | live | clients


def test_no_two_customers_share_a_vat_number(world: World) -> None:
    known = facts(world)
    owners: dict[str, set[str]] = {}
    for customer in world.truth["customer"]:
        for member in customer["members"]:
            if vat := known[key(member)]["vat"]:
                owners.setdefault(vat, set()).add(customer["true_id"])
    assert all(len(one) == 1 for one in owners.values())


def test_records_of_one_customer_share_a_proof_or_are_doubtful(world: World) -> None:
    known = facts(world)
    doubtful = {frozenset(map(key, pair)) for pair in world.truth["doubtful_pairs"]}
    for customer in world.truth["customer"]:
        groups = [{key(member)} for member in customer["members"]]
        for left, right in combinations(list(map(key, customer["members"])), 2):
            one, other = known[left], known[right]
            if (one["vat"] and one["vat"] == other["vat"]) or (one["mail"] and one["mail"] == other["mail"]):
                merged = set().union(*(group for group in groups if group & {left, right}))
                groups = [group for group in groups if not group & merged] + [merged]
                assert frozenset((left, right)) not in doubtful
        if len(groups) > 1:
            assert frozenset(map(key, customer["members"])) in doubtful


def bare(name: str) -> str:
    """A name without what any matcher looks past: case, accents, signs."""
    return re.sub(r"\W", "", without_accents(name).lower().replace(" and ", " & "))


def test_doubtful_pairs_have_something_to_be_found_by(world: World) -> None:
    known = facts(world)
    pairs = [pair for pair in world.truth["doubtful_pairs"] if "people" not in {member["stream"] for member in pair}]
    for left, right in pairs:
        one, other = known[key(left)], known[key(right)]
        assert one["phone"] == other["phone"] or one["postcode"] == other["postcode"]
        assert bare(one["name"]) != bare(other["name"])


def test_look_alikes_are_not_one_customer(world: World) -> None:
    known = facts(world)
    owner = {
        key(member): one["true_id"]
        for kind in ("customer", "contact")
        for one in world.truth[kind]
        for member in one["members"]
    }
    for left, right in world.truth["different_pairs"]:
        assert owner[key(left)] != owner[key(right)]
        if left["stream"] != "contacts" or left["system"] != "crm":
            assert known[key(left)]["vat"] != known[key(right)]["vat"]


def test_active_ledger_contacts_have_names_of_their_own(world: World) -> None:
    names = Counter(one["Name"].lower() for one in world.accounting["contacts"] if one["ContactStatus"] == "ACTIVE")
    assert names.most_common(1)[0][1] == 1


def test_crm_contacts_have_mail_addresses_of_their_own(world: World) -> None:
    live = [one for one in world.crm["contacts"] if not one["archived"] and "merged_into" not in one]
    mails = Counter(one["properties"]["email"] for one in live if one["properties"]["email"])
    assert mails.most_common(1)[0][1] == 1


def test_orders_to_invoice_are_confirmed_and_have_no_invoice(world: World) -> None:
    references = {one["Reference"] for one in world.accounting["invoices"]}
    confirmed = {row[0] for row in world.legacy["orders"] if row[4] == "CONF"}
    assert set(world.truth["orders_to_invoice"]) == confirmed - references
    bad = {one["id"] for one in world.truth["bad_records"]}
    clients = {row[0]: row[1] for row in world.legacy["orders"]}
    assert not bad & {clients[number] for number in world.truth["orders_to_invoice"]}


def test_paid_orders_that_nobody_marked(world: World) -> None:
    paid = {one["Reference"] for one in world.accounting["invoices"] if one["Status"] == "PAID" and one["AmountPaid"]}
    unmarked = {row[0] for row in world.legacy["orders"] if row[5] == "N"}
    assert sorted(paid & unmarked) == world.truth["paid_unmarked"]


def test_an_invoice_has_its_order_s_lines(world: World) -> None:
    lines: dict[str, list[tuple[Any, ...]]] = {}
    for row in world.legacy["order_lines"]:
        lines.setdefault(row[0], []).append((row[2], float(row[3]), float(row[5])))
    for invoice in world.accounting["invoices"]:
        billed = [(one["ItemCode"], one["Quantity"], one["UnitAmount"]) for one in invoice["LineItems"]]
        assert billed == lines[invoice["Reference"]]


def shipped(world: World) -> dict[str, float]:
    """Order → pieces that left for it."""
    orders = {row[0]: row[1] for row in world.legacy["warehouse.shipments"]}
    pieces: Counter[str] = Counter()
    for row in world.legacy["warehouse.shipment_lines"]:
        pieces[orders[row[0]]] += row[4]
    return dict(pieces)


def test_shipments_add_up_to_what_the_order_desk_shows(world: World) -> None:
    pieces = shipped(world)
    ordered: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for row in world.legacy["order_lines"]:
        ordered[row[0]] += row[3]
        told[row[0]] += row[4]
    states = {row[0]: row[4] for row in world.legacy["orders"]}
    assert all(pieces[order] == told[order] for order in pieces)
    assert all(pieces[order] == ordered[order] for order in pieces if states[order] == "SHIP")
    partly = [order for order in pieces if pieces[order] < ordered[order]]
    assert partly
    assert {states[order] for order in partly} == {"CONF"}
    marked = {row[0]: row[9] for row in world.legacy["orders"]}
    wrong = {order for order in pieces if marked[order] != ("P" if order in partly else "F")}
    assert sorted(wrong) == world.truth["shipping_unmarked"]
    assert any(count > 1 for count in Counter(row[1] for row in world.legacy["warehouse.shipments"]).values())


def test_every_shipment_but_the_untold_is_on_the_order_desk_s_list(world: World) -> None:
    sent = {row[0] for row in world.legacy["warehouse.shipments"]}
    told = {row[0] for row in world.legacy["deliveries"]}
    assert told <= sent
    assert sorted(sent - told) == world.truth["shipments_untold"]


def test_returns_are_of_what_left_and_credited_ones_have_their_credit_note(world: World) -> None:
    shipped_lines = {(row[0], row[1]): row[4] for row in world.legacy["order_lines"]}
    orders = {row[0]: row[1] for row in world.legacy["warehouse.returns"]}
    assert all(row[4] <= shipped_lines[orders[row[0]], row[2]] for row in world.legacy["warehouse.return_lines"])
    credited = {doc["Reference"] for doc in world.accounting["credit_notes"] if doc["Reference"].startswith("RT-")}
    states = {row[0]: row[4] for row in world.legacy["warehouse.returns"]}
    assert credited == {number for number, state in states.items() if state == "CHK"}
    unknown = {one["id"] for one in world.truth["unknown_codes"] if one["stream"] == "returns"}
    waiting = {number for number, state in states.items() if state == "REC"} - unknown
    assert sorted(waiting) == world.truth["returns_to_credit"]
    silent = {row[0] for row in world.legacy["warehouse.returns"] if row[0] in credited and row[8] != "C"}
    assert sorted(silent) == world.truth["credits_untold"]


def test_cancelled_orders_that_were_billed_owe_all_of_it(world: World) -> None:
    cancelled = {row[0] for row in world.legacy["orders"] if row[4] == "CANC"}
    billed = {doc["Reference"]: doc for doc in world.accounting["invoices"]}
    assert sorted(cancelled & billed.keys()) == world.truth["cancelled_billed"]
    assert all(billed[number]["AmountDue"] == billed[number]["Total"] for number in world.truth["cancelled_billed"])


def test_open_disputes_are_those_of_open_tickets(world: World) -> None:
    tickets = [doc["properties"] for doc in world.crm["tickets"]]
    disputes = [one for one in tickets if one["hs_ticket_category"] == "BILLING_ISSUE"]
    found = sorted(one["order_number"] or "" for one in disputes if one["hs_pipeline_stage"] != "4")
    assert found == world.truth["disputed_orders"]
    held = {row[0] for row in world.legacy["orders"] if row[10] == "Y"}
    assert sorted(set(found) - held) == world.truth["disputes_unmarked"]
    assert any(one["hs_pipeline_stage"] == "4" for one in disputes)


def test_orders_without_a_project_are_confirmed_and_recent(world: World) -> None:
    numbers = {one["name"] for one in world.asana["projects"]}
    orders = {row[0]: row for row in world.legacy["orders"]}
    assert numbers & orders.keys()
    assert not numbers & set(world.truth["orders_without_project"])
    assert {orders[number][4] for number in world.truth["orders_without_project"]} == {"CONF"}


def test_staff_are_whom_the_systems_name(world: World) -> None:
    staff = {row[0]: row for row in world.workbook["staff"]}
    clerks = {row[0] for row in world.legacy["clerks"]}
    assert clerks <= staff.keys()
    assert {row[8] for row in world.legacy["orders"] if row[8]} <= clerks
    assert {doc["email"] for doc in world.asana["users"]} >= {row[2] for row in staff.values() if row[0] in clerks} - {
        staff[number][2] for number in world.truth["leavers_with_login"]
    }
    mails = {row[2] for row in world.workbook["staff"]}
    assert {doc["properties"]["account_manager"] for doc in world.crm["companies"]} - {None} <= mails
    assert world.truth["leavers_with_login"] == sorted(number for number in clerks if staff[number][8])
    assert len(world.truth["leavers_with_login"]) == 2
    (newcomer,) = world.truth["staff_without_login"]
    assert newcomer in staff.keys() - clerks
    assert staff[newcomer][8] is None


def test_nothing_is_from_the_future(world: World) -> None:
    assert all(doc["updatedAt"] < "2025-07-01" for docs in world.crm.values() for doc in docs)
    assert all(doc["UpdatedDateUTC"] < "/Date(1751328000000" for docs in world.accounting.values() for doc in docs)


def test_the_truth_is_json(world: World) -> None:
    assert json.loads(json.dumps(world.truth)) == world.truth


@pytest.mark.parametrize("country", sorted(PLACES))
def test_telephone_numbers_are_valid(country: str) -> None:
    maker = Chance(1, 1.0).maker
    numbers = [maker.phone(country, place[3]) for place in PLACES[country] for _ in range(20)]
    numbers += [maker.mobile(country) for _ in range(100)]
    assert all(phonenumbers.is_valid_number(phonenumbers.parse(one)) for one in numbers)
    assert len(set(numbers)) == len(numbers)


def test_typed_telephone_numbers_are_readable(world: World) -> None:
    bad = {key(one) for one in world.truth["bad_records"]}
    for doc in world.crm["companies"]:
        if doc["properties"]["phone"] and ("crm", "companies", doc["id"]) not in bad:
            assert phonenumbers.is_valid_number(phonenumbers.parse(doc["properties"]["phone"], "GB"))


def test_british_vat_numbers_have_their_check_digits() -> None:
    maker: Maker = Chance(2, 1.0).maker
    for _ in range(200):
        digits = maker.vat_number("GB")[2:]
        weighted = sum(weight * int(digit) for weight, digit in zip(range(8, 1, -1), digits, strict=False))
        assert (weighted + int(digits[7:])) % 97 == 0
