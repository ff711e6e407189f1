"""A sheet's outbound rows compiled for one target stream, and run on golden records.

Each target path becomes a column; a list (`LineItems[].Quantity`) becomes one column of JSON text, built from the
record's lines. `build_payloads` then nests the columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from canonical.landscape import Stream, System
from canonical.mapping.functions.base import BadRule, Context, Step
from canonical.mapping.functions.references import close
from canonical.mapping.paths import BadPath, Each, parse_path
from canonical.mapping.payloads import JsonKind, build_payloads
from canonical.mapping.pipeline import compile_rule, run_steps
from canonical.mapping.sheet import SheetRow
from canonical.model import Entity, Field, Leaf, LeafKind, Model
from canonical.problems import Problem, Refused

PROBLEMS: Final = {"id": pl.String, "path": pl.String, "rule": pl.String, "reason": pl.String}
_KINDS: Final[Mapping[LeafKind, JsonKind]] = {
    "integer": "number",
    "decimal": "number",
    "money": "number",
    "boolean": "boolean",
}
_SAME_KIND: Final = frozenset({"trim", "default", "required"})
"""Rules that leave a value's kind as it is; any other makes it text, unless a last `number`, `bool` or `text` says."""
_CANONICAL_ID: Final = Field("id", "text", record="", owner="", origin="")
"""Every golden record's own id, which a target may keep so that its record is found again by it."""
_LINE: Final = "_line"
"""Position of a line among all lines of the batch."""


@dataclass(frozen=True)
class Outbound:
    """Golden records in a target's own shape."""

    frame: pl.DataFrame
    """`id` and one String column a target path (a list: its JSON text)."""
    problems: pl.DataFrame
    """id, path, rule, reason: values that could not be made; their cell is null."""


@dataclass(frozen=True, slots=True)
class Written:
    """One target path as it is made."""

    path: str
    sources: tuple[str, ...]
    """Leaf columns; of a line's leaf its column within the line."""
    from_line: tuple[bool, ...]
    """For each source: whether it stands in the line (else in the record)."""
    steps: tuple[Step, ...]
    kind: JsonKind


@dataclass(frozen=True)
class WrittenList:
    """A list in the target, made from a list field of the record."""

    path: str
    field: str
    line_columns: tuple[str, ...]
    elements: tuple[Written, ...]
    """Their paths are inside one element."""


@dataclass(frozen=True)
class OutboundProgram:
    """How golden records of an entity become records of a target stream."""

    entity: str
    system: str
    stream: str
    paths: tuple[str, ...]
    kinds: Mapping[str, JsonKind]
    sources: Mapping[str, tuple[str, ...]]
    """Path → the leaf columns it is made from (a list: its list field, and what its elements take from the record)."""
    refs: Mapping[str, str]
    """Path → entity, where the path is written as the target's own id of that entity's record."""
    needs: frozenset[tuple[str, str, str]]
    """(reference column, entity, column) that `value_of` looks up; a line's reference is `LIST.FIELD`."""
    lists: Mapping[str, WrittenList]
    work: tuple[Written, ...] = field(default=())

    def run(self, golden: pl.DataFrame, lookups: Mapping[tuple[str, str], pl.DataFrame] | None = None) -> Outbound:
        """Make every path of `golden` (id and leaf columns). `lookups`: (entity, column) → frame (id, value).

        A `refs` path's column holds the canonical id, for the planner to resolve."""
        known = lookups or {}
        problems = [pl.DataFrame(schema=PROBLEMS)]
        data: dict[str, pl.Series] = {"id": golden["id"]}
        for written in self.work:
            values = tuple(golden[source] for source in written.sources)
            piped = run_steps(written.steps, values, golden, known)
            data[written.path] = piped.values.rename(written.path)
            problems.append(_problems(golden["id"], written.path, piped.bad, piped.rules))
        for path, built in self.lists.items():
            text, bad = _run_list(built, golden, known)
            data[path] = text
            problems.append(bad)
        return Outbound(pl.DataFrame(data).select("id", *self.paths), pl.concat(problems))


def _problems(ids: pl.Series, path: str, bad: pl.Series | None, rules: pl.Series | None) -> pl.DataFrame:
    if bad is None or rules is None:
        return pl.DataFrame(schema=PROBLEMS)
    frame = pl.DataFrame({"id": ids.cast(pl.String), "rule": rules, "reason": bad}).filter(bad.is_not_null())
    return frame.select("id", pl.lit(path).alias("path"), "rule", "reason")


def _run_list(
    built: WrittenList, golden: pl.DataFrame, lookups: Mapping[tuple[str, str], pl.DataFrame]
) -> tuple[pl.Series, pl.DataFrame]:
    """The JSON text of a target list for each record; null where the record has no lines."""
    line_type = pl.Struct(dict.fromkeys(built.line_columns, pl.String))
    parsed = golden.with_columns(_parsed=pl.col(built.field).str.json_decode(pl.List(line_type)))
    lines = (
        parsed.with_row_index(_LINE)
        .filter(pl.col("_parsed").list.len() > 0)
        .explode("_parsed")
        .rename({name: f"record:{name}" for name in golden.columns})
        .unnest("_parsed")
    )
    cells: dict[str, pl.Series] = {}
    problems = [pl.DataFrame(schema=PROBLEMS)]
    for element in built.elements:
        names = [n if own else f"record:{n}" for n, own in zip(element.sources, element.from_line, strict=True)]
        piped = run_steps(element.steps, tuple(lines[name] for name in names), lines, lookups)
        cells[element.path] = piped.values
        problems.append(_problems(lines["record:id"], f"{built.path}[].{element.path}", piped.bad, piped.rules))
    # A list is written as a whole, so an empty value in it is simply left out.
    written = pl.DataFrame(cells)
    kinds = {e.path: e.kind for e in built.elements}
    texts = build_payloads(written, kinds, written.select(pl.all().is_not_null())) if lines.height else []
    grouped = (
        pl.DataFrame({_LINE: lines[_LINE], "text": pl.Series(texts, dtype=pl.String)})
        .group_by(_LINE, maintain_order=True)
        .agg(pl.col("text").str.join(","))
        .select(_LINE, text=pl.lit("[") + pl.col("text") + pl.lit("]"))
    )
    index = pl.DataFrame({_LINE: pl.int_range(golden.height, dtype=pl.get_index_type(), eager=True)})
    text = index.join(grouped, on=_LINE, how="left", maintain_order="left")["text"]
    return text.rename(built.path), pl.concat(problems)


def compile_outbound(
    rows: Sequence[SheetRow], entity: Entity, system: System, stream: Stream, model: Model
) -> OutboundProgram:
    """Compile the rows that lead from an entity to a stream; raises `Refused` with all problems.

    Rows of other entities, systems and streams are passed over; a constant belongs to every entity of its stream."""
    problems: list[Problem] = []
    work: list[Written] = []
    elements: dict[str, list[Written]] = {}
    list_fields: dict[str, str] = {}
    needs: set[tuple[str, str, str]] = set()
    refs: dict[str, str] = {}
    seen: set[str] = set()
    for row in rows:
        if row.direction != "outbound" or row.system != system.name or row.stream != stream.name:
            continue
        if row.entity not in (None, entity.name):
            continue
        try:
            if row.target_path in seen:
                raise BadRule("each target once", f"{row.target_field} twice")
            seen.add(row.target_path)
            _compile_row(row, entity, system, stream, model, _Parts(work, elements, list_fields, needs, refs))
        except (BadRule, BadPath) as error:
            problems.append(_refused(row, error))
    if not problems:
        problems.extend(_endless(rows, entity, seen, list_fields))
    if problems:
        raise Refused(problems)
    return _program(entity, system, stream, work, elements, list_fields, needs, refs)


def _endless(
    rows: Sequence[SheetRow], entity: Entity, seen: set[str], list_fields: Mapping[str, str]
) -> Iterator[Problem]:
    """Rows of this entity that write into a list of which no row says how many elements it has."""
    for row in rows:
        if row.entity == entity.name and row.target_path in seen and row.direction == "outbound":
            list_path, _ = _list_of(row.target_path)
            if list_path is not None and list_path not in list_fields:
                yield _refused(row, BadRule("a field of lines in the same list", "none"))


@dataclass(frozen=True, slots=True)
class _Parts:
    """What compiled rows are collected in."""

    work: list[Written]
    elements: dict[str, list[Written]]
    list_fields: dict[str, str]
    needs: set[tuple[str, str, str]]
    refs: dict[str, str]


def _compile_row(row: SheetRow, entity: Entity, system: System, stream: Stream, model: Model, parts: _Parts) -> None:
    list_path, inner = _list_of(row.target_path)
    sources = [_source(path, entity) for path in row.paths]
    line_fields = {owner.name for owner, _, is_line in sources if is_line}
    if line_fields and list_path is None:
        raise BadRule("a list in the target (LIST[].FIELD) for a field of lines", repr(row.target_field))
    leaf, declared = (sources[0][1], sources[0][2] or sources[0][0]) if len(sources) == 1 else (None, None)
    referenced = declared.entity if leaf is not None and declared is not None and leaf.kind == "reference" else None
    context = Context(
        system=system,
        model=model,
        kind=leaf.kind if leaf else "text",
        field=declared,
        leaf=leaf.path if leaf else "",
        referenced=referenced,
        stream=stream.name,
        inbound=False,
        sources=row.paths,
    )
    steps = compile_rule(row.rule, context)
    columns = tuple(found.column for _, found, _ in sources)
    in_line = tuple(bool(line) for _, _, line in sources)
    written = Written(inner, columns, in_line, steps, _kind(leaf, steps))
    looked_up = [step.lookup for step in steps if step.lookup]
    for name, column in looked_up:
        reference = f"{sources[0][0].name}.{columns[0]}" if in_line[0] else columns[0]
        parts.needs.add((reference, name, column))
    if list_path is None:
        parts.work.append(written)
        if referenced and not looked_up:
            parts.refs[inner] = referenced
        return
    if referenced and not looked_up:
        raise BadRule("value_of FIELD for a reference inside a list", repr(row.rule))
    for name in line_fields:
        if parts.list_fields.setdefault(list_path, name) != name:
            raise BadRule(f"fields of {parts.list_fields[list_path]}", repr(row.source_field))
    parts.elements.setdefault(list_path, []).append(written)


def _source(path: str, entity: Entity) -> tuple[Field, Leaf, Field | None]:
    """(the entity's field, the leaf, the line's field if the leaf stands in a line) that a source path names."""
    if path == "id":
        return _CANONICAL_ID, _CANONICAL_ID.leaves[0], None
    leaf = entity.by_path.get(path)
    if leaf is not None and leaf.kind != "lines":
        return entity.by_name[leaf.field], leaf, None
    head, _, rest = path.partition(".")
    parent = entity.by_name.get(head)
    known = [p for p, found in entity.by_path.items() if found.kind != "lines"]
    if parent is not None and parent.type == "list":
        for line_field in parent.of:
            for below in line_field.leaves:
                if below.path == rest:
                    return parent, below, line_field
        known = [f"{head}.{below.path}" for f in parent.of for below in f.leaves]
    raise BadRule(f"a field of {entity.name}", repr(path), close(path, known))


def _list_of(path: str) -> tuple[str | None, str]:
    """`LineItems[].Quantity` → ("LineItems", "Quantity"); a path outside lists → (None, path)."""
    steps = parse_path(path)
    if not any(isinstance(step, Each) for step in steps):
        return None, path
    list_path, _, inner = path.partition("[].")
    if not inner or "[]" in inner:
        raise BadRule("one list with a field below it (LIST[].FIELD)", repr(path))
    return list_path, inner


def _kind(leaf: Leaf | None, steps: Sequence[Step]) -> JsonKind:
    fixed = next((step.json for step in reversed(steps) if step.json), None)
    if fixed:
        return fixed
    if leaf is None or any(step.name not in _SAME_KIND for step in steps):
        return "string"
    return _KINDS.get(leaf.kind, "string")


def _program(
    entity: Entity,
    system: System,
    stream: Stream,
    work: list[Written],
    elements: dict[str, list[Written]],
    list_fields: dict[str, str],
    needs: set[tuple[str, str, str]],
    refs: dict[str, str],
) -> OutboundProgram:
    lists: dict[str, WrittenList] = {}
    sources: dict[str, tuple[str, ...]] = {w.path: w.sources for w in work}
    for path, parts in elements.items():
        name = list_fields.get(path)
        if name is None:
            continue  # constants alone: they belong to another entity's list in the same stream
        columns = tuple(leaf.column for f in entity.by_name[name].of for leaf in f.leaves)
        lists[path] = WrittenList(path, name, columns, tuple(parts))
        outer = (s for w in parts for s, own in zip(w.sources, w.from_line, strict=True) if not own)
        sources[path] = tuple(dict.fromkeys((name, *outer)))
    kinds: dict[str, JsonKind] = {w.path: w.kind for w in work}
    kinds.update(dict.fromkeys(lists, "json"))
    return OutboundProgram(
        entity.name,
        system.name,
        stream.name,
        (*(w.path for w in work), *lists),
        kinds,
        sources,
        refs,
        frozenset(needs),
        lists,
        tuple(work),
    )


def _refused(row: SheetRow, error: BadRule | BadPath) -> Problem:
    if isinstance(error, BadPath):
        return Problem(row.file, row.line, f"row {row.line}, column target_field", str(error), repr(row.target_field))
    return Problem(row.file, row.line, f"row {row.line}", error.expected, error.found, error.suggestion)
