"""Pairs of records that may be one thing, and what speaks for and against each pair."""

from __future__ import annotations

from functools import reduce

import numpy as np
import polars as pl
from rapidfuzz import fuzz, process

from canonical.matching import normal
from canonical.matching.lookup import block_keys
from canonical.model import MatchRules

MOST_HOLDERS = 3
"""A strong value that more records of one stream hold is a switchboard, not an identity (DESIGN 3)."""
MOST_IN_BLOCK = 50
"""Blocks with more records than this tell nothing, and their pairs grow with the square."""
_MOST_PAIRED = 30
"""Holders of one identifier that are compared each with each; above, each is compared with the first only."""

# How a name speaks, in bits (log2 of how much likelier the pair is one thing than not). Set by hand against the
# labelled names and people of the test data; the order of the grades matters more than the figures.
NAME_BITS = {"equal": 9.0, "variant": 7.5, "part": 6.0, "similar": 4.5, "weak": 1.0, "different": -6.0}
PRIOR_BITS = -7.0
"""Two records that share a block are one thing about once in a hundred times."""
# (equal, differs) for the other columns.
_COLUMN_BITS = {
    "email": (7.0, -0.3), "phone": (5.0, -0.3), "postcode": (4.0, -1.5), "date": (6.0, -4.0), "wide": (1.0, -0.5),
    "unique": (12.0, -3.0), "other": (3.0, -1.0),
}  # fmt: skip


def records(new: pl.DataFrame, known: pl.DataFrame, rules: MatchRules, rank: pl.DataFrame) -> pl.DataFrame:
    """All records in one frame with their normal forms: `i` (UInt32; known ones first, then new ones best first), key,
    canonical_id (null for new ones), system, stream, `words` (the name) and `=<column>` for every other column.

    rank: (system, rank) as a frame; unnamed systems come last.
    """
    columns = list(rules.columns)
    shared = ["key", "system", "stream", "source_id", *columns]
    both = pl.concat(
        [
            known.select("canonical_id", *shared),
            new.select(pl.lit(None, dtype=pl.String).alias("canonical_id"), *shared),
        ]
    )
    both = both.join(rank, on="system", how="left").sort(
        pl.col("canonical_id").is_null(), pl.col("rank").fill_null(2**31), "system", "stream", "source_id", "key"
    )
    names = both.select("key", normal.full_name(rules).alias("words"))["words"]
    normals = [normal.identifier(c).alias(f"={c}") for c in normal.other_columns(rules)]
    return both.with_row_index("i").with_columns(*normals, names)


def by_identifier(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """Pairs (a, b) of records that hold an equal value of the column, a < b, at least one of them new."""
    held = rows.select("i", pl.col("canonical_id").is_null().alias("new"), pl.col(f"={column}").alias("v")).drop_nulls(
        "v"
    )
    held = held.with_columns(pl.len().over("v").alias("n"), pl.col("new").any().over("v").alias("any"))
    held = held.filter((pl.col("n") > 1) & pl.col("any"))
    few, many = held.filter(pl.col("n") <= _MOST_PAIRED), held.filter(pl.col("n") > _MOST_PAIRED)
    pairs = [
        few.join(few, on="v", suffix=":b").filter((pl.col("i") < pl.col("i:b")) & pl.col("new:b")),
        many.with_columns(pl.col("i").min().over("v").alias("first"))
        .filter((pl.col("i") > pl.col("first")) & pl.col("new"))
        .rename({"i": "i:b", "first": "i"}),
    ]
    return pl.concat([p.select(pl.col("i").alias("a"), pl.col("i:b").alias("b")) for p in pairs]).unique()


def by_block(rows: pl.DataFrame, rules: MatchRules) -> pl.DataFrame:
    """Pairs (a, b) of records that share a block that few hold; none when nothing is compared by similarity."""
    keyed = rows.select(pl.col("i").cast(pl.String).alias("key"), *rules.columns)
    held = block_keys(keyed, rules).select(pl.col("key").cast(pl.UInt32).alias("i"), "block")
    held = held.filter(pl.len().over("block").is_between(2, MOST_IN_BLOCK))
    held = held.join(rows.select("i", pl.col("canonical_id").is_null().alias("new")), on="i")
    pairs = held.join(held, on="block", suffix=":b").filter((pl.col("i") < pl.col("i:b")) & pl.col("new:b"))
    return pairs.select(pl.col("i").alias("a"), pl.col("i:b").alias("b")).unique()


def compare(pairs: pl.DataFrame, rows: pl.DataFrame, rules: MatchRules) -> pl.DataFrame:
    """What speaks for each pair: (a, b) → with `same:<column>` (Boolean, null when one is empty), `grade` of the names
    (null when one has none), `bits`, `agree` (how many independent fields besides the name are equal) and `lookalike`.
    """
    a, b = pairs["a"], pairs["b"]
    columns = normal.other_columns(rules)
    result = pairs.with_columns(
        (rows[f"={c}"].gather(a) == rows[f"={c}"].gather(b)).alias(f"same:{c}") for c in columns
    )
    result = result.with_columns(
        grade_names(rows["words"].gather(a), rows["words"].gather(b)), _lookalikes(rows, a, b, columns)
    )
    popular = {c: _is_popular(rows, c, a) for c in columns if c in (*rules.strong, *rules.shared)}
    result = result.with_columns(flag.alias(f"popular:{c}") for c, flag in popular.items())
    groups: dict[str, list[str]] = {}
    for c in columns:
        if _kind(c, rules) != "wide":
            groups.setdefault("address" if c.startswith("address") else c, []).append(c)
    agree = [pl.any_horizontal(_counts(c, c in popular) for c in own).cast(pl.Int32) for own in groups.values()]
    bits = [_bits(c, rules, c in popular) for c in columns]
    name_bits = pl.col("grade").replace_strict(NAME_BITS, default=0.0, return_dtype=pl.Float64)
    return result.with_columns(
        reduce(lambda x, y: x + y, agree, pl.lit(0, dtype=pl.Int32)).alias("agree"),
        reduce(lambda x, y: x + y, bits, name_bits + PRIOR_BITS).alias("bits"),
    ).with_columns((1 / (1 + (-pl.col("bits") * np.log(2.0)).exp())).alias("score"))


def _counts(column: str, may_be_popular: bool) -> pl.Expr:
    """Is the column equal, and by a value that few hold?"""
    same = pl.col(f"same:{column}").fill_null(False)
    return same & ~pl.col(f"popular:{column}") if may_be_popular else same


def _kind(column: str, rules: MatchRules) -> str:
    if column in rules.unique:
        return "unique"
    for kind in ("email", "phone", "postcode"):
        if kind in column:
            return kind
    if column.endswith(("date", "dob", "birth", "birthday")):
        return "date"
    return "wide" if column.endswith(("country", "city", "region", "status", "currency")) else "other"


def _bits(column: str, rules: MatchRules, may_be_popular: bool) -> pl.Expr:
    equal, differs = _COLUMN_BITS[_kind(column, rules)]
    same = pl.col(f"same:{column}")
    for_it = pl.when(pl.col(f"popular:{column}")).then(equal / 3).otherwise(equal) if may_be_popular else pl.lit(equal)
    return pl.when(same).then(for_it).when(~same).then(differs).otherwise(0.0)


def _is_popular(rows: pl.DataFrame, column: str, a: pl.Series) -> pl.Series:
    """Is the first record's value of the column a department's mailbox, or held by too many records of one stream?"""
    value = pl.col(f"={column}")
    flags = rows.select((pl.len().over(value, "system", "stream") > MOST_HOLDERS).alias("many"), value.alias("v"))
    flags = flags.select(
        (pl.col("many").any().over("v") | normal.is_role(pl.col("v")) | _is_odd(pl.col("v")))
        & pl.col("v").is_not_null()
    )
    return flags.to_series().gather(a)


def _is_odd(value: pl.Expr) -> pl.Expr:
    """An e-mail domain outside ASCII, or coded so that it only looks like ASCII: never enough to link."""
    return value.str.contains(r"@.*([^\x00-\x7F]|xn--)").fill_null(False)


def _lookalikes(rows: pl.DataFrame, a: pl.Series, b: pl.Series, columns: list[str]) -> pl.Series:
    """Are two e-mail addresses different, but made to look the same?"""
    flag = pl.Series("lookalike", [False]).new_from_index(0, len(a))
    for column in (c for c in columns if "email" in c):
        value = rows[f"={column}"]
        shape = pl.select(normal.mailbox_shape(pl.lit(normal.decode_punycode(value)))).to_series()
        differs = (value.gather(a) != value.gather(b)) & (shape.gather(a) == shape.gather(b))
        flag = flag | differs.fill_null(False)
    return flag.alias("lookalike")


def grade_names(a: pl.Series, b: pl.Series) -> pl.Series:
    """How alike two columns of names are: equal | variant | part | similar | weak | different; null: one is empty.

    A name is judged by its words: those that both have are set aside, so that a long common part cannot hide that the
    telling word differs (`John Smith`, `Joan Smith`).
    """
    both = pl.DataFrame({"a": a, "b": b}).with_row_index("n")
    todo = both.filter(pl.col("a").is_not_null() & pl.col("b").is_not_null() & (pl.col("a") != pl.col("b")))
    distinct = todo.select("a", "b").unique()
    graded = todo.join(distinct.with_columns(_grade_distinct(distinct)), on=["a", "b"]).select("n", "grade")
    found = both.join(graded, on="n", how="left", maintain_order="left")
    return found.select(pl.when(pl.col("a") == pl.col("b")).then(pl.lit("equal")).otherwise("grade").alias("grade"))[
        "grade"
    ]


def _grade_distinct(pairs: pl.DataFrame) -> pl.Series:
    words = pairs.select(pl.col("a", "b").str.split(" "))
    rest = words.select(
        pl.col("a").list.set_difference("b").list.sort().list.join(" ").alias("a"),
        pl.col("b").list.set_difference("a").list.sort().list.join(" ").alias("b"),
        pl.col("a").list.set_intersection("b").list.join("").str.len_chars().alias("common"),
    )
    # Words stand in the order of the alphabet, which a slip in a first letter upsets: the common ones go first.
    shared = words.select(pl.col("a").list.set_intersection("b").list.sort().list.join(" ").alias("shared"))["shared"]
    aligned = [pl.select(pl.concat_str(shared, rest[side], separator=" ")).to_series() for side in ("a", "b")]
    solid = pairs.select(pl.col("a", "b").str.replace_all(" ", ""))
    numbers = pairs.select(pl.col("a", "b").str.extract_all(r"\d+").list.sort().list.join(" "))
    facts = pl.DataFrame(
        {
            "whole": pl.select(
                pl.max_horizontal(_ratio(pairs["a"], pairs["b"]), _ratio(aligned[0], aligned[1]))
            ).to_series(),
            "solid": _ratio(solid["a"], solid["b"]),
            "rest": _ratio(rest["a"], rest["b"]),
            "a": rest["a"],
            "b": rest["b"],
            "common": rest["common"],
            "numbers": (numbers["a"] != numbers["b"]) & (numbers["a"] != "") & (numbers["b"] != ""),
        }
    )
    is_part = ((pl.col("a") == "") | (pl.col("b") == "")) & (pl.col("common") >= 4)
    is_initial = ((pl.col("a").str.len_chars() == 1) | (pl.col("b").str.len_chars() == 1)) & (
        pl.col("a").str.slice(0, 1) == pl.col("b").str.slice(0, 1)
    )
    is_variant = ((pl.col("rest") >= 0.82) & (pl.col("whole") >= 0.85)) | (is_initial & (pl.col("common") >= 3))
    best = pl.max_horizontal("whole", "solid")
    return facts.select(
        pl.when(pl.col("numbers"))
        .then(pl.lit("weak"))
        .when(pl.col("solid") == 1.0)
        .then(pl.lit("equal"))
        .when(is_variant)
        .then(pl.lit("variant"))
        .when(is_part)
        .then(pl.lit("part"))
        .when(best >= 0.75)
        .then(pl.lit("similar"))
        .when((best >= 0.55) | (pl.col("common") >= 5))
        .then(pl.lit("weak"))
        .otherwise(pl.lit("different"))
        .alias("grade")
    )["grade"]


def _ratio(a: pl.Series, b: pl.Series) -> pl.Series:
    """Indel similarity of two columns, pair by pair, 0..1."""
    return pl.Series(process.cpdist(a.to_list(), b.to_list(), scorer=fuzz.ratio, dtype=np.float32)) / 100
