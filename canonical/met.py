"""Which of many conditions any row meets, and which rows: told in one evaluation, as most fields need no further look.

An operation on a frame has a price of its own however small the frame; a loop over fields pays it for each of them, a
sync of one record as much as one of ten thousand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl


def rows_meeting(rows: pl.DataFrame, conditions: Mapping[str, pl.Expr]) -> Iterator[tuple[str, pl.DataFrame]]:
    """(name, its rows) of each condition that any row meets, in their order; null is not met."""
    if rows.is_empty() or not conditions:
        return
    met = rows.select(condition.fill_null(False).alias(name) for name, condition in conditions.items())
    for name, is_any in met.select(pl.all().any()).row(0, named=True).items():
        if is_any:
            yield name, rows.filter(met[name])
