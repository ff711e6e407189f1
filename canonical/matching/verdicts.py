"""The verdict on one pair: what identifiers, names and similarity say together (DESIGN 3, 9.7)."""

from __future__ import annotations

import polars as pl

from canonical.matching import normal
from canonical.model import MatchRules

_SAID = {
    "equal": "same name",
    "variant": "nearly the same name",
    "part": "one name is part of the other",
    "similar": "similar name",
    "weak": "barely similar name",
    "different": "clearly different name",
}


def judge(compared: pl.DataFrame, rules: MatchRules) -> pl.DataFrame:
    """Add `verdict` (link | ask | null), `objected` and `because` to what `pairs.compare` found.

    unique    links alone, unless another unique or a `different_if` column differs, or the names are clearly different
    strong    links with a near name (one that is only part of the other needs one more equal field), or, where a name
              is missing, with one more equal field
    alike     links from `link_above` up only when the names are equal, at least two independent fields besides agree
              and nothing contradicts; from `ask_above` up it asks
    An objection turns a link by identifier into a question (`objected`), also for whoever would bring the two together.
    A pair that `different_if` tells apart is not even asked for being alike. Look-alike e-mail domains never link.
    """
    nobody = pl.lit(False)
    unique = pl.any_horizontal(nobody, *(_same(c) for c in rules.unique))
    strong = pl.any_horizontal(nobody, *(_same(c) & ~pl.col(f"popular:{c}") for c in rules.strong))
    apart = pl.any_horizontal(nobody, *(_differs(c) for c in rules.different_if))
    unlike = pl.any_horizontal(nobody, *(_differs(c) for c in rules.unique))
    born = [c for c in rules.alike if c.endswith(("date", "dob", "birth", "birthday"))]
    contradicts = apart | unlike | pl.col("lookalike") | pl.any_horizontal(nobody, *(_differs(c) for c in born))
    is_part = (pl.col("grade") == "part") & (pl.col("agree") >= 2)
    near = (pl.col("grade").is_in(["equal", "variant"]) | is_part).fill_null(False)
    other = (pl.col("grade") == "different").fill_null(False)
    nameless = pl.col("grade").is_null() & (pl.col("agree") >= 2)
    link, ask = pl.lit("link"), pl.lit("ask")
    is_certain = (pl.col("score") >= rules.link_above) & (pl.col("grade") == "equal").fill_null(False)
    is_certain &= (pl.col("agree") >= 2) & ~contradicts
    verdict = (
        pl.when(unique)
        .then(pl.when(apart | unlike | other | pl.col("lookalike")).then(ask).otherwise(link))
        .when(strong & apart)
        .then(pl.when(near).then(ask))
        .when(strong)
        .then(pl.when((near | nameless) & ~unlike & ~pl.col("lookalike")).then(link).otherwise(ask))
        .when(apart)
        .then(None)
        .when(is_certain)
        .then(link)
        .when(pl.col("score") >= rules.ask_above)
        .then(ask)
    )
    objected = (unique | strong) & (apart | unlike | other | pl.col("lookalike"))
    by_identifier = (unique | strong) & (verdict == "link").fill_null(False)
    return compared.with_columns(
        verdict.alias("verdict"),
        objected.alias("objected"),
        pl.when(by_identifier).then(1.0).otherwise("score").alias("score"),
        _because(rules).alias("because"),
    )


def _same(column: str) -> pl.Expr:
    return pl.col(f"same:{column}").fill_null(False)


def _differs(column: str) -> pl.Expr:
    return ~pl.col(f"same:{column}").fill_null(True)


def _because(rules: MatchRules) -> pl.Expr:
    """`same tax_id, nearly the same name, different email`: what counted, in the order of the rules."""
    loud = {*rules.unique, *rules.strong, *rules.different_if}
    said: list[pl.Expr] = []
    for column in normal.other_columns(rules):
        part = pl.when(_same(column)).then(pl.lit(f"same {column}"))
        said.append(part.when(_differs(column)).then(pl.lit(f"different {column}")) if column in loud else part)
    said.append(pl.col("grade").replace_strict(_SAID, default=None, return_dtype=pl.String))
    said.append(pl.when("lookalike").then(pl.lit("look-alike e-mail domains")))
    return pl.concat_str(said, separator=", ", ignore_nulls=True)
