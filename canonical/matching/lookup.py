"""Which known records must be fetched before new ones can be matched: equal identifiers, look-alikes' block keys."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from canonical.matching import normal
from canonical.model import LeafKind, MatchRules

IDENTIFIERS = {"key": pl.String, "kind": pl.String, "value": pl.String}
BLOCKS = {"key": pl.String, "block": pl.String}
_WORDS = 6
"""Most words of a name that make block keys; what follows in longer names is seldom the telling part."""


def identifiers(frame: pl.DataFrame, rules: MatchRules, kinds: Mapping[str, LeafKind] | None = None) -> pl.DataFrame:
    """The values by which records find each other: frame(key, <rules.columns>) → (key, kind, value), no repeats.

    `kind` is the leaf column (unique, strong and shared ones), `value` its normal form: equal values are candidates,
    nothing more. `kinds` is not needed to find normal forms; it is accepted so that callers need not know that.
    """
    columns = dict.fromkeys((*rules.unique, *rules.strong, *rules.shared))
    parts = [
        frame.select("key", pl.lit(c).alias("kind"), normal.identifier(c).alias("value")).drop_nulls("value")
        for c in columns
    ]
    return pl.concat([pl.DataFrame(schema=IDENTIFIERS), *parts]).unique(maintain_order=True)


def block_keys(frame: pl.DataFrame, rules: MatchRules) -> pl.DataFrame:
    """Keys under which look-alikes are found: frame(key, <rules.columns>) → (key, block), no repeats.

    A key depends on its own record only, so it may be stored. Blocks are words of the name (`n:`), pairs of their first
    four letters (`2:`), the whole name without spaces (`w:`), and each other compared column's value (`postcode:`…).
    Frequent blocks are useless: look up none that more than `pairs.MOST_IN_BLOCK` records hold. Without `rules.alike`
    nothing is alike: no keys.
    """
    if not rules.alike:
        return pl.DataFrame(schema=BLOCKS)
    names = frame.select("key", normal.full_name(rules).alias("name")).drop_nulls("name")
    words = names.select("key", pl.col("name").str.split(" ").list.unique().list.sort().list.head(_WORDS)).explode(
        "name"
    )
    starts = words.select("key", pl.col("name").str.slice(0, 4)).unique()
    pairs = starts.join(starts, on="key", suffix=":b").filter(pl.col("name") < pl.col("name:b"))
    parts = [
        words.filter(pl.col("name").str.len_chars() >= 3).select("key", ("n:" + pl.col("name")).alias("block")),
        pairs.select("key", ("2:" + pl.col("name") + "|" + pl.col("name:b")).alias("block")),
        names.select("key", ("w:" + pl.col("name").str.replace_all(" ", "")).alias("block")),
    ]
    for column in _telling(rules):
        value = normal.identifier(column)
        parts.append(
            frame.select("key", (f"{column}:" + value).alias("block")).drop_nulls("block"),
        )
    return pl.concat(parts).unique().sort("key", "block")


def _telling(rules: MatchRules) -> list[str]:
    """Compared columns narrow enough to block on: not the name, not a town, a country or a line of an address."""
    wide = ("city", "region", "country", "line1", "line2", "status", "currency")
    return [c for c in rules.alike if c not in normal.name_columns(rules) and not c.endswith(wide)]
