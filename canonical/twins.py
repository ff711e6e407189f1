"""Records of one page that share an id: which version counts, and when nobody can tell (RELIABILITY, inputs 3 and 4).

The same bytes twice are a repetition. Different bytes are versions of one record, and the later change mark tells which
is current; without marks, or with the same one, both are refused, because keeping either would be a guess. Ids that
differ in case alone may be one record or two, and that cannot be told either.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

TWO_VERSIONS = "this id stands twice in one page with different content, and no change mark says which is later"
ONLY_CASE = "this id differs from another of this stream only in upper and lower case"


def contested(ids: Sequence[str], hashes: Sequence[int], changed: Sequence[str | None]) -> list[int]:
    """The positions in a page of records whose current version cannot be told; `hashes` are those of their bytes."""
    if len(set(ids)) == len(ids):
        return []
    rows = pl.DataFrame(
        {"id": list(ids), "hash": list(hashes), "mark": list(changed)},
        schema={"id": pl.String, "hash": pl.Int64, "mark": pl.String},
    ).with_row_index("row")
    latest = rows.filter(pl.col("mark").eq_missing(pl.col("mark").max().over("id")))
    unclear = latest.group_by("id").agg(pl.col("hash").n_unique().alias("versions")).filter(pl.col("versions") > 1)
    return rows.join(unclear, on="id", how="semi").sort("row")["row"].to_list()


def alike_but_for_case(ids: Sequence[str], known: Sequence[str] = ()) -> list[int]:
    """The positions of ids that another id, of the page or of those `known`, equals but for upper and lower case."""
    folded = [i.casefold() for i in ids]
    if not known and len(set(folded)) == len(set(ids)):
        return []
    spellings: dict[str, set[str]] = {}
    for fold, spelled in zip((*folded, *(k.casefold() for k in known)), (*ids, *known), strict=True):
        spellings.setdefault(fold, set()).add(spelled)
    return [row for row, fold in enumerate(folded) if len(spellings[fold]) > 1]
