"""The way back of a row that reads a field: the outbound rule that writes it, where there is one.

Two things hold for every way back that is given (tests state them as properties):

    what is written is read again as what it was      forward(back(value)) == value, for every canonical value
    what was read is written as it stood              back(forward(x)) == x, for every x in the form that the rule reads
                                                      without changing its meaning: trimmed, no thousands separators,
                                                      times to the second, phone numbers as E.164 …

Where the first cannot be promised the row has no way back, and the reason is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from canonical.landscape import System
from canonical.mapping.functions import RULES
from canonical.mapping.functions.base import Asked, BadRule, Context, NoInverse
from canonical.mapping.pipeline import compile_rule, parted
from canonical.mapping.sheet import CANONICAL, SheetRow
from canonical.model import Field, Leaf, Model

INVERSE = "inverse"


@dataclass(frozen=True, slots=True)
class WayBack:
    """Whether and how a source field that is read could be written."""

    row: SheetRow
    source: str
    """`STREAM.PATH`, one of the row's sources."""
    rule: str | None
    """The outbound rule (empty: as it stands); None: there is none."""
    because: str = ""
    """Why there is none."""


def inverse(row: SheetRow, source: str, system: System, model: Model, timezone: str) -> str:
    """The outbound rule that writes `source` from the field that the inbound row fills. Raises NoInverse.

    `timezone`: the landscape's."""
    found = _leaf(row, model)
    if found is None:
        raise NoInverse("the field is not in the model")
    declared, leaf, is_line = found
    context = Context(
        system=system,
        model=model,
        kind=leaf.kind,
        field=declared,
        leaf=leaf.path,
        referenced=declared.entity if leaf.kind == "reference" else None,
        stream=row.stream,
        timezone=timezone,
        sources=row.paths,
    )
    try:
        compile_rule(row.rule, context)
    except BadRule as error:
        raise NoInverse(f"its own rule is refused ({error})") from None
    rule = _undone(row, source, context)
    if leaf.kind == "reference" and is_line and "value_of" not in rule:
        raise NoInverse("an id inside a list cannot be written (lookup by a value can: value_of)")
    if leaf.kind == "money" and not rule and not declared.currency:
        raise NoInverse("an amount of another currency would be written as if it were of this one")
    try:
        compile_rule(rule, replace(context, inbound=False, sources=(row.target_path,)))
    except BadRule as error:
        raise NoInverse(str(error)) from None
    return rule


def _undone(row: SheetRow, source: str, context: Context) -> str:
    """The pipeline, step by step from its end."""
    steps = list(parted(row.rule))
    if len(row.sources) > 1 and (not steps or not RULES[steps[0][0]].takes_several):
        steps.insert(0, parted("join")[0])
    domain = {"choice": context.field.values if context.field else (), "boolean": ("true", "false")}.get(context.kind)
    back: list[str] = []
    for at in range(len(steps) - 1, -1, -1):
        name, args = steps[at]
        here = context if at == 0 else replace(context, sources=row.paths[:1])
        undone = RULES[name].undo(args, here, Asked(row.sources.index(source), domain))
        domain = undone.domain
        if undone.rule:
            back.append(undone.rule)
    return " | ".join(back)


def _leaf(row: SheetRow, model: Model) -> tuple[Field, Leaf, bool] | None:
    """(the field, the leaf, whether it stands in a line) that an inbound row fills."""
    entity = model.by_name.get(row.entity or "")
    if entity is None:
        return None
    leaf = entity.by_path.get(row.target_path)
    if leaf is not None:
        return entity.by_name[leaf.field], leaf, False
    head, _, rest = row.target_path.partition(".")
    parent = entity.by_name.get(head)
    for field in parent.of if parent else ():
        for below in field.leaves:
            if below.path == rest:
                return field, below, True
    return None


def ways_back(rows: Sequence[SheetRow], system: System, model: Model, timezone: str) -> Iterator[WayBack]:
    """For every field of a system that is read: the rule that would write it, or why none can."""
    for row in rows:
        if row.direction != "inbound" or row.system != system.name:
            continue
        for source in row.sources:
            try:
                yield WayBack(row, source, inverse(row, source, system, model, timezone))
            except NoInverse as reason:
                yield WayBack(row, source, None, str(reason))


def reading_row(out: SheetRow, rows: Sequence[SheetRow]) -> SheetRow | None:
    """The row by which the field that an outbound row writes is read into the field that it writes from."""
    return next(
        (
            row
            for row in rows
            if row.direction == "inbound"
            and row.system == out.target_system
            and row.target_field == out.source_field
            and out.target_field in row.sources
        ),
        None,
    )


def is_asked(row: SheetRow) -> bool:
    """Whether an outbound row asks for the inverse of the row that reads its field."""
    return row.source_system == CANONICAL and row.rule.strip() == INVERSE
