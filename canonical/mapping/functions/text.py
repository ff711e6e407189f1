"""Rules on text: joining, trimming, tables of codes, constants, extraction, and the JSON kind of what is written."""

from __future__ import annotations

import polars as pl
import re2

from canonical.mapping.functions.base import (
    Args,
    BadRule,
    Context,
    Inputs,
    Outcome,
    Rule,
    Step,
    each_value,
    judged,
    no_args,
    reasons,
    select,
    simple,
)


def _join(args: Args, _: Context) -> Step:
    separator = args.words[0] if args.words else " "

    def run(inputs: Inputs) -> Outcome:
        filled = [pl.col(f"c{i}").replace("", None) for i in range(len(inputs.values))]
        joined = select(inputs.values, pl.concat_str(filled, separator=separator, ignore_nulls=True))
        return Outcome(joined.set(joined == "", None))

    return Step("join", run)


def _map(args: Args, context: Context) -> Step:
    table: dict[str, str | None] = {}
    otherwise = "flag"
    for word in args.words:
        code, equals, value = word.partition("=")
        if not equals:
            raise BadRule("CODE=value pairs", repr(word))
        if code == "*":
            otherwise = value
        elif code in table:
            raise BadRule("each code once", f"{code!r} twice")
        else:
            table[code] = value or None
    if otherwise not in ("flag", "keep", "empty") and not otherwise.startswith("="):
        raise BadRule("*=flag, *=keep or *=empty", f"*={otherwise}")
    if not table:
        raise BadRule("CODE=value pairs", "none")
    _check_choice(table, context)
    old = pl.Series(list(table), dtype=pl.String)
    new = pl.Series(list(table.values()), dtype=pl.String)

    def run(inputs: Inputs) -> Outcome:
        values = inputs.first
        is_known = values.is_in(list(table))
        default = values if otherwise == "keep" else None
        done = values.replace_strict(old, new, default=default, return_dtype=pl.String)
        if otherwise != "flag":
            return Outcome(done)
        return Outcome(done, reasons(values, values.is_not_null() & ~is_known, "a code of the table"))

    return Step("choice", run)


def _check_choice(table: dict[str, str | None], context: Context) -> None:
    if not context.inbound or context.kind != "choice" or context.field is None:
        return
    for value in table.values():
        if value is not None and value not in context.field.values:
            raise BadRule(f"one of {', '.join(context.field.values)}", repr(value))


def _default(args: Args, _: Context) -> Step:
    value = _constant(args, "default")
    return Step("default", lambda inputs: Outcome(inputs.first.replace("", None).fill_null(value)))


def _const(args: Args, _: Context) -> Step:
    value = _constant(args, "const")

    def run(inputs: Inputs) -> Outcome:
        return Outcome(pl.Series([value], dtype=pl.String).new_from_index(0, inputs.frame.height))

    return Step("const", run)


def _constant(args: Args, name: str) -> str:
    raw = args.raw
    if len(raw) > 1 and raw[0] == raw[-1] == '"':
        raw = raw[1:-1]
    if not raw:
        raise BadRule(f"a value behind {name}", "none")
    return raw


def _required(args: Args, _: Context) -> Step:
    no_args(args, "required")

    def run(inputs: Inputs) -> Outcome:
        is_empty = inputs.first.is_null() | (inputs.first == "")
        text = pl.Series(["expected a value, found none"], dtype=pl.String).new_from_index(0, len(is_empty))
        return Outcome(inputs.first, text.set(~is_empty, None) if is_empty.any() else None)

    return Step("required", run)


def _extract(args: Args, _: Context) -> Step:
    pattern = args.raw
    try:
        compiled = re2.compile(pattern)
    except re2.error as error:
        raise BadRule("a regular expression of linear time (RE2)", f"{pattern!r}: {error}") from None
    if compiled.groups < 1:
        raise BadRule("a group ( ) that is taken out", repr(pattern))

    def one(value: str) -> str | None:
        found = compiled.search(value)
        return found.group(1) if found else None

    return Step("extract", lambda inputs: each_value(inputs.first, one, f"text like {pattern[:40]}"))


def _fixed(name: str, kind: str) -> Rule:
    def compile_step(args: Args, context: Context) -> Step:
        no_args(args, name)
        if context.inbound:
            raise BadRule(f"{name} on outbound rows only", "an inbound row")
        return Step(name, lambda inputs: Outcome(inputs.first), json=kind)  # type: ignore[arg-type]

    return Rule(name, f"Write the value as a JSON {kind}.", name, compile_step)


def _boolean(args: Args, _: Context) -> Step:
    table: dict[str, str] = {}
    for word in args.words:
        code, equals, value = word.partition("=")
        if not equals or value not in ("true", "false"):
            raise BadRule("WORD=true and WORD=false pairs", repr(word))
        table[code.lower()] = value
    if not table:
        raise BadRule("WORD=true and WORD=false pairs", "none")
    old, new = pl.Series(list(table), dtype=pl.String), pl.Series(list(table.values()), dtype=pl.String)

    def run(inputs: Inputs) -> Outcome:
        words = inputs.first.str.strip_chars().str.to_lowercase()
        done = words.replace_strict(old, new, default=None, return_dtype=pl.String)
        return judged(inputs.first, done, f"one of {', '.join(table)}")

    return Step("boolean", run)


RULES = (
    Rule(
        "join",
        "Join several fields, leaving out empty ones. Between them stands a space, or SEP.",
        "join [SEP]",
        _join,
        inverse="split_name",
        takes_several=True,
        takes_empty=True,
    ),
    Rule(
        "map",
        "Replace codes by a table. Unknown codes are flagged (*=flag), kept (*=keep) or made empty (*=empty).",
        'map CODE=value "A CODE"=value *=flag|keep|empty',
        _map,
        inverse="map",
    ),
    Rule("default", "Use VALUE where the field is empty.", "default VALUE", _default, takes_empty=True),
    Rule("required", "An empty field is a problem.", "required", _required, takes_empty=True),
    Rule("const", "Always VALUE.", "const VALUE", _const, takes_several=True, takes_empty=True),
    simple("trim", "Take white space off both ends.", lambda v: Outcome(v.str.strip_chars())),
    simple("lower", "Lower case.", lambda v: Outcome(v.str.to_lowercase())),
    simple("upper", "Upper case.", lambda v: Outcome(v.str.to_uppercase())),
    simple(
        "code",
        "A number of record (VAT, register, article) without the spaces, dots, dashes and slashes people set in it.",
        lambda v: Outcome(v.str.replace_all(r"[\s./\-]", "").str.to_uppercase()),
    ),
    Rule(
        "extract",
        "Take out what group 1 of a regular expression (RE2, linear time) finds.",
        "extract REGEX",
        _extract,
    ),
    Rule(
        "boolean",
        "Read declared words as true or false; any other word is a problem.",
        "boolean yes=true no=false …",
        _boolean,
        inverse="map",
    ),
    _fixed("text", "string"),
    _fixed("bool", "boolean"),
)
