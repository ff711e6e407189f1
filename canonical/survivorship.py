"""Survivorship: whose value each field of a golden record takes, and why (DESIGN 3, 9.5).

Decided per field, attribute groups (address; money with its currency; lists) as one. For each golden record and field:

1. the system of record, when one of its live records has an opinion with a value: the most recently changed such record
2. its emptiness, when all its records that have an opinion are empty and the golden value had been recorded from it: an
   observed change from value to empty. At first link an empty value of the system of record blanks nothing
3. the last good recorded value, when the system of record has no opinion now (absent, unmapped, failed its rule)
4. the first stand-in with a value, in the order of `until_recorded` (the field's, else the entity's): provisional
5. any other system with a value, by name of system and stream: provisional
6. the value that the golden record has already: provisional as it is

A field that is provisional has no word of its system of record yet; that holds for empty ones too, which is how an
emptiness that was recorded is told from one that nobody ever filled.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from canonical import met
from canonical.mapping.payloads import quoted
from canonical.model import Entity, Field

Slot = tuple[str, str]
"""(system, stream): each holds at most one primary link of a golden record (DESIGN 9.7)."""

PROVENANCE = {
    "id": pl.String,
    "field": pl.String,
    "system": pl.String,
    "stream": pl.String,
    "source_id": pl.String,
    "because": pl.String,
}
FINDINGS = {"id": pl.String, "field": pl.String, "system": pl.String, "stream": pl.String, "because": pl.String}

_RECORDED, _BLANKED, _LAST_GOOD, _STANDS_IN, _OTHER, _KEPT, _NOTHING = range(7)


@dataclass(frozen=True)
class Survived:
    """The golden records as they should be, by id.

    frame    (id, <entity.columns>, provisional List(String) of field names, sorted)
    decided  row for row with `frame`: for each field `rule:<field>` (one of the rules above) and `slot:<field>` (the
             number of the slot whose word it is; null: the golden record's own last value was kept), and
             `<n>:source_id` of the record in slot n
    """

    entity: Entity
    slots: tuple[Slot, ...]
    frame: pl.DataFrame
    decided: pl.DataFrame
    findings: pl.DataFrame
    """(id, field, system, stream, because): the system of record is empty, another system's value stands in."""

    @property
    def provenance(self) -> pl.DataFrame:
        """(id, field, system, stream, source_id, because): a row for each field that has a value; the three names are
        null when the golden record's own last value was kept."""
        parts = [
            _provenance(self.decided.with_columns(self.frame["id"]), item, self.slots) for item in self.entity.fields
        ]
        return pl.concat([pl.DataFrame(schema=PROVENANCE), *parts])


@dataclass(frozen=True, slots=True)
class Claim:
    """One system's version of one field, in a story. `said` is absent | empty | value."""

    system: str
    stream: str
    source_id: str
    said: str
    values: Mapping[str, str | None]
    is_winner: bool


@dataclass(frozen=True, slots=True)
class FieldStory:
    """Why one field of one golden record has its value: the claims, the winner, the reason."""

    field: str
    record: str
    """The field's system of record."""
    values: Mapping[str, str | None]
    is_provisional: bool
    because: str
    claims: tuple[Claim, ...]


def survive(
    linked: pl.DataFrame,
    entity: Entity,
    mapped: Mapping[Slot, frozenset[str]],
    current: pl.DataFrame,
) -> Survived:
    """Work out the golden records of every canonical id in `linked`.

    linked   (canonical_id, key, system, stream, source_id, absent List(String), deleted Boolean, changed_at, <columns>)
             all primary links of each id. `absent` names the columns on which the record has no opinion; a deleted
             record has none at all; `changed_at` sorts (null: oldest)
    mapped   (system, stream) → columns that its mapping sheet fills; a slot that is missing fills none
    current  (id, version, provisional List(String), <columns>)  the golden records as they are; new ids are missing
    """
    slots = sorted({(s, t) for s, t in linked.select("system", "stream").unique().iter_rows()})
    wide = _widen(linked, entity, mapped, current, slots)
    # all fields at once: see canonical/met.py
    decided = wide.select(e for item in entity.fields for e in _decide(item, entity, mapped, slots))
    rows = wide.hstack(decided)
    values = rows.select("id", *(v for item in entity.fields for v in _values(item, slots, rows.columns)))
    provisional = rows.select(_provisional(item) for item in entity.fields)
    spoken = decided.select(e for item in entity.fields for e in (pl.col(f"rule:{item.name}"), _spoke(item)))
    return Survived(
        entity,
        tuple(slots),
        values.with_columns(_names(provisional)).select("id", *entity.columns, "provisional"),
        spoken.hstack(wide.select(f"{n}:source_id" for n in range(len(slots)))),
        _reported(rows, entity, slots),
    )


def differences(current: pl.DataFrame, survived: Survived) -> pl.DataFrame:
    """What becomes different, for the records of which anything does: (id, changed, told).

    changed  List(String) of columns; of a new record those that have a value
    told     JSON for the history, one object for each source and reason: {system, stream, source_id, because, new:
             {column: value}, old: {column: value}}. A column without an old value is not in `old`; one that stands in
             `old` alone became empty
    """
    entity = survived.entity
    was = current.select("id", *(pl.col(c).alias(f"old:{c}") for c in entity.columns))
    rows = survived.frame.join(was, on="id", how="left", maintain_order="left").hstack(survived.decided)
    differs = {c: pl.col(c).ne_missing(pl.col(f"old:{c}")) for c in entity.columns}
    rows = rows.filter(pl.any_horizontal(pl.lit(value=False), *differs.values()))
    named = [pl.when(is_other).then(pl.lit(c)) for c, is_other in differs.items()]
    rows = rows.with_columns(pl.concat_list(named).list.drop_nulls().alias("changed"))
    cells = rows.with_columns(
        pl.when(differs[c]).then(_member(c, pl.col(side))).alias(f"{which}>{c}")
        for c in entity.columns
        for which, side in (("new", c), ("old", f"old:{c}"))
    )
    told = [_told(cells, survived.slots, *group, items) for group, items in _spoken(entity, rows).items()]
    text = pl.concat_str(told, separator=",", ignore_nulls=True) if told else pl.lit("")
    return cells.select("id", "changed", pl.format("[{}]", text).alias("told"))


def _member(column: str, value: pl.Expr) -> pl.Expr:
    """A column's member in a JSON object; null for a null."""
    return pl.lit(f"{json.dumps(column)}:") + quoted(value)


def _spoken(entity: Entity, rows: pl.DataFrame) -> dict[tuple[int, int | None, str], list[Field]]:
    """Which rules were used with which slots, for which authority (rule, slot, record): with the fields concerned."""
    if rows.is_empty():
        return {}
    pairs = [pl.struct(r=f"rule:{i.name}", s=f"slot:{i.name}").unique().implode().alias(i.name) for i in entity.fields]
    found: dict[tuple[int, int | None, str], list[Field]] = {}
    for item, used in zip(entity.fields, rows.select(pairs).row(0), strict=True):
        for pair in sorted(used, key=lambda p: (p["r"], -1 if p["s"] is None else p["s"])):
            found.setdefault((pair["r"], pair["s"], item.record), []).append(item)
    return found


def _told(
    cells: pl.DataFrame, slots: Sequence[Slot], rule: int, slot: int | None, record: str, items: Sequence[Field]
) -> pl.Expr:
    """One object of the history: all that these fields took from one source for one reason; null where none did."""
    held: dict[str, list[pl.Expr]] = {"new": [], "old": []}
    for item in items:
        is_said = (pl.col(f"rule:{item.name}") == rule) & pl.col(f"slot:{item.name}").eq_missing(slot)
        for leaf in item.leaves:
            for which, members in held.items():
                members.append(pl.when(is_said).then(pl.col(f"{which}>{leaf.column}")))
    new, old = (pl.concat_str(members, separator=",", ignore_nulls=True) for members in held.values())
    head = f'"because":{json.dumps(_because(rule, record), ensure_ascii=False)}'
    if slot is not None:
        system, stream = (json.dumps(name) for name in slots[slot])
        source = pl.lit(f'"system":{system},"stream":{stream},"source_id":') + quoted(pl.col(f"{slot}:source_id"))
        head_of: pl.Expr = source + pl.lit(f",{head}")
    else:
        head_of = pl.lit(head)
    before = pl.when(old != "").then(pl.lit(',"old":{') + old + pl.lit("}")).otherwise(pl.lit(""))
    whole = pl.lit("{") + head_of + pl.lit(',"new":{') + new + pl.lit("}") + before + pl.lit("}")
    return pl.when((new != "") | (old != "")).then(whole)


def _because(rule: int, record: str) -> str:
    """A rule in words."""
    return {
        _RECORDED: f"{record} is the system of record",
        _BLANKED: f"{record} is the system of record and emptied it",
        _LAST_GOOD: f"last good value: {record} is the system of record and has no opinion now",
        _STANDS_IN: f"stands in until {record} has a value",
        _OTHER: f"the only value known while {record} has none",
        _KEPT: "the value the golden record had: no linked system has one",
        _NOTHING: "nobody has a value any more",
    }[rule]


def explain(
    linked: pl.DataFrame,
    entity: Entity,
    mapped: Mapping[Slot, frozenset[str]],
    current: pl.DataFrame,
) -> list[FieldStory]:
    """The story of each field of one golden record, by the very decision of `survive`.

    linked and current as for `survive`, with the rows of a single canonical id (linked must not be empty). To tell why
    a golden record *has* its values pass it as `current`; `survive` changes nothing when nothing changed.
    """
    survived = survive(linked, entity, mapped, current)
    golden = survived.frame.row(0, named=True)
    won = {row["field"]: row for row in survived.provenance.iter_rows(named=True)}
    return [_story(item, golden, won.get(item.name), linked, mapped) for item in entity.fields]


def _story(
    item: Field,
    golden: Mapping[str, object],
    won: Mapping[str, str | None] | None,
    linked: pl.DataFrame,
    mapped: Mapping[Slot, frozenset[str]],
) -> FieldStory:
    names = [leaf.column for leaf in item.leaves]
    claims = []
    for row in linked.sort("system", "stream", "source_id").iter_rows(named=True):
        fills = mapped.get((row["system"], row["stream"]), frozenset())
        heard = [c for c in names if c in fills and c not in (row["absent"] or []) and not row["deleted"]]
        values = {c: row[c] for c in heard}
        said = "absent" if not heard else "value" if any(v is not None for v in values.values()) else "empty"
        key = (row["system"], row["stream"], row["source_id"])
        is_winner = won is not None and (won["system"], won["stream"], won["source_id"]) == key
        claims.append(Claim(*key, said, values, is_winner))
    flagged = golden["provisional"]
    return FieldStory(
        field=item.name,
        record=item.record,
        values={c: None if golden[c] is None else str(golden[c]) for c in names},
        is_provisional=isinstance(flagged, list) and item.name in flagged,
        because=str(won["because"]) if won else f"no system has a value, {item.record} has never said one",
        claims=tuple(claims),
    )


def _widen(
    linked: pl.DataFrame,
    entity: Entity,
    mapped: Mapping[Slot, frozenset[str]],
    current: pl.DataFrame,
    slots: Sequence[Slot],
) -> pl.DataFrame:
    """One row an id; for slot number n and each column it fills `n:<column>` and `n?<column>` (has an opinion)."""
    wide = linked.select(pl.col("canonical_id").alias("id")).unique().sort("id")
    was = current.select("id", "provisional", *entity.columns)
    wide = wide.join(was.with_columns(pl.lit(True).alias("known")), on="id", how="left", maintain_order="left")
    wide = wide.with_columns(pl.col("known").fill_null(False))
    for n, (system, stream) in enumerate(slots):
        fills = [c for c in entity.columns if c in mapped.get((system, stream), frozenset())]
        rows = linked.filter((pl.col("system") == system) & (pl.col("stream") == stream))
        rows = rows.sort("changed_at", "source_id", nulls_last=False).unique("canonical_id", keep="last")
        live = ~pl.col("deleted").fill_null(False)
        absent = pl.col("absent").fill_null(pl.lit([], dtype=pl.List(pl.String)))
        has_absent = bool(rows.select((absent.list.len() > 0).any()).item()) if rows.height else False
        rows = rows.select(
            pl.col("canonical_id").alias("id"),
            pl.col("source_id").alias(f"{n}:source_id"),
            pl.col("changed_at").alias(f"{n}:changed_at"),
            *(pl.col(c).alias(f"{n}:{c}") for c in fills),
            *(((live & ~absent.list.contains(c)) if has_absent else live).alias(f"{n}?{c}") for c in fills),
        )
        wide = wide.join(rows, on="id", how="left", maintain_order="left")
        wide = wide.with_columns(pl.col(f"{n}?{c}").fill_null(False) for c in fills)
    return wide


def _fills(item: Field, mapped: Mapping[Slot, frozenset[str]], slot: Slot) -> list[str]:
    return [leaf.column for leaf in item.leaves if leaf.column in mapped.get(slot, frozenset())]


def _decide(item: Field, entity: Entity, mapped: Mapping[Slot, frozenset[str]], slots: Sequence[Slot]) -> list[pl.Expr]:
    """Three columns: `rule:<field>` (which of the rules above), `slot:<field>` (the number of the winner, null: none)
    and `empty:<field>` (that of the first record of the system of record that has an opinion)."""
    names = [leaf.column for leaf in item.leaves]
    heard = {n: _fills(item, mapped, slot) for n, slot in enumerate(slots)}
    speaks = {n: pl.any_horizontal(pl.col(f"{n}?{c}") for c in own) for n, own in heard.items() if own}
    has_value = {
        n: pl.any_horizontal(pl.col(f"{n}?{c}") & pl.col(f"{n}:{c}").is_not_null() for c in own)
        for n, own in heard.items()
        if own
    }
    of_record = [n for n in speaks if slots[n][0] == item.record]
    order = {system: i for i, system in enumerate(item.until_recorded or entity.until_recorded)}
    others = [n for n in speaks if slots[n][0] != item.record]
    stand_ins = sorted((n for n in others if slots[n][0] in order), key=lambda n: (order[slots[n][0]], n))
    rest = [n for n in others if slots[n][0] not in order]
    recorded = _latest(of_record, has_value)
    is_empty = pl.any_horizontal(pl.lit(False), *(speaks[n] for n in of_record))
    was_recorded = pl.col("known") & ~pl.col("provisional").list.contains(item.name).fill_null(False)
    had_value = pl.any_horizontal(pl.col(c).is_not_null() for c in names)
    stands_in, other = _first(stand_ins, has_value), _first(rest, has_value)
    # A recorded null whose system of record falls silent may be a field the model gained since: others may fill it.
    rule = (
        pl.when(recorded.is_not_null())
        .then(_RECORDED)
        .when(is_empty & was_recorded)
        .then(_BLANKED)
        .when(~is_empty & was_recorded & had_value)
        .then(_LAST_GOOD)
        .when(stands_in.is_not_null())
        .then(_STANDS_IN)
        .when(other.is_not_null())
        .then(_OTHER)
        .when(had_value)
        .then(_KEPT)
        .otherwise(_NOTHING)
    )
    chosen = pl.coalesce(recorded, pl.when(rule == _STANDS_IN).then(stands_in).when(rule == _OTHER).then(other))
    empty = _first(of_record, speaks)
    return [
        rule.cast(pl.Int8).alias(f"rule:{item.name}"),
        chosen.alias(f"slot:{item.name}"),
        empty.alias(f"empty:{item.name}"),
    ]


def _spoke(item: Field) -> pl.Expr:
    """Whose word the field has: the winner's, or that of the record that emptied it."""
    is_blanked = pl.col(f"rule:{item.name}") == _BLANKED
    slot = pl.when(is_blanked).then(f"empty:{item.name}").otherwise(f"slot:{item.name}")
    return slot.alias(f"slot:{item.name}")


def _first(slots: Sequence[int], holds: Mapping[int, pl.Expr]) -> pl.Expr:
    """The number of the first slot, in the order given, for which it holds."""
    nothing = pl.lit(None, dtype=pl.Int32)
    return pl.coalesce(nothing, *(pl.when(holds[n]).then(pl.lit(n, dtype=pl.Int32)) for n in slots))


def _latest(slots: Sequence[int], holds: Mapping[int, pl.Expr]) -> pl.Expr:
    """The number of the most recently changed slot for which it holds; of equals the first by name."""
    best = _first(slots[:1], holds)
    best_at: pl.Expr = pl.when(best.is_not_null()).then(pl.col(f"{slots[0]}:changed_at")) if slots else best
    for n in slots[1:]:
        at = pl.col(f"{n}:changed_at")
        is_later = (at > best_at).fill_null(at.is_not_null() & best_at.is_null())
        wins = holds[n] & (best.is_null() | is_later)
        best_at = pl.when(wins).then(at).otherwise(best_at)
        best = pl.when(wins).then(pl.lit(n, dtype=pl.Int32)).otherwise(best)
    return best


def _values(item: Field, slots: Sequence[Slot], columns: Collection[str]) -> list[pl.Expr]:
    """The field's leaves: the winner's; a part on which it has no opinion keeps what the same authority last said."""
    rule, slot = pl.col(f"rule:{item.name}"), pl.col(f"slot:{item.name}")
    keeps = rule.is_in([_LAST_GOOD, _KEPT])
    was_recorded = pl.col("known") & ~pl.col("provisional").list.contains(item.name).fill_null(False)
    values = []
    for leaf in item.leaves:
        value: pl.Expr = pl.lit(None, dtype=pl.String)
        for n, _ in enumerate(slots):
            if f"{n}:{leaf.column}" in columns:
                said = pl.when(f"{n}?{leaf.column}").then(pl.col(f"{n}:{leaf.column}"))
                own = said.when((rule == _RECORDED) & was_recorded).then(pl.col(leaf.column))
                value = pl.when(slot == n).then(own).otherwise(value)
        values.append(pl.when(keeps).then(pl.col(leaf.column)).otherwise(value).alias(leaf.column))
    return values


def _provisional(item: Field) -> pl.Expr:
    """The field's name where its system of record has not spoken."""
    is_recorded = pl.col(f"rule:{item.name}").is_in([_RECORDED, _BLANKED, _LAST_GOOD])
    return pl.when(~is_recorded).then(pl.lit(item.name)).alias(item.name)


def _names(flags: pl.DataFrame) -> pl.Series:
    """The names that stand in a row of the flag columns, sorted: text joined and split, as lists are slow to sort."""
    texts = flags.select(pl.concat_str(sorted(flags.columns), separator=",", ignore_nulls=True).alias("provisional"))
    names = pl.when(pl.col("provisional") == "").then(pl.lit([], dtype=pl.List(pl.String)))
    return texts.select(names.otherwise(pl.col("provisional").str.split(",")).alias("provisional"))["provisional"]


def _provenance(rows: pl.DataFrame, item: Field, slots: Sequence[Slot]) -> pl.DataFrame:
    """Who said one field: see `Survived.provenance`."""
    slot, rule = pl.col(f"slot:{item.name}"), pl.col(f"rule:{item.name}")
    names = dict(enumerate(slots))
    said = [pl.when(slot == n).then(pl.col(f"{n}:source_id")) for n in names]
    return rows.filter(rule != _NOTHING).select(
        "id",
        pl.lit(item.name).alias("field"),
        slot.replace_strict({n: s for n, (s, _) in names.items()}, return_dtype=pl.String).alias("system"),
        slot.replace_strict({n: t for n, (_, t) in names.items()}, return_dtype=pl.String).alias("stream"),
        pl.coalesce(pl.lit(None, dtype=pl.String), *said).alias("source_id"),
        rule.replace_strict({r: _because(r, item.record) for r in range(_NOTHING)}, return_dtype=pl.String).alias(
            "because"
        ),
    )


def _reported(rows: pl.DataFrame, entity: Entity, slots: Sequence[Slot]) -> pl.DataFrame:
    """Where the system of record is empty at first link and somebody else has a value."""
    conditions = {
        item.name: pl.col(f"rule:{item.name}").is_in([_STANDS_IN, _OTHER, _KEPT])
        & pl.col(f"empty:{item.name}").is_not_null()
        for item in entity.fields
    }
    systems, streams = ({n: slot[part] for n, slot in enumerate(slots)} for part in (0, 1))
    found = []
    for name, at_link in met.rows_meeting(rows, conditions):
        empty, record = pl.col(f"empty:{name}"), entity.by_name[name].record
        found.append(
            at_link.select(
                "id",
                pl.lit(name).alias("field"),
                empty.replace_strict(systems, return_dtype=pl.String).alias("system"),
                empty.replace_strict(streams, return_dtype=pl.String).alias("stream"),
                pl.lit(f"{record} is empty at first link, another value stands in").alias("because"),
            )
        )
    return pl.concat([pl.DataFrame(schema=FINDINGS), *found])
