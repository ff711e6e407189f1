"""A party as JSON that is the same on every read, whatever order and shapes the server chose that day.

Members are sorted, `__name__` is left out, dates are ISO 8601 text (times in UTC), decimals keep their digits as text,
`active` is a boolean. One member is added: `tax_identifier.full`, the number with its country's prefix, which Tryton
keeps apart from the number for national kinds (`gb_vat` holds "980 7806 84").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from connectors.protocol import SourceRecord

LINES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "addresses": (
        "party.address",
        ("id", "active", "party_name", "attn", "street", "postal_code", "city", "country.code", "subdivision.code"),
    ),
    "contact_mechanisms": ("party.contact_mechanism", ("id", "active", "type", "value", "name")),
    "identifiers": ("party.identifier", ("id", "active", "type", "code", "code_compact")),
}
"""The lists inside a party: their model and the fields that are read."""
MECHANISMS = ("email", "phone", "mobile", "fax", "website")
"""Fields of a party that show its first contact mechanism of that type; Tryton lets nobody change them."""
FIELDS = (
    "id", "name", "code", "active", "create_date", "write_date", *MECHANISMS,
    "tax_identifier.type", "tax_identifier.code", "tax_identifier.code_compact",
    *(f"{name}.{field}" for name, (_, fields) in LINES.items() for field in fields),
)  # fmt: skip
_ENCODER = msgspec.json.Encoder(order="deterministic")
_NOT_DIGITS = re.compile(r"[^0-9A-Za-z]")


def as_record(found: Mapping[str, Any]) -> SourceRecord:
    """A party of the API as a record; archived ones are stated as gone."""
    cleaned = cleaned_party(found)
    changed = cleaned.get("write_date") or cleaned.get("create_date")
    return SourceRecord(str(found["id"]), _ENCODER.encode(cleaned), changed, cleaned.get("active") is False)


def cleaned_party(found: Mapping[str, Any]) -> dict[str, Any]:
    """The party's members in their stable form."""
    party: dict[str, Any] = _cleaned(found)
    tax = party.get("tax_identifier")
    if isinstance(tax, dict):
        tax["full"] = full_number(str(tax.get("type") or ""), str(tax.get("code_compact") or tax.get("code") or ""))
    return party


def _cleaned(value: Any) -> Any:
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("__class__")
    if kind is not None:
        return _scalar(kind, value)
    cleaned = {name: _cleaned(item) for name, item in value.items() if name != "__name__"}
    if "active" in cleaned:
        cleaned["active"] = bool(cleaned["active"])
    return cleaned


def _scalar(kind: str, value: Mapping[str, Any]) -> Any:
    """Tryton's JSON for what JSON has no form of."""
    if kind == "datetime":
        return (
            f"{value['year']:04d}-{value['month']:02d}-{value['day']:02d}T{value['hour']:02d}:{value['minute']:02d}"
            f":{value['second']:02d}.{value['microsecond']:06d}Z"
        )
    if kind == "date":
        return f"{value['year']:04d}-{value['month']:02d}-{value['day']:02d}"
    if kind == "Decimal":
        return str(value["decimal"])
    return {name: item for name, item in value.items() if name != "__class__"}


def compact(number: str) -> str:
    """A number without blanks and signs, as Tryton compares them."""
    return _NOT_DIGITS.sub("", number).upper()


def full_number(kind: str, number: str) -> str:
    """A tax number with its country's prefix: `gb_vat` keeps it apart, `eu_vat` holds it."""
    bare = compact(number)
    prefix = kind[:2].upper() if kind[2:3] == "_" and kind != "eu_vat" else ""
    return bare if bare.startswith(prefix) else prefix + bare
