"""Every source field is mapped, ignored by name, or reported."""

from __future__ import annotations

from typing import Any

from canonical.landscape import System
from canonical.mapping.program import mapping_report


def test_every_path_is_accounted_for(sheet: Any, crm: System) -> None:
    rows = sheet("""
        contacts.p.email -> customer.email
        contacts.addr -> customer.note
        contacts.Phones[PhoneType=DEFAULT].Number -> customer.phone
        contacts.gone -> customer.memo
        contacts.p.hs_* -> -
        contacts.meta.* -> -
        contacts.flag -> -
        orders.p.other -> order.number
    """)
    seen = [
        "id", "updatedAt", "p.email", "addr.city", "Phones[].Number", "Phones[].Kind", "p.hs_score", "meta.a.b", "meta",
        "flag", "p.other", "p",
    ]  # fmt: skip
    report = mapping_report(rows, crm, crm.streams["contacts"], seen)
    assert report.mapped["p.email"] == ("customer.email",)
    assert report.ignored == ("p.hs_score", "meta.a.b", "meta", "flag")
    assert report.unmapped == ("Phones[].Kind", "p.other", "p")
    assert report.unseen == ("gone",)


def test_the_parents_id_is_read_by_the_engine(sheet: Any, crm: System) -> None:
    report = mapping_report(
        sheet("order_lines.q -> order.lines.quantity"), crm, crm.streams["order_lines"], ["order", "n", "q"]
    )
    assert report.unmapped == ()
