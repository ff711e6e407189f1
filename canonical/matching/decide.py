"""The decisions of matching for a batch: link to a known golden record, ask a person, or create a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from canonical.matching import pairs as pairing
from canonical.matching import verdicts
from canonical.matching.place import place
from canonical.model import MatchRules

DECISIONS = {
    "key": pl.String,
    "action": pl.String,
    "canonical_id": pl.String,
    "group": pl.String,
    "score": pl.Float64,
    "because": pl.String,
}
REVIEWS = {
    "key": pl.String,
    "canonical_id": pl.String,
    "other_key": pl.String,
    "score": pl.Float64,
    "because": pl.String,
}
DUPLICATES = {"key": pl.String, "canonical_id": pl.String, "group": pl.String, "because": pl.String}


@dataclass(frozen=True)
class Matched:
    """What becomes of each new record.

    decisions   (key, action link | ask | create, canonical_id, group, score, because), one row a new record. link: its
                canonical_id; create: null, and `group` is the key of the anchor, the record that founds the golden
                record that all of the group share; ask: both null, the record stays out of golden
    reviews     (key, canonical_id, other_key, score, because)  for each record that is asked its best candidates, at
                most three, best first; canonical_id is null when the other is new too (other_key then names it)
    duplicates  (key, canonical_id | group, because)  linked or created, but not the first of its (system, stream)
                there: to be linked, not primary, and a finding
    """

    decisions: pl.DataFrame
    reviews: pl.DataFrame
    duplicates: pl.DataFrame


def match(
    new: pl.DataFrame,
    known: pl.DataFrame,
    rules: MatchRules,
    rank: Mapping[str, int],
    answers: pl.DataFrame | None = None,
) -> Matched:
    """Decide every new record of one entity.

    new      (key, system, stream, source_id, <rules.columns>)  records without a link
    known    (canonical_id, key, system, stream, source_id, <rules.columns>)  every live record of each golden record
             that shares an identifier (`lookup.identifiers`) or a block (`lookup.block_keys`) with a new one
    rank     system → place; the system of record first. Among doubtful new records the better one is created, the
             other asked. Systems that are not named come last
    answers  (key, other_key, verdict link | separate)  what people have said; their word outweighs every rule
    The order of rows does not matter; equal input gives equal decisions.
    """
    if new.is_empty():
        return Matched(pl.DataFrame(schema=DECISIONS), pl.DataFrame(schema=REVIEWS), pl.DataFrame(schema=DUPLICATES))
    ranks = pl.DataFrame(
        {"system": list(rank), "rank": list(rank.values())}, schema={"system": pl.String, "rank": pl.Int64}
    )
    rows = pairing.records(new, known, rules, ranks).with_columns(
        pl.when(pl.col("canonical_id").is_not_null())
        .then(pl.col("i").min().over("canonical_id"))
        .otherwise("i")
        .alias("node")
    )
    judged, separate = _answered(_judge(rows, rules), rows, answers)
    # Two that a person told apart may still meet through others; their own likeness is no reason any more.
    edges = _edges(judged, rows, rules).join(separate, on=["x", "y"], how="anti", maintain_order="left")
    placed = place(rows, edges, separate, rules)
    asked = _ask(rows, edges, placed, separate)
    return _assemble(rows, edges, placed, asked)


def _judge(rows: pl.DataFrame, rules: MatchRules) -> pl.DataFrame:
    """All candidate pairs with their verdicts: (a, b, verdict, score, because, …)."""
    identifying = dict.fromkeys((*rules.unique, *rules.strong, *rules.shared))
    found = [pairing.by_identifier(rows, c) for c in identifying]
    found.append(pairing.by_block(rows, rules))
    return verdicts.judge(pairing.compare(pl.concat(found).unique(), rows, rules), rules)


def _answered(
    judged: pl.DataFrame, rows: pl.DataFrame, answers: pl.DataFrame | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The judged pairs with people's answers over them, and the pairs of nodes (x < y) that people told apart."""
    judged = judged.select("a", "b", "verdict", "score", "because", "objected", pl.lit(False).alias("answered"))
    by_key = rows.select("key", "i", "node")
    nothing = pl.DataFrame(schema={"x": pl.UInt32, "y": pl.UInt32})
    if answers is None or answers.is_empty():
        return judged, nothing
    said = answers.join(by_key, on="key").join(by_key, left_on="other_key", right_on="key", suffix="_other")
    said = said.with_columns(
        pl.min_horizontal("i", "i_other").alias("a"),
        pl.max_horizontal("i", "i_other").alias("b"),
        pl.min_horizontal("node", "node_other").alias("x"),
        pl.max_horizontal("node", "node_other").alias("y"),
    ).filter(pl.col("x") != pl.col("y"))
    links = said.filter(pl.col("verdict") == "link").select(
        "a",
        "b",
        "verdict",
        pl.lit(1.0).alias("score"),
        pl.lit("a person said that they are one").alias("because"),
        pl.lit(False).alias("objected"),
        pl.lit(True).alias("answered"),
    )
    apart = said.filter(pl.col("verdict") == "separate").select("x", "y").unique()
    return pl.concat([judged.join(links, on=["a", "b"], how="anti"), links.unique(["a", "b"])]), apart


def _edges(judged: pl.DataFrame, rows: pl.DataFrame, rules: MatchRules) -> pl.DataFrame:
    """Judged pairs between nodes, the best of each verdict: (x, y, i, other, verdict, score, because, answered, sure,
    objected).

    A node is a new record, or a golden record with all its known ones; x < y, so y is always new. `sure` says that a
    `different_if` column positively agrees. A link to a golden record of which *another* record objects is a question.
    """
    node = rows["node"]
    edges = judged.drop_nulls("verdict").with_columns(
        node.gather(judged.drop_nulls("verdict")["a"]).alias("x"), pl.col("b").alias("y")
    )
    objects, agrees = pl.lit(False), pl.lit(False)
    for column in rules.different_if:
        held = rows.drop_nulls(f"={column}").group_by("node").agg(pl.col(f"={column}").unique().alias(f"of:{column}"))
        edges = edges.join(held.rename({"node": "x"}), on="x", how="left").with_columns(
            pl.col("y").replace_strict(rows["i"], rows[f"={column}"], return_dtype=pl.String).alias(f"own:{column}")
        )
        is_held = pl.col(f"of:{column}").list.contains(pl.col(f"own:{column}")).fill_null(False)
        both = pl.col(f"of:{column}").is_not_null() & pl.col(f"own:{column}").is_not_null()
        objects = objects | (both & ~is_held)
        agrees = agrees | is_held
    demoted = (pl.col("verdict") == "link") & objects & ~pl.col("answered")
    edges = edges.with_columns(
        agrees.alias("sure"),
        pl.col("objected") | demoted,
        pl.when(demoted).then(pl.lit("ask")).otherwise("verdict").alias("verdict"),
        pl.when(demoted)
        .then(pl.concat_str("because", pl.lit(", but another record of that golden record differs")))
        .otherwise("because")
        .alias("because"),
    )
    edges = edges.sort("answered", "score", "a", "y", descending=[True, True, False, False])
    return edges.group_by("x", "y", "verdict", maintain_order=True).agg(
        pl.col("a").first(), pl.col("score", "because").first(), pl.col("answered", "sure", "objected").any()
    )


def _ask(rows: pl.DataFrame, edges: pl.DataFrame, placed: pl.DataFrame, separate: pl.DataFrame) -> pl.DataFrame:
    """The questions: (i, x, a, score, because), i the new record that is asked, x the node and a the record it is like.

    Of two groups that are to be created and may be one, the worse ranked is asked as a whole, so that it does not found
    a golden record that a person then has to merge away.
    """
    final = rows.select("i", "node").join(placed.select("i", "final"), on="i", how="left")
    final = final.select("node", pl.coalesce("final", "node").alias("final")).unique("node")
    apart = separate
    doubts = edges.filter(pl.col("verdict") == "ask")
    for side in ("x", "y"):
        named = final.rename({"node": side, "final": f"f{side}"})
        doubts = doubts.join(named, on=side)
        apart = apart.join(named, on=side)
    is_open = placed.filter(pl.col("state") != "link").select("i", pl.col("final").alias("group"), "state")
    told = pl.concat([apart.select("fx", "fy"), apart.select(pl.col("fy").alias("fx"), pl.col("fx").alias("fy"))])
    doubts = doubts.filter(pl.col("fx") != pl.col("fy")).join(told, on=["fx", "fy"], how="anti")
    is_known = rows.filter(pl.col("canonical_id").is_not_null())["node"].unique()
    doubts = doubts.with_columns(
        pl.col("fx").is_in(is_known.implode()).alias("kx"), pl.col("fy").is_in(is_known.implode()).alias("ky")
    ).filter(~(pl.col("kx") & pl.col("ky")))
    # The asked side: the one that is not golden yet; of two new ones the later, for rows stand best first.
    flip = pl.col("ky") | (~pl.col("kx") & (pl.col("fx") > pl.col("fy")))
    doubts = doubts.select(
        pl.when(flip).then("fx").otherwise("fy").alias("group"),
        pl.when(flip).then("x").otherwise("y").alias("of"),
        pl.when(flip).then("y").otherwise("x").alias("x"),
        pl.when(flip).then("y").otherwise("a").alias("a"),
        "score",
        "because",
    )
    found = is_open.join(doubts, on="group").with_columns((pl.col("i") == pl.col("of")).alias("own"))
    others = pl.concat_str(pl.lit("one with a record in doubt: "), "because")
    found = found.with_columns(pl.when("own").then("because").otherwise(others).alias("because"))
    found = found.sort("i", "own", "score", "a", "of", descending=[False, True, True, False, False])
    return found.select("i", "x", "a", "score", "because")


def _assemble(rows: pl.DataFrame, edges: pl.DataFrame, placed: pl.DataFrame, asked: pl.DataFrame) -> Matched:
    knots = placed.filter(pl.col("state") == "ask").select(
        "i", pl.col("against").alias("x"), pl.col("against").alias("a"), pl.lit(None, dtype=pl.Float64).alias("score"),
        pl.col("why").alias("because"),
    )  # fmt: skip
    questions = pl.concat([knots, asked]).unique(["i", "x"], keep="first", maintain_order=True)
    names = rows.select("i", "key", "canonical_id", "system", "stream")
    by_i = names.select(pl.col("i").alias("a"), pl.col("key").alias("other_key"), "canonical_id")
    reviews = questions.join(by_i, on="a").join(names.select("i", "key"), on="i")
    reviews = reviews.sort("i", "score", "a", descending=[False, True, False], nulls_last=False)
    reviews = reviews.group_by("i", maintain_order=True).head(3)
    state = placed.with_columns(
        pl.when(pl.col("i").is_in(questions["i"].implode())).then(pl.lit("ask")).otherwise("state").alias("state")
    )
    best = reviews.group_by("i", maintain_order=True).agg(
        pl.col("score").max().alias("asked_score"), pl.col("because").first().alias("asked_because")
    )
    named = state.join(names, on="i").join(best, on="i", how="left").join(_reasons(edges), on="i", how="left")
    heads = names.select(pl.col("i").alias("final"), pl.col("canonical_id").alias("to"), pl.col("key").alias("anchor"))
    named = named.join(heads, on="final").sort("i")
    is_ask, is_link = pl.col("state") == "ask", pl.col("state") == "link"
    is_founder = pl.col("i") == pl.col("final")
    founds = (
        pl.when(pl.len().over("final") > 1)
        .then(pl.format("first of {} records that are one", pl.len().over("final")))
        .otherwise(pl.lit("no record like it is known"))
    )
    decisions = named.select(
        "key",
        pl.col("state").alias("action"),
        pl.when(is_link).then("to").alias("canonical_id"),
        pl.when(pl.col("state") == "create").then("anchor").alias("group"),
        pl.when(is_ask).then("asked_score").when(is_link | ~is_founder).then("score").alias("score"),
        pl.when(is_ask).then("asked_because").when(~is_link & is_founder).then(founds)
        .otherwise(pl.coalesce("because", pl.lit("linked through others"))).alias("because"),
    )  # fmt: skip
    return Matched(decisions, reviews.select(*REVIEWS), _duplicates(rows, named))


def _reasons(edges: pl.DataFrame) -> pl.DataFrame:
    """The best link of each new record, whichever side of it: (i, score, because)."""
    links = edges.filter(pl.col("verdict") == "link").sort("answered", "score", descending=True, maintain_order=True)
    sides = [links.select(pl.col(side).alias("i"), "score", "because") for side in ("y", "x")]
    return pl.concat(sides).unique("i", keep="first", maintain_order=True)


def _duplicates(rows: pl.DataFrame, named: pl.DataFrame) -> pl.DataFrame:
    """New records that are not the first of their (system, stream) in what they are linked to or created with."""
    kept = named.filter(pl.col("state") != "ask").select("i", "final")
    members = pl.concat(
        [rows.filter(pl.col("canonical_id").is_not_null()).select("i", pl.col("node").alias("final")), kept]
    )
    members = members.join(rows.select("i", "system", "stream"), on="i").sort("i")
    later = members.filter(pl.int_range(pl.len()).over("final", "system", "stream") > 0)
    return later.join(named.filter(pl.col("state") != "ask"), on="i").sort("i").select(
        "key",
        pl.when(pl.col("state") == "link").then("to").alias("canonical_id"),
        pl.when(pl.col("state") == "create").then("anchor").alias("group"),
        pl.format("another record of {}/{} is this one already", "system", "stream").alias("because"),
    )  # fmt: skip
