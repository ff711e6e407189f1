"""What is taken back: returns and their credit notes, cancellations, disputes. Each told as people live it.

All stories begin in one fixture, so that one sync tells the systems of all their beginnings.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import pytest

from staging import holds
from staging.engine import engine, transaction
from tests.fixtures.mainjob import Json, MainJob
from tests.fixtures.stories import TODAY, Business, Known

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """A customer and its order."""

    customer: Known
    order: str


@dataclass(frozen=True)
class Begun:
    """What the stories begin with, after a sync: orders that are billed, but for the disputed one."""

    business: Business
    coming_back: Case
    """Shipped; the customer asked to send two pieces back (RT-91001)."""
    refused: Case
    """What came back (RT-91002) has its draft already."""
    regretted: Case
    paid: Case
    disputed: Case
    """Not confirmed yet, and there is a ticket about it."""
    ticket: str


@pytest.fixture(scope="module")
def begun(shared_job: MainJob) -> Begun:
    business = Business(shared_job)
    customers = [business.customer() for _ in range(5)]
    states = ("CONF", "CONF", "CONF", "CONF", "NEW")
    cases = [Case(one, business.order(one, 5, state=state)) for one, state in zip(customers, states, strict=True)]
    business.ship(cases[0].order, line1=5)
    send_back(business, "RT-91001", cases[0].order, "ANN")
    send_back(business, "RT-91002", cases[1].order, "REC")
    ticket = {
        "subject": f"We agreed another price for {cases[4].order}",
        "hs_pipeline": "0",
        "hs_pipeline_stage": "1",
        "hs_ticket_category": "BILLING_ISSUE",
        "hs_ticket_priority": "HIGH",
        "order_number": cases[4].order,
    }
    about = [{"to": {"id": cases[4].customer.company}, "types": []}]
    path = "/crm/v3/objects/tickets"
    made = shared_job.call("crm", "POST", path, {"properties": ticket, "associations": about})
    business.sync()
    coming_back, refused, regretted, paid, disputed = cases
    return Begun(business, coming_back, refused, regretted, paid, disputed, made["id"])


def send_back(business: Business, number: str, order: str, state: str) -> None:
    """The warehouse notes that two of an order's first line come back."""
    line, shown = business.lines(order)[0], business.row("orders", order)
    row = {"return_no": number, "order_no": order, "client_no": shown["client_no"], "currency": shown["currency"]}
    row |= {"reason_cd": "DAM", "state_cd": state, "announced_on": TODAY}
    business.job.add_legacy("warehouse.returns", row)
    piece = {"return_no": number, "line_no": 1, "order_line": 1, "sku": line["sku"], "qty": 2}
    business.job.add_legacy("warehouse.return_lines", {**piece, "unit_price": line["unit_price"], "vat_rate": 20})


def credit_note(business: Business, number: str, status: str) -> Json:
    """The one credit note for a return, in this state."""
    [note] = business.documents("credit_notes", number)
    assert note["Status"] == status
    return note


def held_for(job: MainJob, order: str) -> list[Json]:
    """The writes about an order that wait for a person."""
    return job.rows(
        "select o.op, o.reason, h.id as hold, h.owner from ops.outbox o join golden.order g on g.id = o.canonical_id"
        " join ops.hold h on h.id = o.hold_id where g.number = :n and o.state = 'held'",
        n=order,
    )


def test_what_came_back_is_credited_when_finance_says_so(begun: Begun) -> None:
    business, job, (customer, order) = begun.business, begun.business.job, whose(begun.coming_back)
    [invoice] = business.documents("invoices", order)
    owed = business.balance(customer)
    assert business.documents("credit_notes", "RT-91001") == [], "nothing is back yet"

    job.edit_legacy("warehouse.returns", "RT-91001", {"state_cd": "REC", "received_on": TODAY})
    business.sync()

    note = credit_note(business, "RT-91001", "DRAFT")
    assert (note["Type"], note["Contact"]["ContactID"]) == ("ACCRECCREDIT", customer.contact)
    [line] = note["LineItems"]
    sent = business.lines(order)[0]
    assert (line["ItemCode"], Decimal(str(line["UnitAmount"]))) == (sent["sku"], sent["unit_price"])
    assert line["Quantity"] == 2
    assert business.row("warehouse.returns", "RT-91001")["credit_cd"] == "D"
    assert business.balance(customer) == owed, "a draft is worth nothing"

    # finance authorises it and sets it against the invoice, in the ledger's own screens
    path = f"/api.xro/2.0/CreditNotes/{note['CreditNoteID']}"
    job.call("accounting", "POST", path, {"CreditNotes": [{"Status": "AUTHORISED"}]})
    against = {"Invoice": {"InvoiceID": invoice["InvoiceID"]}, "Amount": note["Total"], "Date": TODAY.isoformat()}
    job.call("accounting", "PUT", f"{path}/Allocations", {"Allocations": [against]})
    business.sync()

    assert business.row("warehouse.returns", "RT-91001")["credit_cd"] == "C"
    assert business.balance(customer) == owed - Decimal(str(note["Total"]))
    [golden] = job.rows(
        "select i.kind, i.status, c.number as credits from golden.invoice i join golden.invoice c on c.id = i.credits"
        " where i.number = :n",
        n=note["CreditNoteNumber"],
    )
    assert (golden["kind"], golden["status"], golden["credits"]) == ("credit_note", "paid", invoice["InvoiceNumber"])
    business.is_quiet()


def whose(case: Case) -> tuple[Known, str]:
    """Customer and order of a case."""
    return case.customer, case.order


def test_a_return_that_is_refused_takes_its_draft_back(begun: Begun) -> None:
    business = begun.business
    credit_note(business, "RT-91002", "DRAFT")

    business.job.edit_legacy("warehouse.returns", "RT-91002", {"state_cd": "REF"})
    business.sync()

    credit_note(business, "RT-91002", "DELETED")
    [invoice] = business.documents("invoices", begun.refused.order)
    assert invoice["Status"] == "AUTHORISED"
    business.is_quiet()


def test_a_cancelled_order_takes_its_invoice_and_project_with_it(begun: Begun) -> None:
    business, (customer, order) = begun.business, whose(begun.regretted)
    [invoice] = business.documents("invoices", order)
    owed = business.balance(customer)
    assert business.project(Number=order)["archived"] is False

    business.job.edit_legacy("orders", order, {"state_cd": "CANC"})
    business.sync()

    [voided] = business.documents("invoices", order)
    assert (voided["InvoiceID"], voided["Status"]) == (invoice["InvoiceID"], "VOIDED")
    assert business.project(Number=order)["archived"] is True
    assert business.row("jobs", order)["state_cd"] == "E"
    assert business.balance(customer) == owed - Decimal(str(invoice["AmountDue"]))
    what_we_ended = (invoice["InvoiceID"], business.project(Number=order)["gid"], order)
    found = "select count(*) from ops.finding where kind = 'deleted_elsewhere' and source_id = any(:ids)"
    assert business.job.value(found, ids=list(what_we_ended)) == 0, "what we did ourselves is no surprise"
    business.is_quiet()


def test_a_cancelled_order_that_was_paid_is_finance_s_to_decide(begun: Begun) -> None:
    business, job, order = begun.business, begun.business.job, begun.paid.order
    [invoice] = business.documents("invoices", order)
    paid = {"Invoice": {"InvoiceID": invoice["InvoiceID"]}, "Account": {"Code": "090"}, "Reference": "BACS 1"}
    paid |= {"Date": TODAY.isoformat(), "Amount": invoice["AmountDue"]}
    job.call("accounting", "PUT", "/api.xro/2.0/Payments", {"Payments": [paid]})
    job.edit_legacy("orders", order, {"state_cd": "CANC"})

    business.sync()

    assert business.row("orders", order)["paid_flag"] == "Y"
    [kept] = business.documents("invoices", order)
    assert kept["Status"] == "PAID"
    assert business.project(Number=order)["archived"] is True, "nobody fulfils it any more"
    [held] = held_for(job, order)
    assert held["op"] == "archive"
    assert "payment_status != 'unpaid'" in held["reason"]
    assert held["owner"].startswith("finance-lead")
    business.is_quiet()


def test_a_dispute_stops_what_is_shipped_and_billed_until_it_is_settled(begun: Begun) -> None:
    business, job, (customer, order) = begun.business, begun.business.job, whose(begun.disputed)
    subject = f"We agreed another price for {order}"
    assert business.row("orders", order)["hold_flag"] == "Y"
    [task] = [one for one in business.projects("tasks") if one.get("Number") == begun.ticket]
    assert (task["name"], task["completed"]) == (subject, False)
    [golden] = job.rows(
        "select t.category, c.id as customer, o.number from golden.ticket t join golden.customer c on c.id ="
        " t.customer join golden.order o on o.id = t.order where t.number = :n",
        n=begun.ticket,
    )
    assert golden == {"category": "dispute", "customer": customer.golden, "number": order}

    job.edit_legacy("orders", order, {"state_cd": "CONF"})
    business.sync()

    assert business.documents("invoices", order) == [], "nothing that is disputed is billed unasked"
    [held] = held_for(job, order)
    assert (held["op"], held["owner"].partition(" ")[0]) == ("create", "finance-lead")

    job.edit("crm", "tickets", begun.ticket, {"hs_pipeline_stage": "4"})
    business.sync()

    assert business.row("orders", order)["hold_flag"] == "N"
    [task] = [one for one in business.projects("tasks") if one.get("Number") == begun.ticket]
    assert task["completed"] is True

    for one in held_for(job, order):  # what was asked stays asked: finance says yes now that it is settled
        with transaction(engine("app")) as conn:
            holds.approve(conn, one["hold"], by="tom", reason="settled")
    business.sync()

    [invoice] = business.documents("invoices", order)
    assert invoice["Status"] == "AUTHORISED"
    business.is_quiet()
