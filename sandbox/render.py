"""Faces, people, products and orders written in each system's own manner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sandbox.hubspot_model import CHANGE_MARK, empty_properties
from sandbox.people import COUNTRY_NAME, Address
from sandbox.store import Doc
from sandbox.world import Chance, Face, Line, Order, Person, Product
from sandbox.xero_documents import (
    SALES_ACCOUNT,
    allocation_doc,
    empty_contact,
    empty_document,
    line_amounts,
    payment_doc,
    totalled,
)
from sandbox.xero_values import dated, mark

_LEAD_STATUS = {"active": "CUSTOMER", "lead": "OPEN", "inactive": "UNQUALIFIED"}
_STATUS_CODE = {"active": "A", "lead": "P", "inactive": "I"}
_TAX_TYPE = {20: "OUTPUT2", 5: "RROUTPUT", 0: "ZERORATEDOUTPUT"}


def ms(moment: datetime) -> int:
    """Epoch milliseconds of a UTC moment without zone."""
    return round(moment.replace(tzinfo=UTC).timestamp() * 1000)


def iso(moment: datetime) -> str:
    """ISO 8601 with milliseconds and Z."""
    return moment.isoformat(timespec="milliseconds") + "Z"


def clock(day: date, hour: int) -> datetime:
    """A full hour of a day."""
    return datetime(day.year, day.month, day.day, hour)


def typed_phone(chance: Chance, number: str) -> str:
    """A number as a British office types it, foreign ones with their code. What is not E.164 stays as it is."""
    if not number.startswith("+"):
        return number
    code, rest = number[:3], number[3:]
    match chance.random.randrange(4):
        case 0:
            return number
        case 1:
            return f"{code} (0){rest[:3]} {rest[3:]}"
        case 2 if code == "+44":
            return f"0{rest[:3]} {rest[3:6]} {rest[6:]}"
        case 3 if code == "+44":
            return f"0{rest}"
    return f"{code} {rest[:3]} {rest[3:6]} {rest[6:]}"


def typed_vat(chance: Chance, vat: str) -> str:
    """A VAT number as somebody typed it."""
    if not vat:
        return ""
    country, rest = vat[:2], vat[2:]
    match chance.random.randrange(4):
        case 0:
            return f"{country} {rest[:3]} {rest[3:7]} {rest[7:]}".strip()
        case 1:
            return f"{country} {rest}"
        case 2:
            return vat.lower()
    return vat


def company_doc(face: Face) -> Doc:
    """A company of the CRM."""
    chance = Chance(int(face.id) % 1_000_003, 1.0)
    address = face.address
    values = {
        "name": face.name,
        "domain": face.domain,
        "email": face.email or None,
        "phone": typed_phone(chance, face.phone) or None,
        "address": address.street,
        "address2": address.extra or None,
        "city": address.city,
        "state": address.region or None,
        "zip": address.postcode,
        "country": face.country_text or COUNTRY_NAME[address.country],
        "hs_lead_status": _LEAD_STATUS.get(face.status or "", face.status),
        "lifecyclestage": "customer" if face.status == "active" else "lead",
        "vat_number": typed_vat(chance, face.vat) or None,
        "customer_since": face.since,
        "payment_terms": f"net{face.terms}" if face.terms else None,
    }
    return _crm_doc("companies", face.id, values, face)


def _crm_doc(object_type: str, record_id: str, values: dict[str, str | None], face: Face) -> Doc:
    changed = iso(face.changed)
    created = f"{face.since}T09:00:00.000Z" if face.since < changed else changed
    properties = {**empty_properties(object_type), **values, "hs_object_id": record_id, "createdate": created}
    properties[CHANGE_MARK[object_type]] = changed
    doc: Doc = {
        "id": record_id,
        "properties": properties,
        "createdAt": created,
        "updatedAt": changed,
        "archived": face.is_deleted,
    }
    if face.is_deleted:
        doc["archivedAt"] = changed
    if face.merged_into:
        doc["merged_into"] = face.merged_into
    return doc


def crm_contact_doc(person: Person, record_id: str, company: Face | None, changed: datetime) -> Doc:
    """A contact person of the CRM."""
    chance = Chance(int(record_id) % 1_000_003, 1.0)
    values: dict[str, str | None] = {
        "firstname": person.first or None,
        "lastname": person.last or None,
        "email": person.email or None,
        "phone": typed_phone(chance, person.phone) or None,
        "mobilephone": typed_phone(chance, person.mobile) or None,
        "jobtitle": person.job,
        "company": company.name if company else None,
    }
    properties = {**empty_properties("contacts"), **values, "hs_object_id": record_id}
    properties["createdate"] = properties["lastmodifieddate"] = iso(changed)
    doc: Doc = {"id": record_id, "properties": properties, "createdAt": iso(changed), "updatedAt": iso(changed)}
    return {**doc, "archived": False, "companies": [company.id] if company else []}


def ticket_doc(record_id: str, values: dict[str, str | None], company: str, at: datetime) -> Doc:
    """A ticket of the CRM; the fourth stage is the closed one."""
    properties = {**empty_properties("tickets"), **values, "hs_object_id": record_id, "createdate": iso(at)}
    changed = iso(at + timedelta(hours=4))
    properties[CHANGE_MARK["tickets"]] = changed
    if values["hs_pipeline_stage"] == "4":
        properties["closed_date"] = changed
    doc: Doc = {"id": record_id, "properties": properties, "createdAt": iso(at), "updatedAt": changed}
    return {**doc, "archived": False, "companies": [company]}


def ledger_contact_doc(face: Face, number: int) -> Doc:
    """A contact of the ledger."""
    chance = Chance(number, 1.0)
    address = face.address
    pobox = {
        "AddressType": "POBOX",
        "AddressLine1": address.street,
        "AddressLine2": address.extra,
        "City": address.city,
        "Region": address.region,
        "PostalCode": address.postcode,
        "Country": COUNTRY_NAME[address.country],
    }
    street = {"AddressType": "STREET", "City": "", "Region": "", "PostalCode": "", "Country": ""}
    phones = [{"PhoneType": kind, "PhoneNumber": "", "PhoneAreaCode": "", "PhoneCountryCode": ""} for kind in _PHONES]
    phones[0]["PhoneNumber"] = typed_phone(chance, face.phone)
    doc = {
        "ContactID": face.id,
        "ContactStatus": "ARCHIVED" if face.is_deleted else "ACTIVE",
        **empty_contact(),
        "Name": face.name,
        "EmailAddress": face.email,
        "TaxNumber": typed_vat(chance, face.vat),
        "AccountNumber": f"A{number:05d}",
        "Addresses": [street, pobox],
        "Phones": phones,
        "IsCustomer": True,
        "PaymentTerms": {"Sales": {"Day": face.terms, "Type": "DAYSAFTERBILLDATE"}},
        "UpdatedDateUTC": mark(ms(face.changed)),
    }
    if not face.terms:
        del doc["PaymentTerms"]
    return doc


_PHONES = ("DEFAULT", "DDI", "FAX", "MOBILE")


def item_doc(chance: Chance, product: Product) -> Doc:
    """A price list item of the ledger."""
    details = {"UnitPrice": float(product.price), "AccountCode": SALES_ACCOUNT, "TaxType": _TAX_TYPE[product.vat_rate]}
    return {
        "ItemID": chance.guid(),
        "Code": product.sku,
        "Name": product.name[:50],
        "Description": product.name,
        "IsSold": True,
        "IsPurchased": False,
        "PurchaseDetails": {},
        "SalesDetails": details,
        "UpdatedDateUTC": mark(ms(chance.moment())),
    }


def invoice_doc(chance: Chance, order: Order, contact: Doc, number: int, due: date) -> Doc:
    """The ledger's invoice for an order: same lines, the order's number as its reference."""
    doc = empty_document("invoices")
    doc |= {
        "InvoiceID": chance.guid(),
        "InvoiceNumber": f"INV-{number:05d}",
        "Reference": order.number,
        "Status": "AUTHORISED",
        "CurrencyCode": order.currency,
        "SentToContact": True,
        "Contact": {"ContactID": contact["ContactID"], "Name": contact["Name"]},
        **dated("Date", order.placed),
        **dated("DueDate", due),
        "LineItems": [_ledger_line(chance, line.product, line.quantity, line.vat_rate) for line in order.lines],
        "UpdatedDateUTC": mark(ms(order.changed)),
    }
    return totalled(doc, "invoices")


def _ledger_line(chance: Chance, product: Product, quantity: int, vat_rate: int) -> Doc:
    line: Doc = {
        "LineItemID": chance.guid(),
        "Description": product.name,
        "ItemCode": product.sku,
        "AccountCode": SALES_ACCOUNT,
        "Quantity": quantity,
        "UnitAmount": product.price,
        "TaxType": _TAX_TYPE[vat_rate],
        "Tracking": [],
    }
    return {**line, **line_amounts(line, line, "Exclusive")}


def paid(chance: Chance, invoice: Doc, amount: Decimal, when: date) -> Doc:
    """A payment against an invoice, which is changed in place."""
    payment = payment_doc(chance.guid(), invoice, amount, dated("Date", when), f"BACS {invoice['InvoiceNumber']}")
    payment["UpdatedDateUTC"] = mark(ms(datetime(when.year, when.month, when.day, 16)))
    short = {name: payment[name] for name in ("PaymentID", "Date", "Amount", "Reference")}
    settled = totalled({**invoice, "Payments": [*invoice["Payments"], short]}, "invoices")
    if not settled["AmountDue"]:
        settled |= {"Status": "PAID", "FullyPaidOnDate": payment["Date"]}
    invoice.clear()
    invoice.update({**settled, "UpdatedDateUTC": max(invoice_mark(settled), payment["UpdatedDateUTC"])})
    return payment


def invoice_mark(invoice: Doc) -> str:
    """An invoice's change mark."""
    return str(invoice["UpdatedDateUTC"])


@dataclass(frozen=True)
class Credit:
    """How much of an invoice a credit note gives back, and whether it is set against the invoice already."""

    amount: Decimal
    is_allocated: bool


def credit_note_doc(chance: Chance, invoice: Doc, number: int, credit: Credit, when: date) -> Doc:
    """A credit note for part of an invoice, which is changed in place when the credit is set against it."""
    doc = empty_document("credit_notes")
    line: Doc = {
        "LineItemID": chance.guid(),
        "Description": f"Credit for {invoice['InvoiceNumber']}",
        "AccountCode": SALES_ACCOUNT,
        "Quantity": 1,
        "UnitAmount": credit.amount,
        "TaxType": "NONE",
        "Tracking": [],
    }
    doc |= {
        "CreditNoteID": chance.guid(),
        "CreditNoteNumber": f"CN-{number:04d}",
        "Reference": invoice["InvoiceNumber"],
        "Status": "AUTHORISED",
        "CurrencyCode": invoice["CurrencyCode"],
        "Contact": invoice["Contact"],
        **dated("Date", when),
        "LineItems": [{**line, **line_amounts(line, line, "Exclusive")}],
        "UpdatedDateUTC": mark(ms(datetime(when.year, when.month, when.day, 11))),
    }
    if credit.is_allocated:
        day = dated("Date", when)
        doc["Allocations"] = [allocation_doc(chance.guid(), invoice, credit.amount, day)]
        short = {"CreditNoteID": doc["CreditNoteID"], "CreditNoteNumber": doc["CreditNoteNumber"]}
        applied = {**short, "AppliedAmount": float(credit.amount), "Total": float(credit.amount), **day}
        settled = totalled({**invoice, "CreditNotes": [*invoice["CreditNotes"], applied]}, "invoices")
        invoice.update({**settled, "UpdatedDateUTC": max(invoice_mark(invoice), doc["UpdatedDateUTC"])})
        doc["Status"] = "PAID"
    return totalled(doc, "credit_notes")


def return_credit_doc(
    chance: Chance, numbers: tuple[str, int], invoice: Doc, back: Sequence[tuple[Line, int]], when: date
) -> Doc:
    """The credit note for a return (its number, a running number), with what came back; not set against anything."""
    doc = empty_document("credit_notes") | {
        "CreditNoteID": chance.guid(),
        "CreditNoteNumber": f"CN-R{numbers[1]:04d}",
        "Reference": numbers[0],
        "Status": "AUTHORISED",
        "CurrencyCode": invoice["CurrencyCode"],
        "Contact": invoice["Contact"],
        **dated("Date", when),
        "LineItems": [_ledger_line(chance, line.product, quantity, line.vat_rate) for line, quantity in back],
        "UpdatedDateUTC": mark(ms(clock(when, 12))),
    }
    return totalled(doc, "credit_notes")


_COUNTRY_TEXTS = {
    "GB": ("GB", "UK", "United Kingdom", "GB", "England", "Great Britain"),
    "DE": ("DE", "Germany", "Deutschland"),
    "FR": ("FR", "France"),
    "NL": ("NL", "Netherlands", "The Netherlands"),
}


def client_row(face: Face, person: str) -> tuple[Any, ...]:
    """A row of legacy.clients; `person` is whom to speak to there, possibly nobody."""
    chance = Chance(int(face.id[1:]), 1.0)
    year, month, day = face.since.split("-")
    return (
        face.id,
        person,
        face.name,
        typed_vat(chance, face.vat),
        typed_phone(chance, face.phone),
        face.email,
        address_block(face.address),
        face.country_text or chance.random.choice(_COUNTRY_TEXTS[face.address.country]),
        f"{day}/{month}/{year}",
        _STATUS_CODE.get(face.status or "", face.status),
        face.changed,
        "Y" if face.is_deleted else "N",
    )


def address_block(address: Address) -> str:
    """An address as lines: town and postcode in the order of the country."""
    town = f"{address.city}\n{address.postcode}" if address.country == "GB" else f"{address.postcode} {address.city}"
    return "\n".join(part for part in (address.extra, address.street, town) if part)


def order_row(order: Order) -> tuple[Any, ...]:
    """A row of legacy.orders."""
    return (
        order.number,
        order.client.id,
        order.date_text or order.placed.strftime("%d/%m/%Y"),
        order.currency,
        order.state,
        "Y" if order.is_marked_paid else "N",
        order.shipped_on.strftime("%d/%m/%Y") if order.shipped_on else None,
        order.changed,
        order.taken_by or None,
        order.ship_code,
        "Y" if order.is_on_hold else "N",
    )


def line_rows(order: Order) -> list[tuple[Any, ...]]:
    """The order's rows of legacy.order_lines."""
    return [
        (
            order.number,
            line.number,
            line.product.sku,
            line.quantity,
            line.shipped,
            line.product.price,
            line.vat_rate,
            order.changed,
        )
        for line in order.lines
    ]
