"""Rules on text: joining, trimming, tables of codes, constants, extraction, and the JSON kind of what is written."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
import re2

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
    as_kind,
    each_value,
    forgotten,
    judged,
    no_args,
    reasons,
    select,
    simple,
    unchanged,
)


def _join(args: Args, _: Context) -> Step:
    separator = args.words[0] if args.words else " "

    def run(inputs: Inputs) -> Outcome:
        filled = [pl.col(f"c{i}").replace("", None) for i in range(len(inputs.values))]
        joined = select(inputs.values, pl.concat_str(filled, separator=separator, ignore_nulls=True))
        return Outcome(joined.set(joined == "", None))

    return Step("join", run)


def _join_undone(args: Args, context: Context, asked: Asked) -> Undone:
    """Taken apart at a separator that is told apart from what stands in the parts; a blank is not."""
    if len(context.sources) < 2:
        return Undone("", asked.domain)
    separator = args.words[0] if args.words else " "
    if context.kind != "text":
        raise NoInverse("the field's own form has no such parts")
    if not separator.strip():
        raise NoInverse("a blank stands inside names too (join with a separator, or write split_name first)")
    return Undone(f'part {asked.position + 1} of {len(context.sources)} "{separator}"')


def _part(args: Args, _: Context) -> Step:
    words = args.words
    if (
        len(words) != 4
        or words[1] != "of"
        or not (words[0] + words[2]).isascii()
        or not (words[0] + words[2]).isdigit()
    ):
        raise BadRule('part N of M SEP (part 1 of 2 ", ")', repr(args.raw))
    number, pieces, separator = int(words[0]), int(words[2]), words[3]
    if not 1 <= number <= pieces or pieces < 2:
        raise BadRule("a part from 1 to M, of 2 or more", repr(args.raw))

    def run(inputs: Inputs) -> Outcome:
        cut = inputs.first.str.split(separator)
        fits = (cut.list.len() == pieces).fill_null(value=False)
        done = cut.set(~fits, None).list.get(number - 1, null_on_oob=True)
        return judged(inputs.first, done, f'{pieces} parts with "{separator}" between them')

    return Step("part", run)


def _map(args: Args, context: Context) -> Step:
    table, otherwise = _table(args)
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


def _table(args: Args) -> tuple[dict[str, str | None], str]:
    """(code → value, what becomes of the other codes) of a rule `map`."""
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
    return table, otherwise


def _map_undone(args: Args, _: Context, asked: Asked) -> Undone:
    """The table the other way round, if every value has exactly one code."""
    table, otherwise = _table(args)
    if otherwise == "empty":
        raise NoInverse("other codes become empty, and which one it was is forgotten")
    codes: dict[str, str] = {}
    for code, value in table.items():
        if value is None:
            raise NoInverse(f"{code} becomes empty")
        if value in codes:
            raise NoInverse(f"{codes[value]} and {code} both become {value}")
        codes[value] = code
    if otherwise == "keep":
        twice = next((value for value in codes if value not in table), None)
        if twice is not None:
            raise NoInverse(f"{twice} is what {codes[twice]} becomes, and may be kept as it stands")
        return Undone(_written(codes, "keep"), None)
    if asked.domain is None:
        raise NoInverse("the table has no code for whatever else the field may hold (make it a choice)")
    missing = [value for value in asked.domain if value not in codes]
    if missing:
        raise NoInverse(f"the table has no code for {', '.join(missing)}")
    return Undone(_written(codes), tuple(codes[value] for value in asked.domain))


def _written(table: Mapping[str, str], otherwise: str | None = None) -> str:
    """A table as the rule `map` that a sheet would have."""
    words = [f"{code}={value}" for code, value in table.items()]
    for word, code in zip(words, table, strict=True):
        if "=" in code or code == "*" or not code:
            raise NoInverse(f"{code} cannot stand as a code in a table")
        assert '"' not in word, "words of a rule have no quotes"
    quoted = [f'"{word}"' if " " in word or "|" in word else word for word in words]
    return " ".join(["map", *quoted, *([f"*={otherwise}"] if otherwise else [])])


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


def _inverse(args: Args, context: Context) -> Step:
    """Rows with `inverse` are given the rule it stands for when a landscape is read; what arrives here is misused."""
    expected = (
        "inverse alone in its cell, on an outbound row" if context.inbound or args.raw else "it alone in its cell"
    )
    raise BadRule(expected, repr(f"inverse {args.raw}".strip()))


def _fixed(name: str, kind: str) -> Rule:
    def compile_step(args: Args, context: Context) -> Step:
        no_args(args, name)
        if context.inbound:
            raise BadRule(f"{name} on outbound rows only", "an inbound row")
        return Step(name, lambda inputs: Outcome(inputs.first), json=kind)  # type: ignore[arg-type]

    return Rule(name, f"Write the value as a JSON {kind}.", name, compile_step)


def _words(args: Args) -> dict[str, str]:
    """Word → true or false."""
    table: dict[str, str] = {}
    for word in args.words:
        code, equals, value = word.partition("=")
        if not equals or value not in ("true", "false"):
            raise BadRule("WORD=true and WORD=false pairs", repr(word))
        table[code] = value
    if not table:
        raise BadRule("WORD=true and WORD=false pairs", "none")
    return table


def _boolean_undone(args: Args, _: Context, asked: Asked) -> Undone:
    words: dict[str, str] = {}
    for word, value in _words(args).items():
        if value in words:
            raise NoInverse(f"{words[value]} and {word} both mean {value}")
        words[value] = word
    missing = [value for value in asked.domain or ("true", "false") if value not in words]
    if missing:
        raise NoInverse(f"no word means {' or '.join(missing)}")
    return Undone(_written(words), tuple(words.values()))


def _boolean(args: Args, _: Context) -> Step:
    table = {word.lower(): value for word, value in _words(args).items()}
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
        inverse="part",
        takes_several=True,
        takes_empty=True,
        undo=_join_undone,
    ),
    Rule(
        "part",
        "One part of a text that has exactly M parts with SEP between them; any other text is a problem.",
        "part N of M SEP",
        _part,
        undo=forgotten("the other parts are not in it"),
    ),
    Rule(
        "map",
        "Replace codes by a table. Unknown codes are flagged (*=flag), kept (*=keep) or made empty (*=empty).",
        'map CODE=value "A CODE"=value *=flag|keep|empty',
        _map,
        inverse="map",
        undo=_map_undone,
    ),
    Rule(
        "default",
        "Use VALUE where the field is empty.",
        "default VALUE",
        _default,
        takes_empty=True,
        undo=forgotten("an empty field and the default are read alike"),
    ),
    Rule("required", "An empty field is a problem.", "required", _required, takes_empty=True, undo=unchanged),
    Rule(
        "const",
        "Always VALUE.",
        "const VALUE",
        _const,
        takes_several=True,
        takes_empty=True,
        undo=forgotten("the source is not read at all"),
    ),
    simple("trim", "Take white space off both ends.", lambda v: Outcome(v.str.strip_chars()), unchanged),
    simple(
        "lower",
        "Lower case.",
        lambda v: Outcome(v.str.to_lowercase()),
        as_kind("which letters were capitals is forgotten", "email"),
    ),
    simple(
        "upper",
        "Upper case.",
        lambda v: Outcome(v.str.to_uppercase()),
        as_kind("which letters were small is forgotten", "currency", "country"),
    ),
    simple(
        "code",
        "A number of record (VAT, register, article) without the spaces, dots, dashes and slashes people set in it.",
        lambda v: Outcome(v.str.replace_all(r"[\s./\-]", "").str.to_uppercase()),
        forgotten("the spaces, dots and dashes within it are forgotten"),
    ),
    Rule(
        "extract",
        "Take out what group 1 of a regular expression (RE2, linear time) finds.",
        "extract REGEX",
        _extract,
        undo=forgotten("what stands around group 1 is forgotten"),
    ),
    Rule(
        "boolean",
        "Read declared words as true or false; any other word is a problem.",
        "boolean yes=true no=false …",
        _boolean,
        inverse="map",
        undo=_boolean_undone,
    ),
    _fixed("text", "string"),
    _fixed("bool", "boolean"),
    Rule(
        "inverse",
        "Outbound, alone in its cell: the inverse of the row by which the same system's field is read.",
        "inverse",
        _inverse,
    ),
)
