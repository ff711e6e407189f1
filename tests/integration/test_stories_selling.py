"""From a new customer to goods that left: what one person does in one system, and what the others then hold.

All stories begin in one fixture, so that one sync tells the systems of all their beginnings.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from sandbox.workbook import set_cell
from tests.fixtures.mainjob import Json, MainJob
from tests.fixtures.stories import TODAY, Business, Known

pytestmark = pytest.mark.slow

CARD = {
    "name": "Thistledown Looms Ltd",
    "vat_number": "GB 914 2230 17",
    "email": "ida.thistle@thistledown.example",
    "phone": "020 7946 0991",
    "country": "United Kingdom",
    "customer_since": TODAY.isoformat(),
}


@dataclass(frozen=True)
class Begun:
    """What the stories begin with, after a sync."""

    business: Business
    company: Json
    """A lead that sales typed into the CRM."""
    manager: str
    buyer: Known
    draft: str
    """The buyer's order, not confirmed yet."""
    confirmed: str
    """An order of two lines (four and two pieces) that is billed and has its project."""


@pytest.fixture(scope="module")
def begun(shared_job: MainJob) -> Begun:
    business = Business(shared_job)
    companies = shared_job.stored("crm", "companies").values()
    manager = next(doc["properties"]["account_manager"] for doc in companies if doc["properties"]["account_manager"])
    card = {**CARD, "account_manager": manager, "hs_lead_status": "OPEN"}
    company = shared_job.call("crm", "POST", "/crm/v3/objects/companies", {"properties": card})
    buyer = business.customer()
    draft, confirmed = business.order(buyer, 3, 2, state="NEW"), business.order(business.customer(), 4, 2)
    business.sync()
    return Begun(business, company, manager, buyer, draft, confirmed)


def test_a_new_crm_customer_appears_in_accounting_and_projects(begun: Begun) -> None:
    business, job = begun.business, begun.business.job
    golden = job.golden_id("customer", "crm", "companies", begun.company["id"])
    known = [doc["Name"] for doc in job.stored("accounting", "contacts").values()]
    assert CARD["name"] not in known, "a lead is nobody's customer yet"
    assert CARD["name"] not in [one["name"] for one in business.projects()]

    job.edit("crm", "companies", begun.company["id"], {"hs_lead_status": "CUSTOMER"})
    business.sync()

    [contact] = [d for d in job.stored("accounting", "contacts").values() if d.get("ContactNumber") == golden]
    assert (contact["Name"], contact["EmailAddress"]) == (CARD["name"], CARD["email"])
    assert contact["TaxNumber"] == "GB914223017"
    project = business.project(**{"Concord ID": golden})
    assert (project["name"], project["Kind"], project["archived"]) == (CARD["name"], "Customer", False)
    people = {one["gid"]: one["email"] for one in job.stored("projects", "users").values()}
    assert people[project["owner"]] == begun.manager

    job.edit("crm", "companies", begun.company["id"], {"name": "Thistledown & Daughters Ltd"})
    business.sync()

    assert job.stored("accounting", "contacts")[contact["ContactID"]]["Name"] == "Thistledown & Daughters Ltd"
    assert business.project(**{"Concord ID": golden})["name"] == "Thistledown & Daughters Ltd"
    business.is_quiet()


def test_a_confirmed_order_becomes_an_invoice_and_a_project(begun: Begun) -> None:
    business, job, order = begun.business, begun.business.job, begun.draft
    assert business.documents("invoices", order) == []
    assert order not in [one.get("Number") for one in business.projects()]

    job.edit_legacy("orders", order, {"state_cd": "CONF"})
    business.sync()

    [invoice] = business.documents("invoices", order)
    assert (invoice["Type"], invoice["Status"]) == ("ACCREC", "AUTHORISED")
    assert invoice["Contact"]["ContactID"] == begun.buyer.contact
    ordered = {(line["sku"], line["qty"], line["unit_price"]) for line in business.lines(order)}
    billed = {
        (line["ItemCode"], Decimal(str(line["Quantity"])), Decimal(str(line["UnitAmount"])))
        for line in invoice["LineItems"]
    }
    assert billed == ordered
    project = business.project(Number=order)
    assert (project["name"], project["Kind"], project["Customer"]) == (order, "Order", begun.buyer.name)
    assert (project["owner"], project["archived"]) == (business.seat(business.clerk), False)
    shown = business.row("jobs", order)
    assert (shown["title"], shown["lead_no"]) == (order, business.clerk)
    assert business.balance(begun.buyer) >= Decimal(str(invoice["AmountDue"]))
    business.is_quiet()


def test_an_order_leaves_in_parts(begun: Begun) -> None:
    business, job, order = begun.business, begun.business.job, begun.confirmed
    assert business.row("orders", order)["ship_cd"] == "N"
    assert business.project(Number=order)["archived"] is False

    first = business.ship(order, line1=3)
    business.sync()

    shown = business.row("orders", order)
    assert (shown["ship_cd"], shown["shipped_date"]) == ("P", "01/07/2025")
    delivery = business.row("deliveries", first)
    assert (delivery["order_no"], delivery["sent_on"]) == (order, "01/07/2025")
    assert delivery["carrier"] == "Northway Parcels"
    assert business.project(Number=order)["archived"] is False

    second = business.ship(order, line1=1, line2=2)
    job.edit_legacy("orders", order, {"state_cd": "SHIP"})
    business.sync()

    assert business.row("orders", order)["ship_cd"] == "F"
    assert business.row("deliveries", second)["order_no"] == order
    assert business.project(Number=order)["archived"] is True, "what has left is no work any more"
    assert business.row("jobs", order)["state_cd"] == "E"
    [invoice] = business.documents("invoices", order)
    assert invoice["Status"] == "AUTHORISED", "a shipped order is still owed"
    business.is_quiet()


def test_who_leaves_the_house_loses_the_login(begun: Begun) -> None:
    business = begun.business
    assert business.row("clerks", "E-006")["active"] == "Y"

    set_cell(Path(business.job.sandbox.workbook_dir) / "staff.xlsx", "E-006", "Status", "left")
    business.sync()

    assert business.row("clerks", "E-006")["active"] == "N"
    business.is_quiet()


def test_half_an_order_is_told_to_nobody(begun: Begun) -> None:
    """The lines cannot be read: the order waits for them, and goes on with the sync that reads them."""
    business = begun.business
    order = business.order(business.customer(), 2, 1)
    with business.without("order_lines"):
        done = business.job.sync()
        assert [(t.system, t.stream, t.step) for t in done.trouble] == [("legacy", "order_lines", "extract")]
        assert business.documents("invoices", order) == []
        assert business.job.rows("select from golden.order where number = :number", number=order) == []
    business.sync()
    [invoice] = business.documents("invoices", order)
    assert [line["Quantity"] for line in invoice["LineItems"]] == [2, 1]
    business.is_quiet()
