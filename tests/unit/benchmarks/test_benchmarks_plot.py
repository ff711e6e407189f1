"""The plot of the loads shows each side's time for a customer, whatever was measured."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from benchmarks.load import plot


def measured(rows: int, **seconds: float) -> dict[str, Any]:
    loads = ("first", "no_change", "changed")
    return {
        "rows": rows,
        "sides": {side: {load: {"seconds": each} for load in loads} for side, each in seconds.items()},
    }


def test_a_line_is_the_time_for_a_customer_and_lacks_what_was_not_measured() -> None:
    found = plot.lines([measured(1_000_000, concord=200.0), measured(100_000, concord=20.0, dlt=10.0)])
    by_words = {line.words: line.points for line in found}
    assert by_words["Concord, first load"] == [(100_000, 200), (1_000_000, 200)]
    assert by_words["dlt, first load"] == [(100_000, 100)]


def test_the_picture_names_every_line_and_count() -> None:
    picture = plot.drawn(plot.lines([measured(100_000, concord=20.0, dlt=1.0), measured(3_000_000, concord=600.0)]))
    said = "".join(ElementTree.fromstring(picture).itertext())
    assert "Concord, first load" in said
    assert "dlt, no change" in said
    assert "3,000,000" in said
