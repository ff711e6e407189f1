"""What is landed of a whole stream, small enough to be held in memory while a sweep goes by.

Most of what a sweep reads is as it was. Told from memory, it costs neither a look into the database for each group of
pages nor a second look at its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from sqlalchemy import Connection, text

MOST = 5_000_000
"""Records of a stream up to which they are held: seventeen bytes each. Of a longer stream each group is looked up."""
PIECE = 20_000
"""Rows that the server joins to one value: a row by itself costs the client more than what is in it."""


class Heads:
    """The live records of a stream, each by a 64-bit hash of its id and the hash of its bytes (`raw_record.raw_hash`).

    It says of a record that it was landed as it is, and nothing else: whoever is not the same is looked up. To be taken
    for the same, a changed record would need the id hash of another one and the hash of that one's bytes as well. A
    record whose hash is taken away meanwhile, because we wrote to it, is as it was here and a change in the next
    reading."""

    def __init__(self, ids: npt.NDArray[np.uint64], hashes: npt.NDArray[np.int64]) -> None:
        """`ids`: hashes by polars, which are the same in one process."""
        order = np.argsort(ids)
        self._ids = ids[order]
        self._hashes = hashes[order]
        self._is_known = np.ones(len(ids), dtype=bool)

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
    line = "'\"' || replace(source_id, '\"', '\"\"') || '\",' || raw_hash"
    query = text(
        f"select string_agg(line, E'\\n') from (select {line} as line, row_number() over () / :piece as piece"
        " from landing.record where system = :system and stream = :stream and not deleted and raw_hash is not null) r"
        " group by piece"
    ).execution_options(stream_results=True, max_row_buffer=1)
    ids, hashes = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    schema = {"source_id": pl.String, "raw_hash": pl.Int64}
    for piece in conn.execute(query, {"system": system, "stream": stream, "piece": PIECE}).scalars():
        frame = pl.read_csv(piece.encode(), has_header=False, schema=schema)
        ids.append(frame["source_id"].hash().to_numpy())
        hashes.append(frame["raw_hash"].to_numpy())
    return Heads(np.concatenate(ids), np.concatenate(hashes))
