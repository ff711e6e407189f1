"""Drift: an edit made in a system that is not the field's authority (DESIGN 9.10, RELIABILITY P15, P16).

Decided field by field between what the target read back after our last write and what it holds now, so a target that
rounds, trims or reformats is not drifting; only over the fields of that write; only by reads begun after the shadow
was confirmed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import polars as pl

from canonical import met

FINDINGS = {
    "id": pl.String,
    "source_id": pl.String,
    "path": pl.String,
    "ours": pl.String,
    "theirs": pl.String,
    "authority": pl.String,
    "action": pl.String,
    "because": pl.String,
}
"""Columns of the findings: `ours` is what the field read back as after our write, `theirs` what stands there now."""


def find(
    native: pl.DataFrame,
    shadow: pl.DataFrame,
    desired: pl.DataFrame,
    authority: Mapping[str, str],
    system: str,
    on_drift: Literal["restore", "report"],
) -> pl.DataFrame:
    """Every field that somebody changed in a target that is not right about it; a frame of `FINDINGS`.

    native     (id, source_id, read_at, <paths>)  target records as read; read_at is when the read began
    shadow     (id, confirmed_at, fields List(String), "read:<path>" …)  as confirmed after our last write
    desired    (id, <paths>)  what we would have there now: a field that already agrees is no finding
    authority  path → its system of record; fields whose authority is `system` itself are nobody's drift
    read_at and confirmed_at are of one type that sorts (Datetime, or UTC text in canonical form).

    An action `restore` goes back into planning as PlanInput.drifted; `report` only informs.
    """
    both = native.join(shadow, on="id").filter(pl.col("read_at") > pl.col("confirmed_at"))
    both = both.join(desired, on="id", how="left", suffix=":desired")
    drifting = {
        path: _is_drift(both, path)
        for path, record in authority.items()
        if record != system and path in native.columns and f"read:{path}" in shadow.columns
    }
    found = [_of_path(rows, path, authority[path], system, on_drift) for path, rows in met.rows_meeting(both, drifting)]
    return pl.concat([pl.DataFrame(schema=FINDINGS), *found]).sort("id", "path")


def _is_drift(both: pl.DataFrame, path: str) -> pl.Expr:
    is_drift = pl.col("fields").list.contains(path) & pl.col(path).ne_missing(pl.col(f"read:{path}"))
    wanted = f"{path}:desired"
    return is_drift & pl.col(path).ne_missing(pl.col(wanted)) if wanted in both.columns else is_drift


def _of_path(rows: pl.DataFrame, path: str, record: str, system: str, action: str) -> pl.DataFrame:
    what = "put back" if action == "restore" else "reported only"
    return rows.select(
        "id",
        "source_id",
        pl.lit(path).alias("path"),
        pl.col(f"read:{path}").alias("ours"),
        pl.col(path).alias("theirs"),
        pl.lit(record).alias("authority"),
        pl.lit(action).alias("action"),
        pl.lit(f"{path} was changed in {system}, but {record} is right about it: {what}").alias("because"),
    )
