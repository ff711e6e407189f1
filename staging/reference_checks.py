"""Impossibilities that only show beside another record: a credit above its invoice, a payment before it was issued.

They read the staging area, so they are made here and handed to the gate as further checks (DESIGN 5.3). A reference in
a candidate is a token (`canonical.model.Token`); what it points to may not be staged yet, then nothing is said.
"""

from __future__ import annotations

from canonical.check_values import Check
from canonical.model import Entity, Model
from staging.frames import ident


def reference_checks(entity: Entity, model: Model) -> tuple[Check, ...]:
    """The checks that this model's fields allow for an entity."""
    found: list[Check] = []
    if _has(entity, "kind", "credits", "gross") and entity.references.get("credits") == entity.name:
        found.append(
            Check(
                "credit_not_above_invoice",
                "cross_field",
                ("gross", "credits"),
                _none(entity, "credits", "candidate.kind = 'credit_note' and candidate.gross > other.gross"),
                "A credit note is not above the invoice that it takes back",
            )
        )
    target = entity.references.get("invoice")
    if target and _has(entity, "paid_on") and _has(model[target], "issued_on"):
        found.append(
            Check(
                "not_paid_before_issued",
                "cross_field",
                ("paid_on", "invoice"),
                _none(model[target], "invoice", "candidate.paid_on < other.issued_on"),
                "Nothing is paid before it was billed",
            )
        )
    return tuple(found)


def _has(entity: Entity, *columns: str) -> bool:
    return all(c in entity.by_column for c in columns)


def _none(other: Entity, token: str, contradiction: str) -> str:
    """True where the staged record that the token names does not contradict the candidate."""
    part = f"(candidate.{ident(token)}::json ->> %s)"
    return (
        f"not exists (select from {ident('staging', other.name)} as other where other.system = {part % 1}"
        f" and other.stream = {part % 2} and other.source_id = {part % 3} and ({contradiction}))"
    )
