"""What a target record holds at the paths that we write: read back the way it was written, for shadows and drift.

A path's native value is the target's own spelling of it. It is compared with what it read back after our last write,
never with what we sent, because targets trim, round and reformat (RELIABILITY P16).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import polars as pl

from canonical.mapping.decode import decode, decode_list
from canonical.mapping.outbound import OutboundProgram
from canonical.mapping.payloads import JsonKind, build_payloads

_PLACES: Final = 20
"""Decimal places up to which numbers are told apart: polars keeps 38 digits in all."""
_FINER: Final = rf"\.[0-9]{{{_PLACES},}}[1-9]"


def flat_json(frame: pl.DataFrame, paths: Iterable[str]) -> pl.Series:
    """One flat JSON object a row, as a String series: path → text or null."""
    names = list(paths)
    if not names:
        return pl.Series("json", ["{}"], dtype=pl.String).new_from_index(0, frame.height)
    return frame.select(pl.struct(names).struct.json_encode().alias("json"))["json"]


def from_flat_json(texts: pl.Series, paths: Iterable[str]) -> pl.DataFrame:
    """Flat JSON objects of text as one String column a path; null where an object does not name it, or is null."""
    names = dict.fromkeys(paths, pl.String)
    if not names or texts.is_empty():
        return pl.DataFrame(schema=names)
    return texts.str.json_decode(pl.Struct(names)).struct.unnest()


def native_values(payloads: Sequence[bytes], program: OutboundProgram) -> pl.Series:
    """One flat JSON object a record: target path → text, null where the record says nothing; lists as JSON text of the
    keys that we write, each element in the shape in which we write it, in the target's order."""
    plain = [w.path for w in program.work]
    columns = [decode(payloads, plain).frame] if plain else []
    for path, built in program.lists.items():
        kinds: dict[str, JsonKind] = {element.path: "string" for element in built.elements}
        elements = decode_list(payloads, path, list(kinds)).frame
        columns.append(_joined(elements, kinds, len(payloads)).alias(path).to_frame())
    frame = pl.concat(columns, how="horizontal") if columns else pl.DataFrame(height=len(payloads))
    return flat_json(frame, frame.columns).alias("native")


def _joined(elements: pl.DataFrame, kinds: dict[str, JsonKind], height: int) -> pl.Series:
    """The elements (with `_row`, the record they stand in) of each record as one JSON list; null where it has none."""
    texts = build_payloads(elements, kinds, elements.select(pl.col(list(kinds)).is_not_null()))
    lists = (
        elements.select("_row", pl.Series("text", texts, dtype=pl.String))
        .group_by("_row", maintain_order=True)
        .agg(pl.format("[{}]", pl.col("text").str.join(",")).alias("list"))
    )
    records = pl.int_range(height, dtype=pl.UInt32, eager=True).alias("_row").to_frame()
    return records.join(lists, on="_row", how="left", maintain_order="left")["list"]


def same_numbers(ours: pl.Series, theirs: pl.Series) -> pl.Series:
    """Where two columns of text are plainly the same number, however it is spelled; never null."""
    sides = pl.DataFrame({"ours": ours, "theirs": theirs})
    left, right = (pl.col(side).cast(pl.Decimal(38, _PLACES), strict=False) for side in sides.columns)
    is_finer = pl.any_horizontal(pl.all().str.contains(_FINER))
    return sides.select(((left == right) & ~is_finer).fill_null(value=False).alias("same"))["same"]


def same_lists(ours: pl.Series, theirs: pl.Series, keys: Sequence[str]) -> pl.Series:
    """Where two columns of JSON lists say the same at the `keys` of their elements: numbers by value, all else by its
    text, in order; an empty member is none. Never null."""
    left, right = _elements(ours, keys), _elements(theirs, keys)
    both = left.join(right, on=["_row", "_at"], how="full", suffix=":theirs")
    alike = pl.DataFrame(
        {k: both[k].eq_missing(both[f"{k}:theirs"]) | same_numbers(both[k], both[f"{k}:theirs"]) for k in keys}
    )
    paired = both["_row"].is_not_null() & both["_row:theirs"].is_not_null()
    differing = both.filter(~(paired & alike.select(pl.all_horizontal(pl.all())).to_series()))
    rows = differing.select(pl.coalesce("_row", "_row:theirs")).to_series()
    everyone = pl.int_range(len(ours), dtype=pl.UInt32, eager=True)
    return (~everyone.is_in(rows.implode()) & ours.is_not_null() & theirs.is_not_null()).alias("same")


def _elements(lists: pl.Series, keys: Sequence[str]) -> pl.DataFrame:
    """Every element of JSON lists: `_row` of its list, `_at` within it, and one String column a key."""
    wrapped = pl.select(pl.lit('{"lines":') + lists.fill_null("null") + pl.lit("}")).to_series()
    elements = decode_list([text.encode() for text in wrapped], "lines", keys).frame
    return elements.with_columns(pl.int_range(pl.len()).over("_row").alias("_at"))
