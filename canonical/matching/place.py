"""Where each new record belongs: the golden record or the group that its links lead to, or a knot for a person."""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from canonical.model import MatchRules

MOST_TOGETHER = 10
"""A component of more records than this is not believed: it goes to review (DESIGN 9.7)."""


def place(rows: pl.DataFrame, edges: pl.DataFrame, separate: pl.DataFrame, rules: MatchRules) -> pl.DataFrame:
    """(i, final, state link | create | ask, why, against), one row a new record.

    final    the node it ends in: a golden record's, or the anchor of the group it is created with (itself when asked)
    why, against    for ask: what is wrong with where its links lead, and the row it is to be compared with

    A component of links is believed when it touches at most one golden record, has at most `MOST_TOGETHER` records, and
    no two of its records are told apart by `different_if`, by a person, or by an objection to the identifier that they
    share. In any other, only what is certain by itself is kept; the rest is asked. Nothing ever merges two golden
    records.
    """
    links = edges.filter(pl.col("verdict") == "link")
    answered = links.filter(pl.col("answered")).select("x", "y")
    objections = edges.filter(pl.col("objected")).join(answered, on=["x", "y"], how="anti")
    members = _with_component(rows, links, separate, objections, rules)
    new = pl.col("canonical_id").is_null()
    sound = members.filter(new & pl.col("sound"))
    easy = sound.select(
        "i",
        pl.coalesce("golden", "first").alias("final"),
        pl.when(pl.col("golden").is_not_null()).then(pl.lit("link")).otherwise(pl.lit("create")).alias("state"),
        pl.lit(None, dtype=pl.String).alias("why"),
        pl.lit(None, dtype=pl.UInt32).alias("against"),
    )
    knotted = members.filter(~pl.col("sound"))
    if knotted.is_empty():
        return easy
    return pl.concat([easy, _untangle(knotted, links, rules, rows.height)])


def _with_component(
    rows: pl.DataFrame, links: pl.DataFrame, separate: pl.DataFrame, objections: pl.DataFrame, rules: MatchRules
) -> pl.DataFrame:
    """Rows with what is known of their component: label, first (best new row), golden (its one golden node), `why` it
    is not to be believed, and whether it is `sound`."""
    label = _components(rows.height, links["x"], links["y"])
    members = rows.with_columns(pl.Series("label", label).gather(rows["node"]).alias("label"))
    torn, objected = (_inside(pairs, label) for pairs in (separate, objections))
    is_golden = pl.col("canonical_id").is_not_null()
    one = members.group_by("label").agg(
        pl.len().alias("records"),
        pl.col("i").filter(~is_golden).min().alias("first"),
        pl.col("node").filter(is_golden).min().alias("golden"),
        pl.col("node").filter(is_golden).n_unique().alias("goldens"),
        *(pl.col(f"={c}").drop_nulls().n_unique().alias(f"n:{c}") for c in rules.different_if),
    )
    apart = [
        pl.when(pl.col(f"n:{c}") > 1).then(pl.lit(f"records that link together differ in {c}"))
        for c in rules.different_if
    ]
    why = pl.coalesce(
        pl.when(pl.col("goldens") > 1).then(pl.format("links to {} golden records", "goldens")),
        *apart,
        pl.when(pl.col("label").is_in(torn.implode())).then(
            pl.lit("links to a record that a person told it apart from")
        ),
        pl.when(pl.col("label").is_in(objected.implode())).then(
            pl.lit("links through others to a record with which its identifier clashes")
        ),
        pl.when(pl.col("records") > MOST_TOGETHER).then(pl.format("{} records link together", "records")),
    )
    one = one.with_columns(
        why.alias("why"),
        pl.any_horizontal(pl.lit(False), *(pl.col(f"n:{c}") > 1 for c in rules.different_if)).alias("apart"),
    )
    one = one.with_columns(pl.col("why").is_null().alias("sound"))
    return members.join(one, on="label", how="left", maintain_order="left").filter(pl.col("first").is_not_null())


def _inside(pairs: pl.DataFrame, label: np.ndarray[tuple[int], np.dtype[np.int32]]) -> pl.Series:
    """The components that hold both sides of one of the pairs (x, y)."""
    of = pl.Series("label", label)
    x, y = of.gather(pairs["x"]), of.gather(pairs["y"])
    return x.filter(x == y).unique()


def _components(n: int, x: pl.Series, y: pl.Series) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    ones = np.ones(len(x), dtype=np.int8)
    graph = coo_matrix((ones, (x.to_numpy(), y.to_numpy())), shape=(n, n))
    labels: np.ndarray[tuple[int], np.dtype[np.int32]] = connected_components(graph, directed=False)[1]
    return labels


def _untangle(knotted: pl.DataFrame, links: pl.DataFrame, rules: MatchRules, rows: int) -> pl.DataFrame:
    """In components that cannot be believed: keep the certain links, found what is clearly apart, ask the rest."""
    new = knotted.filter(pl.col("canonical_id").is_null())
    linked = _certain(knotted, new, links)
    rest = new.join(linked, on="i", how="anti")
    founded = _founded(rest, links, rules, rows)
    # A component without any golden record must have one founder, or its questions would have no other side.
    left = rest.join(founded, on="i", how="anti")
    has_founder = rest.join(founded, on="i", how="semi")["label"].unique()
    founders = left.filter(
        pl.col("golden").is_null() & ~pl.col("label").is_in(has_founder.implode()) & (pl.col("i") == pl.col("first"))
    )
    founded = pl.concat([founded, founders.select("i", pl.col("i").alias("final"))])
    left = left.join(founded, on="i", how="anti")
    settled = pl.concat([linked.select("i", "final"), founded])
    nothing = [pl.lit(None, dtype=pl.String).alias("why"), pl.lit(None, dtype=pl.UInt32).alias("against")]
    return pl.concat(
        [
            linked.select("i", "final", pl.lit("link").alias("state"), *nothing),
            founded.select("i", "final", pl.lit("create").alias("state"), *nothing),
            _questions(left, knotted, settled, links),
        ]
    )


def _certain(knotted: pl.DataFrame, new: pl.DataFrame, links: pl.DataFrame) -> pl.DataFrame:
    """(i, final): new records with one golden record to go to, by a person's word or because nothing in the knot is
    about them: their own identifiers lead to one only, and the component is not torn, too large, or apart from them."""
    golden = knotted.filter(pl.col("canonical_id").is_not_null()).select(pl.col("node").alias("x")).unique()
    direct = links.join(golden, on="x").join(new.select(pl.col("i").alias("y"), "records", "apart", "why"), on="y")
    direct = direct.with_columns(pl.len().over("y").alias("n"), pl.col("answered").sum().over("y").alias("said"))
    by_word = (pl.col("said") == 1) & pl.col("answered")
    is_small = (pl.col("records") <= MOST_TOGETHER) & ~pl.col("why").str.contains("person")
    by_itself = (pl.col("said") == 0) & (pl.col("n") == 1) & is_small & (~pl.col("apart") | pl.col("sure"))
    return direct.filter(by_word | by_itself).select(pl.col("y").alias("i"), pl.col("x").alias("final"))


def _founded(rest: pl.DataFrame, links: pl.DataFrame, rules: MatchRules, rows: int) -> pl.DataFrame:
    """(i, final): in components without a golden record that `different_if` tears, the records that hold such a value,
    grouped by the links among themselves; a group that is still torn or too large is left."""
    nothing = pl.DataFrame(schema={"i": pl.UInt32, "final": pl.UInt32})
    columns = [f"={c}" for c in rules.different_if]
    if not columns:
        return nothing
    valued = rest.filter(
        pl.col("golden").is_null() & pl.col("apart") & pl.any_horizontal(pl.col(c).is_not_null() for c in columns)
    )
    if valued.is_empty():
        return nothing
    inner = links.join(valued.select(pl.col("i").alias("x")), on="x").join(
        valued.select(pl.col("i").alias("y")), on="y"
    )
    label = pl.Series("inner", _components(rows, inner["x"], inner["y"]))
    groups = valued.with_columns(label.gather(valued["i"]).alias("inner"))
    one = groups.group_by("inner").agg(
        pl.len().alias("size"), pl.col("i").min().alias("final"),
        pl.max_horizontal(pl.col(c).drop_nulls().n_unique() for c in columns).alias("values"),
    )  # fmt: skip
    whole = one.filter((pl.col("size") <= MOST_TOGETHER) & (pl.col("values") <= 1))
    return groups.join(whole, on="inner").select("i", pl.col("final"))


def _questions(left: pl.DataFrame, knotted: pl.DataFrame, settled: pl.DataFrame, links: pl.DataFrame) -> pl.DataFrame:
    """The rows for what is asked: against a neighbour that has a home, else against the best home of the component."""
    golden = knotted.filter(pl.col("canonical_id").is_not_null()).select("i", pl.col("i").alias("home"))
    homes = pl.concat([golden, settled.select("i", pl.col("final").alias("home"))])
    homes = homes.join(knotted.select("i", "label", "node"), on="i")
    both = [links.select(pl.col(s).alias("i"), pl.col(o).alias("node")) for s, o in (("x", "y"), ("y", "x"))]
    near = pl.concat(both).join(homes.select("node", "home"), on="node").group_by("i").agg(pl.col("home").min())
    far = homes.group_by("label").agg(pl.col("home").min().alias("far"))
    rows = left.join(near, on="i", how="left").join(far, on="label", how="left")
    return rows.select(
        "i",
        pl.col("i").alias("final"),
        pl.lit("ask").alias("state"),
        "why",
        pl.coalesce("home", "far").alias("against"),
    )
