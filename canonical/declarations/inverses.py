"""Rows that ask for an `inverse` are given the rule that it stands for, or refused with the reason there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from canonical.declarations.shapes import nearest
from canonical.landscape import System
from canonical.mapping.functions.base import NoInverse
from canonical.mapping.inverse import INVERSE, inverse, is_asked, reading_row
from canonical.mapping.sheet import SheetRow
from canonical.model import Model
from canonical.problems import Problem


def with_inverses(
    sheet: Sequence[SheetRow], systems: Mapping[str, System], model: Model, timezone: str
) -> tuple[tuple[SheetRow, ...], list[Problem]]:
    """(the sheet with every `inverse` written out, what is wrong with those that cannot be and stay as they are)."""
    rows: list[SheetRow] = []
    problems: list[Problem] = []
    for row in sheet:
        if not is_asked(row) or row.system not in systems:
            rows.append(row)
            continue
        reads = reading_row(row, sheet)
        rows.append(row)
        if reads is None:
            problems.append(_unread(row, sheet))
            continue
        try:
            rule = inverse(reads, row.target_field, systems[row.system], model, timezone)
            rows[-1] = replace(row, rule=rule)
        except NoInverse as reason:
            expected = "the inverse of a row that can be undone (or the way back written out)"
            found = f"that of '{reads.rule[:60]}' in {reads.file}:{reads.line}: {reason}"
            problems.append(Problem(row.file, row.line, f"row {row.line}, column rule", expected, found))
    return tuple(rows), problems


def _unread(row: SheetRow, sheet: Sequence[SheetRow]) -> Problem:
    """Nothing reads the field, so that there is nothing to undo."""
    own = [one for one in sheet if one.direction == "inbound" and one.system == row.system]
    known = [source for one in own if one.target_field == row.source_field for source in one.sources]
    expected = f"a row that reads {row.target_field} of {row.system} into {row.source_field or 'a field'}"
    close = nearest(row.target_field, known)
    return Problem(row.file, row.line, f"row {row.line}, column rule", expected, f"none for '{INVERSE}'", close)
