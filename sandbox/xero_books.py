"""The ledger's records and rules: contacts, items, invoices, credit notes, payments. No HTTP here.

Documents are kept as the API shows them; a contact's balances are worked out when shown. Every write checks the
element as the vendor does and raises `Invalid` with the vendor's words where they are known.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sandbox.store import Doc, Store
from sandbox.xero_documents import (
    BANK_ACCOUNT,
    DEFAULT_DUE_DAYS,
    ID_FIELD,
    allocation_doc,
    empty_contact,
    empty_document,
    line_amounts,
    line_defaults,
    merge_kind,
    payment_doc,
    require_complete,
    totalled,
)
from sandbox.xero_values import Invalid, amount, dated, day, dec, mark, mark_ms, money

_MOVES = {
    "DRAFT": {"DRAFT", "SUBMITTED", "AUTHORISED", "DELETED"},
    "SUBMITTED": {"DRAFT", "SUBMITTED", "AUTHORISED", "DELETED"},
    "AUTHORISED": {"AUTHORISED", "VOIDED"},
    "PAID": {"PAID"},
    "VOIDED": {"VOIDED"},
    "DELETED": {"DELETED"},
}
_CONTACT_TEXT = {
    "ContactNumber": 50,
    "AccountNumber": 50,
    "Name": 255,
    "FirstName": 255,
    "LastName": 255,
    "CompanyNumber": 50,
    "EmailAddress": 255,
    "TaxNumber": 50,
}
_NAME_TAKEN = (
    "The contact name {0} is already assigned to another contact."
    " The contact name must be unique across all active contacts."
)


class Books:
    """One organisation's ledger."""

    def __init__(self, store: Store, default_due_days: int | None = DEFAULT_DUE_DAYS) -> None:
        """`default_due_days`: the organisation's own terms, for contacts without any; None: a due date must be sent."""
        self.store = store
        self.default_due_days = default_due_days
        self._names: dict[str, str] = {}
        self._of_contact: dict[str, set[str]] = defaultdict(set)
        for contact in store.stream("contacts").values():
            self._index_name(contact)
        for invoice in store.stream("invoices").values():
            self._of_contact[invoice["Contact"]["ContactID"]].add(invoice["InvoiceID"])

    # contacts

    def show_contact(self, contact: Doc) -> Doc:
        """A contact with its receivables: what its authorised invoices still have due, and how much of it is late."""
        outstanding = overdue = Decimal(0)
        today_ms = int(datetime.now(UTC).timestamp() * 1000)
        for invoice_id in self._of_contact.get(contact["ContactID"], ()):
            invoice = self.store.stream("invoices")[invoice_id]
            if invoice["Status"] == "AUTHORISED":
                outstanding += dec(invoice["AmountDue"])
                overdue += dec(invoice["AmountDue"]) if mark_ms(invoice.get("DueDate", "")) < today_ms else 0
        receivable = {"Outstanding": float(outstanding), "Overdue": float(overdue)}
        payable = {"Outstanding": 0.0, "Overdue": 0.0}
        balances = {"AccountsReceivable": receivable, "AccountsPayable": payable}
        return {**contact, "Balances": balances}

    def find_contact(self, wanted: Any) -> Doc | None:
        """The contact that an element points at, by ContactID, ContactNumber, or (active ones) Name."""
        if not isinstance(wanted, dict):
            return None
        contacts = self.store.stream("contacts")
        if wanted.get("ContactID"):
            return contacts.get(str(wanted["ContactID"]).lower())
        if number := wanted.get("ContactNumber"):
            return next((one for one in contacts.values() if one.get("ContactNumber") == number), None)
        return contacts.get(self._names.get(str(wanted.get("Name", "")).lower(), ""))

    def save_contact(self, wanted: Doc, can_update: bool) -> Doc:
        """Create or update one contact."""
        by_number = {name: wanted[name] for name in ("ContactID", "ContactNumber") if wanted.get(name)}
        old = self.find_contact(by_number) if by_number else None
        if wanted.get("ContactID") and old is None:
            raise Invalid("A contact with the specified ContactID could not be found.")
        if old is not None and not can_update:
            raise Invalid("A contact with this ContactNumber already exists.")
        for name, most in _CONTACT_TEXT.items():
            if len(str(wanted.get(name) or "")) > most:
                raise Invalid(f"The field {name} must be a string with a maximum length of {most}.")
        email = str(wanted.get("EmailAddress") or "")
        if email and ("@" not in email or " " in email.strip() or "." not in email.rpartition("@")[2]):
            raise Invalid("Email address must be valid.")
        base = old or {"ContactID": str(uuid.uuid4()), "ContactStatus": "ACTIVE", **empty_contact()}
        contact = {**base, **{name: value for name, value in wanted.items() if name in _WRITABLE_CONTACT}}
        if not str(contact.get("Name") or "").strip():
            raise Invalid("The Contact Name cannot be empty.")
        if wanted.get("ContactID"):
            contact["ContactID"] = base["ContactID"]
        contact["Addresses"] = merge_kind(base["Addresses"], wanted.get("Addresses"), "AddressType")
        contact["Phones"] = merge_kind(base["Phones"], wanted.get("Phones"), "PhoneType")
        holder = self._names.get(contact["Name"].lower())
        if contact["ContactStatus"] == "ACTIVE" and holder and holder != contact["ContactID"]:
            raise Invalid(_NAME_TAKEN.format(contact["Name"]))
        if old is not None and contact == old:
            return old
        return self.keep_contact(contact)

    def keep_contact(self, contact: Doc) -> Doc:
        """Store a contact with a new change mark and know it by its name."""
        old = self.store.get("contacts", contact["ContactID"])
        if old is not None and self._names.get(old["Name"].lower()) == old["ContactID"]:
            del self._names[old["Name"].lower()]
        contact = {**contact, "UpdatedDateUTC": mark(self.store.next_mark())}
        self.store.put("contacts", contact["ContactID"], contact)
        self._index_name(contact)
        return contact

    def _index_name(self, contact: Doc) -> None:
        if contact["ContactStatus"] == "ACTIVE":
            self._names.setdefault(contact["Name"].lower(), contact["ContactID"])

    # items

    def save_item(self, wanted: Doc, can_update: bool) -> Doc:
        """Create or update one item, known by ItemID or Code."""
        items = self.store.stream("items")
        code = str(wanted.get("Code") or "").strip()
        old = items.get(str(wanted.get("ItemID", ""))) or next(
            (one for one in items.values() if one["Code"] == code), None
        )
        if old is None and not code:
            raise Invalid("Item Code must not be empty.")
        if old is not None and not can_update:
            raise Invalid(f"Price List Item with Code '{code}' already exists")
        if len(code) > 30 or len(str(wanted.get("Name") or "")) > 50:
            raise Invalid("Item Code can be 30 characters and Name 50 characters at most.")
        base = old or {
            "ItemID": str(uuid.uuid4()),
            "Code": code,
            "IsSold": True,
            "IsPurchased": False,
            "PurchaseDetails": {},
        }
        item = {**base, **{name: wanted[name] for name in _WRITABLE_ITEM if name in wanted}}
        if details := wanted.get("SalesDetails"):
            if "UnitPrice" in details:
                details = {**details, "UnitPrice": float(amount(details["UnitPrice"], "UnitPrice"))}
            item["SalesDetails"] = {**base.get("SalesDetails", {}), **details}
        if old is not None and item == old:
            return old
        item["UpdatedDateUTC"] = mark(self.store.next_mark())
        self.store.put("items", item["ItemID"], item)
        return item

    # invoices and credit notes

    def save_invoice(self, wanted: Doc, can_update: bool) -> Doc:
        """Create or update one sales invoice."""
        return self._save_document(wanted, can_update, "invoices")

    def save_credit_note(self, wanted: Doc, can_update: bool) -> Doc:
        """Create or update one credit note."""
        return self._save_document(wanted, can_update, "credit_notes")

    def _save_document(self, wanted: Doc, can_update: bool, stream: str) -> Doc:
        id_field = ID_FIELD[stream]
        number_field = id_field.replace("ID", "Number")
        old = self._find_document(wanted, stream)
        if old is not None and not can_update:
            raise Invalid("Invoice # must be unique." if stream == "invoices" else "Credit Note # must be unique.")
        if wanted.get(id_field) and old is None:
            raise Invalid(f"A document with the specified {id_field} could not be found.")
        base = old or empty_document(stream)
        state = str(wanted.get("Status") or base["Status"])
        if state not in _MOVES.get(base["Status"], set()) or (old is None and state in ("VOIDED", "DELETED", "PAID")):
            raise Invalid(f"Invalid status change: from {base['Status']} to {state}.")
        is_settled = bool(base.get("AmountPaid") or base.get("AmountCredited") or base.get("AppliedAmount"))
        if is_settled and (state == "VOIDED" or {"LineItems", "Contact", "CurrencyCode"} & wanted.keys()):
            raise Invalid("This document cannot be edited as it has a payment or credit note allocated to it.")
        doc = {**base, "Status": state}
        for name in ("Reference", "CurrencyCode", "LineAmountTypes", "SentToContact", "Url", number_field):
            if wanted.get(name) is not None:
                doc[name] = wanted[name]
        if wanted.get("Type", doc["Type"]) != doc["Type"]:
            raise Invalid(f"Type: only {doc['Type']} is kept here; found {wanted['Type']}")
        if old is None and not wanted.get("Type"):
            raise Invalid("Type: A valid type must be specified.")
        self._set_contact(doc, wanted, is_new=old is None)
        for name in ("Date", "DueDate"):
            if wanted.get(name):
                doc |= dated(name, day(wanted[name], name))
        if "LineItems" in wanted or old is None:
            doc["LineItems"] = self._lines(wanted.get("LineItems") or [], doc, stream)
        if stream == "invoices" and not doc.get("DueDate"):
            self._set_due_date(doc)
        require_complete(doc, stream)
        return self._keep_document(totalled(doc, stream), old, stream)

    def _find_document(self, wanted: Doc, stream: str) -> Doc | None:
        id_field, docs = ID_FIELD[stream], self.store.stream(stream)
        if wanted.get(id_field):
            return docs.get(str(wanted[id_field]).lower())
        number_field = id_field.replace("ID", "Number")
        number = wanted.get(number_field)
        dead = {"VOIDED", "DELETED"}
        return next(
            (one for one in docs.values() if number and one.get(number_field) == number and one["Status"] not in dead),
            None,
        )

    def _set_contact(self, doc: Doc, wanted: Doc, is_new: bool) -> None:
        if not is_new and "Contact" not in wanted:
            return
        pointed = wanted.get("Contact")
        contact = self.find_contact(pointed)
        if contact is None and isinstance(pointed, dict) and pointed.get("Name") and not pointed.get("ContactID"):
            contact = self.save_contact({"Name": pointed["Name"]}, can_update=False)  # the vendor does this too
        if contact is None:
            raise Invalid("The Contact could not be found: expected a ContactID, ContactNumber or Name of a contact.")
        if contact["ContactStatus"] != "ACTIVE":
            raise Invalid("The contact is archived; documents need an active contact.")
        doc["Contact"] = {"ContactID": contact["ContactID"], "Name": contact["Name"]}

    def _set_due_date(self, doc: Doc) -> None:
        """The contact's terms, else the organisation's."""
        terms = self.store.stream("contacts")[doc["Contact"]["ContactID"]].get("PaymentTerms", {}).get("Sales", {})
        days = terms.get("Day") if terms.get("Type") == "DAYSAFTERBILLDATE" else self.default_due_days
        if days is not None:
            doc |= dated("DueDate", day(doc["Date"], "Date") + timedelta(days=days))

    def _lines(self, wanted: Any, doc: Doc, stream: str) -> list[Doc]:
        if not isinstance(wanted, list):
            raise Invalid("LineItems must be a list.")
        known = {line["LineItemID"]: line for line in doc.get("LineItems", ())}
        items = {item["Code"]: item for item in self.store.stream("items").values()}
        lines = []
        for one in wanted:
            line = {
                **known.get(str(one.get("LineItemID")), {}),
                **{name: one[name] for name in _WRITABLE_LINE if name in one},
            }
            line.setdefault("LineItemID", str(uuid.uuid4()))
            if line.get("ItemCode") and line["ItemCode"] not in items:
                raise Invalid(f"Item code '{line['ItemCode']}' is not valid")
            line = {**line_defaults(line, items.get(line.get("ItemCode", ""))), **line}
            line |= line_amounts(line, one, doc["LineAmountTypes"])
            lines.append({**line, "Tracking": []})
        return lines

    def _keep_document(self, doc: Doc, old: Doc | None, stream: str) -> Doc:
        if old is not None and doc == old:
            return old
        id_field = ID_FIELD[stream]
        if not doc.get(id_field.replace("ID", "Number")):
            prefix = "INV" if stream == "invoices" else "CN"
            number = int(self.store.meta(f"next:{stream}") or 90_001)
            self.store.set_meta(f"next:{stream}", str(number + 1))
            doc[id_field.replace("ID", "Number")] = f"{prefix}-{number:05d}"
        self._stamp(doc)
        self.store.put(stream, doc[id_field], doc)
        if stream == "invoices":
            self._of_contact[doc["Contact"]["ContactID"]].add(doc["InvoiceID"])
            if old is not None and old["Contact"]["ContactID"] != doc["Contact"]["ContactID"]:
                self._of_contact[old["Contact"]["ContactID"]].discard(doc["InvoiceID"])
        self.touch_contacts({doc["Contact"]["ContactID"], *([old["Contact"]["ContactID"]] if old else [])})
        return doc

    def _stamp(self, doc: Doc) -> None:
        epoch_ms = self.store.next_mark()
        doc["UpdatedDateUTC"] = mark(epoch_ms)
        if "UpdatedDateUTCString" in doc:
            doc["UpdatedDateUTCString"] = datetime.fromtimestamp(epoch_ms // 1000, UTC).isoformat(" ")

    def touch_contacts(self, contact_ids: Iterable[str]) -> None:
        """A contact's change mark moves with its balance."""
        for contact_id in contact_ids:
            contact = self.store.stream("contacts")[contact_id]
            self.store.put("contacts", contact_id, {**contact, "UpdatedDateUTC": mark(self.store.next_mark())})

    # payments and allocations

    def save_payment(self, wanted: Doc, _: bool) -> Doc:
        """A payment against an authorised invoice: lowers what is due; at zero the invoice is PAID."""
        pointed = wanted.get("Invoice") or {"InvoiceNumber": wanted.get("InvoiceNumber")}
        invoice = self._find_document(pointed, "invoices") if isinstance(pointed, dict) else None
        if invoice is None:
            raise Invalid("Payment must be made against an existing invoice.")
        if invoice["Status"] != "AUTHORISED":
            raise Invalid("Payments can only be made against Authorised documents")
        account = wanted.get("Account") or {}
        if account.get("Code") != BANK_ACCOUNT["Code"] and account.get("AccountID") != BANK_ACCOUNT["AccountID"]:
            raise Invalid(f"Account could not be found: expected Code {BANK_ACCOUNT['Code']}.")
        paid = money(amount(wanted.get("Amount"), "Amount"))
        if paid <= 0:
            raise Invalid("Payment amount must be greater than zero")
        if paid > dec(invoice["AmountDue"]):
            raise Invalid("Payment amount exceeds the amount outstanding on this document")
        when = day(wanted.get("Date") or datetime.now(UTC).date().isoformat(), "Date")
        payment = payment_doc(str(uuid.uuid4()), invoice, paid, dated("Date", when), str(wanted.get("Reference") or ""))
        self._stamp(payment)
        self.store.put("payments", payment["PaymentID"], payment)
        short = {name: payment[name] for name in ("PaymentID", "Date", "Amount", "Reference")}
        self._settle({**invoice, "Payments": [*invoice["Payments"], short]}, dated("FullyPaidOnDate", when))
        return payment

    def delete_payment(self, payment: Doc) -> Doc:
        """Take a payment back; its invoice is due again."""
        if payment["Status"] == "DELETED":
            raise Invalid("The payment has already been deleted.")
        payment = {**payment, "Status": "DELETED"}
        self._stamp(payment)
        self.store.put("payments", payment["PaymentID"], payment)
        invoice = self.store.stream("invoices")[payment["Invoice"]["InvoiceID"]]
        kept = [one for one in invoice["Payments"] if one["PaymentID"] != payment["PaymentID"]]
        self._settle({**invoice, "Payments": kept, "Status": "AUTHORISED"}, {})
        return payment

    def allocate(self, credit_note: Doc, wanted: Doc) -> Doc:
        """Set some of a credit note against an invoice."""
        invoice = self._find_document(wanted.get("Invoice") or {}, "invoices")
        if invoice is None or invoice["Status"] != "AUTHORISED" or credit_note["Status"] != "AUTHORISED":
            raise Invalid("Allocations need an authorised credit note and an authorised invoice.")
        used = money(amount(wanted.get("Amount"), "Amount"))
        if not 0 < used <= min(dec(credit_note["RemainingCredit"]), dec(invoice["AmountDue"])):
            raise Invalid("Allocation amount exceeds the remaining credit or the amount due on the invoice.")
        when = dated("Date", day(wanted.get("Date") or datetime.now(UTC).date().isoformat(), "Date"))
        allocation = allocation_doc(str(uuid.uuid4()), invoice, used, when)
        note = {**credit_note, "Allocations": [*credit_note["Allocations"], allocation]}
        note = totalled(note, "credit_notes")
        note["Status"] = "PAID" if not note["RemainingCredit"] else "AUTHORISED"
        self._stamp(note)
        self.store.put("credit_notes", note["CreditNoteID"], note)
        short = {"CreditNoteID": note["CreditNoteID"], "CreditNoteNumber": note["CreditNoteNumber"]}
        applied = {**short, "AppliedAmount": float(used), "Total": note["Total"], **when}
        self._settle({**invoice, "CreditNotes": [*invoice["CreditNotes"], applied]}, {})
        return allocation

    def _settle(self, invoice: Doc, fully_paid_on: Doc) -> None:
        invoice = totalled(invoice, "invoices")
        if not dec(invoice["AmountDue"]):
            invoice = {
                **invoice,
                "Status": "PAID",
                **{key: fully_paid_on[key] for key in fully_paid_on if key[-6:] != "String"},
            }
        self._stamp(invoice)
        self.store.put("invoices", invoice["InvoiceID"], invoice)
        self.touch_contacts({invoice["Contact"]["ContactID"]})


_WRITABLE_CONTACT = {*_CONTACT_TEXT, "ContactStatus", "PaymentTerms", "IsCustomer", "IsSupplier", "DefaultCurrency"}
_WRITABLE_ITEM = {"Code", "Name", "Description", "IsSold", "IsPurchased", "PurchaseDescription", "PurchaseDetails"}
_WRITABLE_LINE = {
    "LineItemID",
    "Description",
    "Quantity",
    "UnitAmount",
    "ItemCode",
    "AccountCode",
    "TaxType",
    "DiscountRate",
}
