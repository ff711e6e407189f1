"""Records that are their own parent, directly or through others: nothing can be written before itself (RELIABILITY 40).

Strongly connected components (Tarjan's, by scipy) of child → parent: linear in records and references.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def on_a_circle(edges: pl.DataFrame) -> pl.DataFrame:
    """Of edges (child, parent: text), the children from which the parents lead back to them: child, others (how many
    further records lie on the same circle; 0: the record is its own parent)."""
    edges = edges.drop_nulls().unique()
    names = pl.concat([edges["child"], edges["parent"]]).unique(maintain_order=True)
    places = pl.DataFrame({"name": names, "place": pl.int_range(len(names), eager=True)})
    placed = edges.join(places, left_on="child", right_on="name").join(
        places, left_on="parent", right_on="name", suffix="_of_parent"
    )
    rows, columns = placed["place"].to_numpy(), placed["place_of_parent"].to_numpy()
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(len(names), len(names)))
    _, labels = connected_components(graph, directed=True, connection="strong")
    found = places.with_columns(pl.Series("part", labels)).with_columns(pl.len().over("part").alias("size"))
    itself = edges.filter(pl.col("child") == pl.col("parent"))["child"]
    circles = found.filter((pl.col("size") > 1) | pl.col("name").is_in(itself.implode()))
    return circles.select(pl.col("name").alias("child"), (pl.col("size") - 1).cast(pl.Int64).alias("others"))
