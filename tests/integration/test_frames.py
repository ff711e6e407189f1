"""Whole batches to PostgreSQL and back: what is read is what was written, in however many parts it went."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from staging import frames
from staging.engine import transaction
from tests.fixtures.database import TestDatabase

TEXTS = [
    "plain", "", None, '"', '""', "a,b", "two\nlines", "\r", "\\.", "\\N", "NULL", " ", "\t", "Ünïcödé", "日本", "'",
    "{}", "x" * 5000, "\u2028", "0", "false",
]  # fmt: skip
SCHEMA: dict[str, Any] = {"n": pl.Int64, "said": pl.String, "names": pl.List(pl.String), "is_so": pl.Boolean}
COLUMNS = {"n": "bigint", "said": "text", "names": "text[]", "is_so": "boolean"}


@pytest.mark.parametrize(("rows", "size"), [(1, 1), (2, 40), (7, 6000), (10_000, 1 << 30)])
def test_what_is_read_is_what_was_written(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch, rows: int, size: int
) -> None:
    monkeypatch.setattr(frames, "AT_ONCE_ROWS", rows)
    monkeypatch.setattr(frames, "AT_ONCE_BYTES", size)
    written = pl.DataFrame(
        {
            "n": range(len(TEXTS)),
            "said": TEXTS,
            "names": [None, [], ["a"], ["a", "b_c"]] * 5 + [None],
            "is_so": [True, False, None] * 7,
        },
        schema=SCHEMA,
    )
    with transaction(database.engine) as conn:
        table = frames.temporary(conn, "there", COLUMNS, written)
        read = frames.read_frame(
            conn, f"select n, said, array_to_json(names)::text, is_so from {table} order by n", SCHEMA
        )
        none = frames.read_frame(conn, f"select n, said from {table} where false", {"n": pl.Int64, "said": pl.String})
    assert read.equals(written)
    assert (none.height, none.columns) == (0, ["n", "said"])
