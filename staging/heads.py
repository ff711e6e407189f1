"""What is landed of a whole stream, small enough to be held in memory while a sweep goes by.

Most of what a sweep reads is as it was. Told from memory, it costs neither a look into the database for each group of
pages nor a second look at its bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from sqlalchemy import Connection, text

MOST = 5_000_000
"""Records of a stream up to which they are held: sixteen bytes each. Of a longer stream each group is looked up."""
PIECE = 5_000
"""Rows that the server joins to one value: a row by itself costs the client more than what is in it."""


class Heads:
    """The live records of a stream, each by a 64-bit hash of its id and the hash of its bytes (`raw_record.raw_hash`).

    It says of a record that it is as it was landed, and nothing else: whoever is not the same is looked up. To be taken
    for the same, a changed record would need the id hash of another one and the hash of that one's bytes as well."""

    def __init__(self, ids: pl.Series, hashes: pl.Series) -> None:
        hashed = ids.hash().to_numpy()
        order = np.argsort(hashed)
        self._ids: npt.NDArray[np.uint64] = hashed[order]
        self._hashes: npt.NDArray[np.int64] = hashes.to_numpy()[order]
        self._is_known: npt.NDArray[np.bool_] = np.ones(len(hashed), dtype=bool)

    def __len__(self) -> int:
        return len(self._ids)

    def same(self, ids: Sequence[str], hashes: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Which of these records are landed with exactly these bytes."""
        if not len(self):
            return np.zeros(len(ids), dtype=bool)
        asked, place = self._places(ids)
        found: npt.NDArray[np.bool_] = (
            (self._ids[place] == asked) & (self._hashes[place] == np.asarray(hashes)) & self._is_known[place]
        )
        return found

    def leave(self, ids: Sequence[str]) -> None:
        """Forgets these records: what is landed of them may have changed since."""
        if len(self) and len(ids):
            asked, place = self._places(ids)
            self._is_known[place[self._ids[place] == asked]] = False

    def _places(self, ids: Sequence[str]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[Any]]:
        """The hash of each id, and where it would stand."""
        asked = pl.Series(ids, dtype=pl.String).hash().to_numpy()
        return asked, np.minimum(np.searchsorted(self._ids, asked), len(self) - 1)


def read(conn: Connection, system: str, stream: str) -> Heads:
    """The live records of a stream whose bytes are known."""
    quoted = "'\"' || replace(source_id, '\"', '\"\"') || '\",' || raw_hash"
    pieces = conn.execute(
        text(
            f"select string_agg({quoted}, E'\\n') from landing.record where system = :system and stream = :stream"
            " and not deleted and raw_hash is not null group by raw_id / :piece"
        ),
        {"system": system, "stream": stream, "piece": PIECE},
    ).scalars()
    buffer = io.BytesIO()
    for piece in pieces:
        buffer.write(piece.encode())
        buffer.write(b"\n")
    schema = {"source_id": pl.String, "raw_hash": pl.Int64}
    if not buffer.tell():
        return Heads(pl.Series(dtype=pl.String), pl.Series(dtype=pl.Int64))
    buffer.seek(0)
    frame = pl.read_csv(buffer, has_header=False, schema=schema)
    return Heads(frame["source_id"], frame["raw_hash"])
