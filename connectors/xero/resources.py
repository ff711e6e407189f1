"""The five streams as Xero names them: path segments, id fields, what a deletion is, which parameters are known."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.paging import Shape, Splitter

BASE = "api.xro/2.0"
BATCH_SIZE = 50
PAGE_SIZE = 1_000
"""Most records a page (Xero's own clients say so; a smaller answer is walked as it comes)."""
IDS_AT_ONCE = 40
"""Ids in one `IDs` parameter: 40 UUIDs keep the URL under 2,000 characters."""
_UNIT_DECIMALS = {"unitdp": "4"}
"""Unit prices with four decimals instead of two."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One stream.

    status, gone     the field that says what state a record is in, and the states in which it no longer exists
    natural          the field by which a person knows a record: unique among live ones
    has_pages/ids/archived   whether `page`, `IDs`, `includeArchived` are parameters of its list
    ops              what can be done to it
    """

    stream: str
    segment: str
    id_field: str
    status: str | None
    gone: frozenset[str]
    natural: str
    ops: frozenset[str]
    has_pages: bool = True
    has_ids: bool = False
    has_archived: bool = False
    has_unit_decimals: bool = False

    @property
    def path(self) -> str:
        return f"{BASE}/{self.segment}"

    @property
    def decimals(self) -> dict[str, str]:
        return dict(_UNIT_DECIMALS) if self.has_unit_decimals else {}

    def splitter(self) -> Splitter:
        """Splits this resource's lists."""
        return Splitter(
            Shape(
                records=self.segment,
                key=(self.id_field,),
                changed="UpdatedDateUTC",
                deleted=(self.status, self.gone) if self.status and self.gone else None,
                envelope={"pages": "pagination.pageCount", "total": "pagination.itemCount"},
            )
        )


_FULL = frozenset({"create", "update", "archive"})
RESOURCES = {
    one.stream: one
    for one in (
        Resource(
            "contacts", "Contacts", "ContactID", "ContactStatus", frozenset({"ARCHIVED", "GDPRREQUEST"}), "Name", _FULL,
            has_ids=True, has_archived=True,
        ),
        Resource(
            "items", "Items", "ItemID", None, frozenset(), "Code", frozenset({"create", "update", "delete"}),
            has_pages=False, has_unit_decimals=True,
        ),
        Resource(
            "invoices", "Invoices", "InvoiceID", "Status", frozenset({"DELETED"}), "InvoiceNumber", _FULL,
            has_ids=True, has_archived=True, has_unit_decimals=True,
        ),
        Resource(
            "credit_notes", "CreditNotes", "CreditNoteID", "Status", frozenset({"DELETED"}), "CreditNoteNumber", _FULL,
            has_unit_decimals=True,
        ),
        Resource(
            "payments", "Payments", "PaymentID", "Status", frozenset(), "Reference", frozenset({"create", "archive"}),
        ),
    )
}  # fmt: skip
