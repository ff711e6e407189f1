"""The check as a value, and the few pieces of SQL text that checks are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CheckKind = Literal[
    "no_problems", "required", "range", "choice", "unique_in_batch", "cross_field", "lines_cross", "reference_known",
    "landscape", "volume",
]  # fmt: skip
OnFail = Literal["quarantine", "warn", "stop"]

CANDIDATES = "{candidates}"
"""Stands in a predicate for the batch itself, as a table expression: whoever runs the check puts it in."""
RECORD = ("system", "stream", "source_id")
"""The columns that say which source record a candidate is."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold for every row of a batch (for `volume`: for the batch)."""

    name: str
    """Unique within the entity; letters, digits and _ only. It is the `rule` of a quarantined row."""
    kind: CheckKind
    columns: tuple[str, ...]
    """The columns it judges; the first is the one a quarantined row names."""
    predicate: str
    """SQL (PostgreSQL) over the candidate columns: false for a bad row. Empty for `volume`."""
    means: str
    """What must hold, as one sentence for a person."""
    on_fail: OnFail = "quarantine"
    values: tuple[str, ...] = ()
    """For choice: the allowed values."""
    minimum: str | None = None
    maximum: str | None = None
    """For range: the bounds, inclusive, in canonical form. For volume: the fewest rows."""
    over: str = ""
    aggregate: str = ""
    """For a check of lines: the row's lines as a table, and an aggregate of it that is false for a bad row. Together
    they say the same as `predicate`; apart, all checks of one list can share one reading of its JSON."""


def identifier(name: str) -> str:
    """A name as SQL, always quoted."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL (standard_conforming_strings, PostgreSQL's default)."""
    return "'" + text.replace("'", "''") + "'"
