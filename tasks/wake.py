"""Wake: writes that waited for their parents get the parents' own ids in the target and become ready."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import orjson
import polars as pl

from canonical import keys
from canonical.mapping.payloads import build_payloads
from staging import delivery
from tasks.settle import Row
from tasks.world import World

_JSON = msgspec.json.Encoder(decimal_format="number")


def wake(world: World, systems: Sequence[str]) -> int:
    """Readies writes whose parents are known in the target now, with the parents' own ids put in."""
    with world.transaction() as conn:
        rows = delivery.waiting(conn, systems)
        woken: list[Row] = []
        for system in {r["system"] for r in rows}:
            mine = [r for r in rows if r["system"] == system]
            wanted = {(ref["entity"], ref["id"]) for r in mine for ref in r["refs"]}
            parents = pl.DataFrame(
                sorted(wanted), schema={"entity": pl.String, "canonical_id": pl.String}, orient="row"
            )
            links = delivery.parent_links(conn, system, parents)
            woken += [_filled(world, r, links) for r in mine if _is_whole(world, r, links)]
        if woken:
            columns = ("outbox_id", "payload", "asked", "key", "write_hash")
            delivery.wake(conn, pl.DataFrame([{c: w[c] for c in columns} for w in woken]))
    return len(woken)


def _is_whole(world: World, row: Row, links: Mapping[tuple[str, str], str]) -> bool:
    """Whether all parents are known, and the sheet still writes the paths that waited (else it is planned anew)."""
    if any((x["entity"], x["id"]) not in links for x in row["refs"]):
        return False
    program = world.outbound_if_any(row["entity"], row["system"], row["stream"])
    return program is not None and all(x["path"] in program.kinds for x in row["refs"])


def _filled(world: World, row: Row, links: Mapping[tuple[str, str], str]) -> Row:
    """A waiting write with its parents' ids in payload and shadow; key and hash follow the payload."""
    program = world.outbound(row["entity"], row["system"], row["stream"])
    found = {ref["path"]: links[(ref["entity"], ref["id"])] for ref in row["refs"]}
    kinds = {path: program.kinds[path] for path in found}
    extra = build_payloads(pl.DataFrame({p: [v] for p, v in found.items()}), kinds)[0]
    payload = _JSON.encode(_merged(exact(row["payload"]), exact(extra))).decode()
    asked = {**orjson.loads(row["asked"]), **found}
    where = (row["system"], row["stream"], row["canonical_id"])
    key = (
        keys.create_key(*where)
        if row["op"] == "create"
        else keys.update_key(*where, int(row["version"]), payload, row["op"])
    )
    return {
        "outbox_id": int(row["id"]),
        "payload": payload,
        "asked": orjson.dumps(asked).decode(),
        "key": key,
        "write_hash": keys.write_hash(row["entity"], *where, row["op"], payload),
    }


def _merged(into: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(into)
    for name, value in more.items():
        was = merged.get(name)
        merged[name] = _merged(was, value) if isinstance(was, Mapping) and isinstance(value, Mapping) else value
    return merged


def exact(payload: str) -> Mapping[str, Any]:
    """The frozen payload; amounts stay exactly as they were frozen."""
    parsed: Mapping[str, Any] = json.loads(payload, parse_float=Decimal)
    return parsed
