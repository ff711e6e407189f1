"""Mend: a refused write put right field by field, judged before anything is queued.

What is edited is this one write, not the golden record: its value still comes from its system of record, and the next
change there sends it again. So an edit is for the target that wants the same thing said otherwise.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from canonical import keys
from canonical.mapping.kinds import enforce
from canonical.mapping.outbound import OutboundProgram
from canonical.mapping.payloads import build_payloads
from canonical.model import Entity
from staging import audit, letters
from staging.engine import Connection
from tasks.world import World

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?\Z")
_BOOLEANS = ("true", "false")


@dataclass(frozen=True, slots=True)
class Mended:
    """A write as it would be sent after an edit. `problems`: each field that cannot be so, with the reason."""

    payload: str
    changes: tuple[dict[str, Any], ...]
    """What is edited: field, old (as it failed), new."""
    problems: tuple[str, ...]
    kept: Mapping[str, Any]
    """What a letter keeps of it (`letters.keep_edit`)."""


def mend(conn: Connection, world: World, letter_id: int, edits: Mapping[str, str | None]) -> Mended:
    """Judges edits of an open letter's write, target field → text (None: empty). Raises KeyError where no such letter
    is open, or the landscape has no such integration any more."""
    row = next(iter(letters.open_ones(conn, [letter_id])), None)
    if row is None or row["integration"] not in world.landscape.integrations:
        raise KeyError(letter_id)
    entity = world.landscape.model[row["entity"]]
    program = world.outbound(entity.name, row["system"], row["stream"])
    asked: dict[str, str | None] = json.loads(row["asked"])
    problems = _whole_problems(row, program, asked)
    problems += [p for path, value in edits.items() if (p := _problem(entity, program, path, value, world))]
    if problems:
        return Mended(row["payload"], (), tuple(problems), {})
    told = _told(row, asked) | dict.fromkeys(edits)
    after = {**asked, **edits}
    payload = _payload(program, after, told)
    fields = [f for f in program.paths if f in told]
    changes = tuple({"field": f, "old": asked.get(f), "new": v} for f, v in edits.items())
    hashed = keys.write_hashes(
        entity.name, row["system"], row["stream"],
        pl.DataFrame({"id": [row["canonical_id"]], "op": [row["op"]], "payload": [payload]}),
    )  # fmt: skip
    kept = {
        "payload": payload,
        "asked": json.dumps(after),
        "before": json.dumps(_before(row, changes)) if row["before"] is not None else None,
        "fields": fields,
        "write_hash": hashed[0],
    }
    return Mended(payload, changes, (), kept)


def keep(conn: Connection, letter_id: int, mended: Mended, *, by: str, reason: str) -> bool:
    """Keeps an edit that was found good beside its letter, for a replay to send; False when it is not open any more."""
    is_kept = letters.keep_edit(conn, letter_id, mended.kept, by=by, reason=reason)
    if is_kept:
        names = [c["field"] for c in mended.changes]
        audit.append(conn, by, "letter.edited", f"letter:{letter_id}", {"fields": names}, reason=reason)
    return is_kept


def _whole_problems(row: Mapping[str, Any], program: OutboundProgram, asked: Mapping[str, str | None]) -> list[str]:
    """Why this write cannot be edited at all."""
    if row["op"] not in ("create", "update"):
        return [f"expected a create or an update, found an {row['op']}: it has no fields to edit"]
    if json.loads(_payload(program, asked, _told(row, asked))) != json.loads(row["payload"]):
        return ["the mapping has changed since this write was planned: replay it as it is now"]
    return []


def _told(row: Mapping[str, Any], asked: Mapping[str, str | None]) -> dict[str, None]:
    """The target fields that the write tells, in their order."""
    if row["op"] == "create":
        return {path: None for path, value in asked.items() if value is not None}
    return dict.fromkeys(row["fields"])


def _payload(program: OutboundProgram, asked: Mapping[str, str | None], told: Mapping[str, None]) -> str:
    kinds = {path: program.kinds[path] for path in program.paths if path in told}
    frame = pl.DataFrame({path: [asked.get(path)] for path in kinds}, schema=dict.fromkeys(kinds, pl.String))
    return build_payloads(frame, kinds)[0] if kinds else "{}"


def _before(row: Mapping[str, Any], changes: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    """The write's own list of changes, with what was edited."""
    news = {c["field"]: c["new"] for c in changes}
    known = [{**c, "new": news.pop(c["field"], c["new"])} for c in row["before"]]
    return known + [{"field": f, "old": None, "new": v, "authority": ""} for f, v in news.items()]


def _problem(entity: Entity, program: OutboundProgram, path: str, value: str | None, world: World) -> str | None:
    """Why a target field cannot have this value; None: it can."""
    if path not in program.paths:
        near = difflib.get_close_matches(path, program.paths, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(program.paths)}"
        return f"{path}: expected a field that is written to {program.system}/{program.stream}; {hint}"
    if path in program.lists:
        return f"{path}: a list is built from its lines and cannot be edited here"
    kind, sources = program.kinds[path], program.sources[path]
    leaf = entity.by_column.get(sources[0]) if len(sources) == 1 else None
    if value is None:
        required = leaf is not None and entity.by_name[leaf.field].required
        return f"{path}: expected a value ({leaf.path} is required), found an empty one" if leaf and required else None
    if kind == "number" and not _NUMBER.match(value):
        return f"{path}: expected a number like 12.50, found {value[:40]!r}"
    if kind == "boolean" and value not in _BOOLEANS:
        return f"{path}: expected true or false, found {value[:40]!r}"
    if leaf is None or leaf.kind in ("reference", "money", "lines") or not _is_plain(program, path):
        return None
    judged = enforce(
        pl.Series([value], dtype=pl.String), leaf.kind, entity.by_name[leaf.field], world.landscape.timezone
    )
    reason = judged.bad[0] if judged.bad is not None else None
    return f"{path}: {reason}" if reason else None


def _is_plain(program: OutboundProgram, path: str) -> bool:
    """Whether the target is told the canonical value as it is: then it is held to the model's own kind."""
    return any(w.path == path and not w.steps for w in program.work)
