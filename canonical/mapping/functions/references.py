"""References: a source's own id or value becomes a token that resolve turns into a golden record's id, and back."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable

import polars as pl

from canonical.mapping.functions.base import (
    Args,
    Asked,
    BadRule,
    Context,
    Inputs,
    NoInverse,
    Outcome,
    Rule,
    Step,
    Undone,
    reasons,
)
from canonical.mapping.payloads import quoted


def _lookup(args: Args, context: Context) -> Step:
    if len(args.words) != 1:
        raise BadRule("lookup STREAM or lookup =ENTITY.FIELD", repr(args.raw))
    if context.inbound and context.kind != "reference":
        raise BadRule("lookup on a reference", f"{context.leaf}, a {context.kind}")
    word = args.words[0]
    return _by_value(word[1:], context) if word.startswith("=") else _by_id(word, context)


def _by_id(word: str, context: Context) -> Step:
    system, slash, stream = word.rpartition("/")
    if not slash:
        system = context.system.name
        if context.system.streams and stream not in context.system.streams:
            raise BadRule(f"a stream of {system}", repr(stream), close(stream, context.system.streams))
    return Step("lookup", lambda inputs: Outcome(_token(("link", system, stream), inputs.first)))


def _by_value(word: str, context: Context) -> Step:
    from canonical.mapping.kinds import enforce

    entity_name, _, path = word.partition(".")
    entity = context.model.by_name.get(entity_name)
    if entity is None:
        raise BadRule("an entity of the model", repr(entity_name), close(entity_name, context.model.by_name))
    leaf = entity.by_path.get(path)
    if leaf is None:
        raise BadRule(f"a field of {entity_name}", repr(path), close(path, entity.by_path))
    if context.referenced not in (None, entity_name):
        raise BadRule(f"a field of {context.referenced}", repr(word))

    def run(inputs: Inputs) -> Outcome:
        # What is looked for must be written as that field's own column has it.
        outcome = enforce(inputs.first, leaf.kind, entity.by_name[leaf.field], context.system.timezone)
        return Outcome(_token(("value", leaf.column), outcome.values), outcome.bad)

    return Step("lookup", run)


def _lookup_undone(args: Args, context: Context, _: Asked) -> Undone:
    """An id of the system's own is written without a rule; a value by `value_of`."""
    word = args.words[0]
    if word.startswith("="):
        return Undone(f"value_of {word[1:].partition('.')[2]}")
    system, _slash, _stream = word.rpartition("/")
    if system not in ("", context.system.name):
        raise NoInverse(f"the id is one of {system}")
    return Undone()


def _token(start: tuple[str, ...], values: pl.Series) -> pl.Series:
    """`["link",system,stream,value]` or `["value",column,value]` as compact JSON; null stays null."""
    head = json.dumps(start, ensure_ascii=False, separators=(",", ":"))[:-1] + ","
    filled = values.set(values == "", None)
    frame = pl.DataFrame({"v": filled})
    return frame.select((pl.lit(head) + quoted(pl.col("v")) + pl.lit("]")).alias("token"))["token"]


def _value_of(args: Args, context: Context) -> Step:
    if context.inbound:
        raise BadRule("value_of on outbound rows only", "an inbound row")
    if context.referenced is None:
        raise BadRule("value_of on a reference", f"{context.leaf}, a {context.kind}")
    if len(args.words) != 1:
        raise BadRule("value_of FIELD", repr(args.raw))
    entity = context.model[context.referenced]
    word = args.words[0].removeprefix(f"{entity.name}.")
    leaf = entity.by_path.get(word) or entity.by_column.get(word)
    if leaf is None:
        raise BadRule(f"a field of {entity.name}", repr(word), close(word, entity.by_path))
    wanted = (entity.name, leaf.column)

    def run(inputs: Inputs) -> Outcome:
        known = inputs.lookups.get(wanted)
        if known is None:
            raise KeyError(f"the caller gives no lookup for {wanted[0]}.{wanted[1]}")
        ids = inputs.first
        values = known["value"].cast(pl.String)
        done = ids.replace_strict(known["id"].cast(pl.String), values, default=None, return_dtype=pl.String)
        is_unknown = ids.is_not_null() & ~ids.is_in(known["id"].cast(pl.String).to_list())
        return Outcome(done, reasons(ids, is_unknown, f"a known {wanted[0]}"))

    return Step("value_of", run, lookup=wanted)


def close(word: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return found[0] if found else None


RULES = (
    Rule(
        "lookup",
        "A reference: the record of STREAM with this id, or the one whose unique field has this value.",
        "lookup STREAM | lookup =ENTITY.FIELD",
        _lookup,
        inverse="value_of",
        undo=_lookup_undone,
    ),
    Rule(
        "value_of",
        "Outbound: a field of the record that a reference points to, instead of the target's own id.",
        "value_of FIELD",
        _value_of,
        inverse="lookup",
    ),
)
