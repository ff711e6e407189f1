"""What systems and golden records hold, in a form that two runs can be compared by, and how far two runs are apart.

Judged from outside: documents of the twins' own stores and rows of the order database; only then what we keep.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from apps.proving.ground import Copy
from canonical.model import Model
from staging.engine import engine, transaction
from staging.standing import standing, texts

CHOSEN_BY_THE_SYSTEM = frozenset({
    "id", "gid", "createdAt", "updatedAt", "createdate", "lastmodifieddate", "hs_lastmodifieddate", "hs_object_id",
    "ContactID", "InvoiceID", "InvoiceNumber", "LineItemID", "ItemID", "PaymentID", "CreditNoteID",
    "CreditNoteNumber", "UpdatedDateUTC", "DateString", "associations", "last_changed", "archivedAt",
})  # fmt: skip
"""What a system chooses by itself when it stores something, and so may differ between two runs that did the same."""
CHOSEN_FIELDS = frozenset({("invoice", "number"), ("invoice", "lines"), ("payment", "reference")})
"""(entity, field) whose golden values come from there."""
STORED = {
    "crm": ("companies", "contacts"),
    "accounting": ("contacts", "items", "invoices", "payments"),
}
"""Twin → the streams that are compared."""
TABLES = ("clients", "orders", "order_lines")

Standing = dict[str, Counter[str]]


@dataclass(frozen=True)
class Difference:
    """How far a run's end is from that of a run that nobody disturbed, place by place."""

    missing: Mapping[str, list[str]] = field(default_factory=dict)
    too_many: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Records that are not there, or not as they should be."""
        return sum(map(len, self.missing.values()))

    @property
    def doubled(self) -> int:
        """Records beyond those that should be there; one that is only different counts as lost."""
        return sum(max(0, len(extra) - len(self.missing.get(place, ()))) for place, extra in self.too_many.items())

    def __bool__(self) -> bool:
        return bool(self.missing or self.too_many)

    def told(self, limit: int = 3) -> list[str]:
        """The first few of each place, in words."""
        said = []
        for word, places in (("missing", self.missing), ("too many", self.too_many)):
            for place, items in places.items():
                said += [f"{place}: {word}: {item[:300]}" for item in items[:limit]]
        return said


def end_state(copy: Copy) -> Standing:
    """Everything that the systems of a copy and its golden records hold."""
    legacy_rows = copy.legacy_rows if copy.twins.databases else None
    return held(copy.twins.http, copy.stored, legacy_rows, copy.landscape.model)


def held(
    http: Mapping[str, str],
    stored: Callable[[str, str], dict[str, Any]],
    legacy_rows: Callable[[str], list[dict[str, Any]]] | None,
    model: Model,
) -> Standing:
    """Everything that systems and golden records hold, place by place, as a multiset of comparable texts.

    http: system → its twin. stored: the documents of a system's stream by id. legacy_rows: of a table, where there is
    the order database."""
    found: Standing = {}
    for system, twin in http.items():
        streams = {stream: stored(system, stream) for stream in STORED.get(twin, ())}
        if twin == "crm":
            _name_companies(streams)
        found |= {f"{system}/{t}": texts(docs.values(), CHOSEN_BY_THE_SYSTEM) for t, docs in streams.items()}
    if legacy_rows is not None:
        found |= {f"legacy/{t}": texts(legacy_rows(t), CHOSEN_BY_THE_SYSTEM) for t in TABLES}
    with transaction(engine("app")) as conn:
        return found | standing(conn, model, CHOSEN_FIELDS)


def ignoring(standing_of: Standing, members: frozenset[str]) -> Standing:
    """The same with some members of documents left out."""
    if not members:
        return standing_of
    found: Standing = {}
    for place, some in standing_of.items():
        plain = ((texts([json.loads(text)], members), count) for text, count in some.items())
        found[place] = Counter()
        for one, count in plain:
            found[place].update(dict.fromkeys(one, count))
    return found


def _name_companies(stored: dict[str, dict[str, Any]]) -> None:
    """People of the CRM with the names of their companies in place of the ids."""
    names = {i: doc["properties"]["name"] for i, doc in stored["companies"].items()}
    for person in stored["contacts"].values():
        person["companies"] = sorted(str(names.get(i, i)) for i in person.get("companies", ()))


def difference(expected: Standing, found: Standing) -> Difference:
    """What a run's end lacks, and what it has besides."""
    places = sorted(expected.keys() | found.keys())
    empty: Counter[str] = Counter()
    missing = {p: sorted((expected.get(p, empty) - found.get(p, empty)).elements()) for p in places}
    extra = {p: sorted((found.get(p, empty) - expected.get(p, empty)).elements()) for p in places}
    return Difference({p: v for p, v in missing.items() if v}, {p: v for p, v in extra.items() if v})
