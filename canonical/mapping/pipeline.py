"""The text of a sheet's rule column → compiled steps, and running them on columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from canonical.mapping.functions import RULES
from canonical.mapping.functions.base import Args, BadRule, Context, Inputs, Step
from canonical.mapping.functions.references import close

_BLANK = r"^\s*$"
_BAR = re.compile(r"""\s\|\s(?=(?:[^"]*"[^"]*")*[^"]*$)""")
_WORD = re.compile(r'(?:"[^"]*"|[^\s"])+')


@dataclass(frozen=True, slots=True)
class Piped:
    """What a whole pipeline made of its columns."""

    values: pl.Series
    bad: pl.Series | None = None
    """String reasons, null where fine."""
    rules: pl.Series | None = None
    """The rule that failed, where `bad` has a reason."""


def compile_rule(text: str, context: Context) -> tuple[Step, ...]:
    """The steps of a rule column; raises `BadRule`. Several sources without a rule that takes them are joined."""
    steps: list[Step] = []
    several = len(context.sources) > 1
    for name, args in parted(text):
        rule = RULES.get(name)
        if rule is None:
            raise BadRule("a known rule", repr(name), close(name, RULES))
        if args.raw and f"{name} {args.raw}" == rule.signature:
            # As the drop-down of a workbook gives it: nobody has said yet what is meant.
            raise BadRule(f"{name} with words of your own", f"{args.raw!r} as the list of rules has it")
        if several and not steps and not rule.takes_several:
            steps.append(RULES["join"].compile(Args("", ()), context))
        if not steps and not context.sources and name != "const":
            raise BadRule("a source field, or the rule const", repr(name))
        steps.append(rule.compile(args, context))
    if not steps and several:
        steps.append(RULES["join"].compile(Args("", ()), context))
    if not steps and not context.sources:
        raise BadRule("a source field, or the rule const", "neither")
    return tuple(steps)


def parted(text: str) -> list[tuple[str, Args]]:
    """A rule column as (rule's name, what stands behind it), in order; names are not looked at."""
    found = []
    for part in _BAR.split(text.strip()) if text.strip() else []:
        name, _, raw = part.strip().partition(" ")
        raw = raw.strip()
        found.append((name, Args(raw, tuple(word.replace('"', "") for word in _WORD.findall(raw)))))
    return found


def run_steps(
    steps: Sequence[Step],
    values: tuple[pl.Series, ...],
    frame: pl.DataFrame,
    lookups: Mapping[tuple[str, str], pl.DataFrame] | None = None,
) -> Piped:
    """Run the steps one after the other. A row that fails one is null from there on and keeps its first reason."""
    bad: pl.Series | None = None
    rules: pl.Series | None = None
    current = tuple(blank_to_null(v) for v in values)
    for step in steps:
        outcome = step.run(Inputs(current, frame, lookups or {}))
        made = blank_to_null(outcome.values)
        if bad is not None:
            made = made.set(bad.is_not_null(), None)
        bad, rules = first_reason(bad, rules, outcome.bad, step.name)
        current = (made,)
    return Piped(current[0], bad, rules)


def first_reason(
    bad: pl.Series | None, rules: pl.Series | None, more: pl.Series | None, rule: str
) -> tuple[pl.Series | None, pl.Series | None]:
    """Add a step's reasons to what failed before it; each row keeps its first."""
    if more is None:
        return bad, rules
    named = pl.select(pl.when(pl.lit(more.is_not_null())).then(pl.lit(rule)).alias("rule"))["rule"]
    if bad is None or rules is None:
        return more, named
    frame = pl.DataFrame({"bad": bad, "rules": rules, "more": more, "named": named})
    return frame.select(x=pl.coalesce("bad", "more"))["x"], frame.select(x=pl.coalesce("rules", "named"))["x"]


def is_blank(values: pl.Series) -> pl.Series:
    """Where a text is there but empty, or nothing but white space (null stays null)."""
    return values.str.contains(_BLANK)


def blank_to_null(values: pl.Series) -> pl.Series:
    """No canonical column holds an empty text: empty is null."""
    if values.null_count() == len(values):
        return values
    blank = is_blank(values)
    return values.set(blank, None) if blank.any() else values
