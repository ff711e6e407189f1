"""The ledger's documents as the API shows them: shapes, sums and the checks that need no other record. Pure."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sandbox.store import Doc
from sandbox.xero_values import Invalid, amount, dated, dec, money

ID_FIELD = {
    "contacts": "ContactID",
    "items": "ItemID",
    "invoices": "InvoiceID",
    "credit_notes": "CreditNoteID",
    "payments": "PaymentID",
}
TAX_RATES = {"OUTPUT2": Decimal(20), "RROUTPUT": Decimal(5), "ZERORATEDOUTPUT": Decimal(0), "NONE": Decimal(0)}
TAX_RATES["EXEMPTOUTPUT"] = TAX_RATES["ECZROUTPUT"] = Decimal(0)
BANK_ACCOUNT = {"AccountID": "13918178-849a-4823-9a31-57b7eac713d7", "Code": "090", "Name": "Business Account"}
SALES_ACCOUNT = "200"
DEFAULT_DUE_DAYS = 30
_TAX_OF_ACCOUNT = {SALES_ACCOUNT: "OUTPUT2"}


def empty_contact() -> Doc:
    """What a contact has before anything is said about it."""
    return {
        "Addresses": [],
        "Phones": [],
        "ContactGroups": [],
        "ContactPersons": [],
        "IsSupplier": False,
        "IsCustomer": False,
        "HasAttachments": False,
        "HasValidationErrors": False,
    }


def merge_kind(old: list[Doc], wanted: Any, kind: str) -> list[Doc]:
    """A list whose elements are known by their type: the wanted ones replace those of the same type."""
    if wanted is None:
        return old
    if not isinstance(wanted, list) or not all(isinstance(one, dict) and one.get(kind) for one in wanted):
        raise Invalid(f"Expected a list of elements, each with its {kind}.")
    merged = {one[kind]: one for one in old}
    for one in wanted:
        merged[one[kind]] = {**merged.get(one[kind], {}), **one}
    return list(merged.values())


def empty_document(stream: str) -> Doc:
    """A draft dated today with nothing in it, under a new id."""
    shared: Doc = {
        ID_FIELD[stream]: str(uuid.uuid4()),
        "Reference": "",
        "Payments": [],
        "Status": "DRAFT",
        "LineAmountTypes": "Exclusive",
        "CurrencyCode": "GBP",
        "CurrencyRate": 1.0,
        "HasAttachments": False,
        "HasErrors": False,
        **dated("Date", datetime.now(UTC).date()),
    }
    if stream == "invoices":
        return {
            **shared,
            "Type": "ACCREC",
            "CreditNotes": [],
            "Prepayments": [],
            "Overpayments": [],
            "IsDiscounted": False,
        }
    return {**shared, "Type": "ACCRECCREDIT", "Allocations": []}


def line_defaults(line: Doc, item: Doc | None) -> Doc:
    """What a line takes from its item, and its tax type from the account, where it does not say so itself."""
    details = (item or {}).get("SalesDetails", {})
    found = {
        "Description": (item or {}).get("Description"),
        "UnitAmount": details.get("UnitPrice"),
        "AccountCode": details.get("AccountCode"),
        "TaxType": details.get("TaxType") or _TAX_OF_ACCOUNT.get(str(line.get("AccountCode"))),
    }
    return {name: value for name, value in found.items() if value is not None}


def line_amounts(line: Doc, wanted: Doc, amount_types: str) -> Doc:
    """Quantity, LineAmount and TaxAmount of a line, checked against what was sent."""
    quantity = amount(line.get("Quantity", 1), "Quantity")
    unit = amount(line.get("UnitAmount", 0), "UnitAmount")
    expected = money(quantity * unit * (1 - dec(line.get("DiscountRate")) / 100))
    if "LineAmount" in wanted and money(amount(wanted["LineAmount"], "LineAmount")) != expected:
        raise Invalid(f"The line total {wanted['LineAmount']} does not match the expected line total {expected}")
    kind = str(line.get("TaxType") or "NONE")
    if kind not in TAX_RATES:
        raise Invalid(f"The TaxType code '{kind}' does not exist or cannot be used for this type of transaction.")
    rate = TAX_RATES[kind] / 100
    tax = money(expected * rate) if amount_types == "Exclusive" else money(expected - expected / (1 + rate))
    if amount_types == "NoTax":
        tax = Decimal(0)
    numbers = {"Quantity": quantity, "UnitAmount": unit, "LineAmount": expected, "TaxAmount": tax}
    return {"TaxType": kind, **{name: float(number) for name, number in numbers.items()}}


def require_complete(doc: Doc, stream: str) -> None:
    """What a document must have before it can be authorised."""
    if doc["Status"] not in ("SUBMITTED", "AUTHORISED"):
        return
    if not doc["LineItems"]:
        raise Invalid("One or more line items must be specified")
    if stream == "invoices" and not doc.get("DueDate"):
        raise Invalid("The document DueDate field must be specified.")
    for line in doc["LineItems"]:
        if not str(line.get("Description") or "").strip():
            raise Invalid("Description cannot be empty")
        if not line.get("AccountCode"):
            raise Invalid("Account code must be specified")


def totalled(doc: Doc, stream: str) -> Doc:
    """The document with its sums: from its lines, its payments and the credit set against it."""
    lines = doc.get("LineItems", [])
    net = sum((dec(line["LineAmount"]) for line in lines), Decimal(0))
    tax = sum((dec(line["TaxAmount"]) for line in lines), Decimal(0))
    gross = net if doc["LineAmountTypes"] == "Inclusive" else net + tax
    sums = {"SubTotal": gross - tax, "TotalTax": tax, "Total": gross}
    paid = sum((dec(one["Amount"]) for one in doc["Payments"]), Decimal(0))
    if stream == "invoices":
        credited = sum((dec(one["AppliedAmount"]) for one in doc["CreditNotes"]), Decimal(0))
        sums |= {"AmountPaid": paid, "AmountCredited": credited, "AmountDue": gross - paid - credited}
    else:
        applied = sum((dec(one["Amount"]) for one in doc["Allocations"]), Decimal(0))
        sums |= {"AppliedAmount": applied, "RemainingCredit": gross - paid - applied}
    return {**doc, **{name: float(money(value)) for name, value in sums.items()}}


def payment_doc(payment_id: str, invoice: Doc, paid: Decimal, when: Doc, reference: str) -> Doc:
    """A payment as the API shows it."""
    names = ("InvoiceID", "InvoiceNumber", "Type", "CurrencyCode")
    return {
        "PaymentID": payment_id,
        "Date": when["Date"],
        "Amount": float(paid),
        "BankAmount": float(paid),
        "Reference": reference,
        "CurrencyRate": 1.0,
        "PaymentType": "ACCRECPAYMENT",
        "Status": "AUTHORISED",
        "HasAccount": True,
        "IsReconciled": False,
        "Account": {"AccountID": BANK_ACCOUNT["AccountID"], "Code": BANK_ACCOUNT["Code"]},
        "Invoice": {**{name: invoice[name] for name in names}, "Contact": invoice["Contact"]},
        "HasValidationErrors": False,
    }


def allocation_doc(allocation_id: str, invoice: Doc, used: Decimal, when: Doc) -> Doc:
    """An allocation as the API shows it inside its credit note."""
    short = {"InvoiceID": invoice["InvoiceID"], "InvoiceNumber": invoice["InvoiceNumber"]}
    return {"AllocationID": allocation_id, "Amount": float(used), "Date": when["Date"], "Invoice": short}
