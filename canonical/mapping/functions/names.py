"""People's names, taken apart by `nameparser` (5,200 names a second); plain two-word names by columns."""

from __future__ import annotations

from functools import cache
from typing import Final

import polars as pl

from canonical.mapping.functions.base import Args, BadRule, Context, Outcome, Rule, Step, forgotten, on_distinct

LONGEST: Final = 1_000
"""Characters of a name that is taken apart: nameparser takes 22 microseconds for each of them, minutes for a book."""
PARTS: Final = ("title", "first", "middle", "last", "suffix")
_TWO_WORDS = r"^[A-Z][a-z]+ [A-Z][a-z]+$"


@cache
def _special() -> frozenset[str]:
    """Lower-case words that mean something to nameparser (titles, suffixes, prefixes, conjunctions …)."""
    from nameparser.config import CONSTANTS

    sets = (
        CONSTANTS.titles,
        CONSTANTS.first_name_titles,
        CONSTANTS.suffix_acronyms,
        CONSTANTS.suffix_not_acronyms,
        CONSTANTS.conjunctions,
        CONSTANTS.prefixes,
        CONSTANTS.non_first_name_prefixes,
        CONSTANTS.bound_first_names,
    )
    return frozenset(str(word).lower() for words in sets for word in words)


def split_name(values: pl.Series, part: str) -> pl.Series:
    """One part of full names; null where a name has no such part."""
    is_plain = values.str.contains(_TWO_WORDS)
    words = values.str.splitn(" ", 2).struct.unnest()
    first, last = words.to_series(0), words.to_series(1)
    special = list(_special())
    is_plain = is_plain & ~first.str.to_lowercase().is_in(special) & ~last.str.to_lowercase().is_in(special)
    plain = {"first": first, "last": last}.get(part)
    done = pl.Series([None], dtype=pl.String).new_from_index(0, len(values)) if plain is None else plain
    rest = (~is_plain).arg_true()
    if not len(rest):
        return done
    parsed = pl.Series([_parsed(v, part) for v in values.gather(rest)], dtype=pl.String)
    return done.scatter(rest, parsed)


def _parsed(value: str | None, part: str) -> str | None:
    if value is None:
        return None
    from nameparser import HumanName

    return str(getattr(HumanName(value), part)) or None


def _split_name(args: Args, _: Context) -> Step:
    if len(args.words) != 1 or args.words[0] not in PARTS:
        raise BadRule(f"split_name {'|'.join(PARTS)}", repr(args.raw))
    part = args.words[0]
    return Step("split_name", lambda i: on_distinct(i.first, lambda values: _parted(values, part)))


def _parted(values: pl.Series, part: str) -> Outcome:
    """Names taken apart; what is too long for a name is a problem of its row."""
    long = values.str.len_chars().fill_null(0) > LONGEST
    if not long.any():
        return Outcome(split_name(values, part))
    told = pl.format("expected a name of at most {} characters, found {}", pl.lit(LONGEST), values.str.len_chars())
    bad = pl.select(pl.when(long).then(told).alias("bad"))["bad"]
    return Outcome(split_name(values.set(long, None), part), bad)


RULES = (
    Rule(
        "split_name",
        "One part of a person's full name.",
        f"split_name {'|'.join(PARTS)}",
        _split_name,
        undo=forgotten("the other parts of the name are not in it"),
    ),
)
