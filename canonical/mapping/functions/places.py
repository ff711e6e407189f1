"""Countries, and addresses between one block of text and their parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Final

import polars as pl

from canonical.mapping.functions.base import (
    Args,
    BadRule,
    Context,
    Inputs,
    Outcome,
    Rule,
    Step,
    as_kind,
    forgotten,
    judged,
    no_args,
    on_distinct,
    select,
)

# What people write that ISO 3166 does not list: parts of the United Kingdom, everyday and native names.
ALIASES: Final = {
    "uk": "GB", "u.k.": "GB", "great britain": "GB", "britain": "GB", "england": "GB", "scotland": "GB",
    "wales": "GB", "northern ireland": "GB",
    "usa": "US", "u.s.a.": "US", "u.s.": "US", "america": "US", "united states of america": "US",
    "deutschland": "DE", "allemagne": "DE", "brd": "DE", "duitsland": "DE",
    "holland": "NL", "nederland": "NL", "the netherlands": "NL", "niederlande": "NL", "pays-bas": "NL",
    "frankreich": "FR", "frankrijk": "FR", "españa": "ES", "espana": "ES", "espagne": "ES", "spanien": "ES",
    "italia": "IT", "italien": "IT", "italie": "IT", "österreich": "AT", "osterreich": "AT", "oesterreich": "AT",
    "schweiz": "CH", "suisse": "CH", "svizzera": "CH", "belgië": "BE", "belgie": "BE", "belgique": "BE",
    "belgien": "BE", "danmark": "DK", "sverige": "SE", "norge": "NO", "suomi": "FI", "polska": "PL", "česko": "CZ",
    "czech republic": "CZ", "magyarország": "HU", "éire": "IE", "eire": "IE", "republic of ireland": "IE",
    "irland": "IE", "luxemburg": "LU", "portugal": "PT", "ελλάδα": "GR", "hellas": "GR", "türkei": "TR",
    "turkey": "TR", "turkiye": "TR", "russia": "RU", "south korea": "KR", "korea": "KR", "north korea": "KP",
    "iran": "IR", "syria": "SY", "vietnam": "VN", "taiwan": "TW", "hong kong": "HK", "macau": "MO", "laos": "LA",
    "brunei": "BN", "bolivia": "BO", "venezuela": "VE", "tanzania": "TZ", "moldova": "MD", "macedonia": "MK",
    "swaziland": "SZ", "cape verde": "CV", "ivory coast": "CI", "palestine": "PS", "vatican": "VA",
    "uae": "AE", "emirates": "AE", "brasil": "BR", "méxico": "MX", "nippon": "JP", "中国": "CN", "日本": "JP",
}  # fmt: skip

# The forms that national post offices publish for their codes. GB: Royal Mail's (also BS 7666); the others by length.
POSTCODES: Final = {
    "GB": r"(?:GIR ?0AA|[A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][A-Z]{2})",
    "NL": r"[1-9][0-9]{3} ?[A-Z]{2}",
    "US": r"[0-9]{5}(?:-[0-9]{4})?",
    "DE": r"[0-9]{5}",
    "FR": r"[0-9]{5}",
}
_BEFORE_CITY: Final = frozenset({"DE", "FR", "NL"})
"""Where the postcode stands before the city on its line."""
PARTS: Final = ("line1", "line2", "city", "region", "postcode", "country")
_US_STATE = re.compile(r"^(?P<city>.*?),?\s+(?P<region>[A-Z]{2})$")


@cache
def countries() -> dict[str, str]:
    """Every known way to write a country, lower case → ISO 3166 alpha-2."""
    import pycountry

    known: dict[str, str] = {}
    for country in pycountry.countries:
        for attribute in ("alpha_2", "alpha_3", "name", "official_name", "common_name"):
            if written := getattr(country, attribute, None):
                known[written.lower()] = country.alpha_2
    known.update(ALIASES)
    return known


def country_codes(values: pl.Series) -> pl.Series:
    """ISO 3166 alpha-2 codes; null for what is no country."""
    words = values.str.strip_chars().str.to_lowercase().str.replace_all(r"\s+", " ")
    table = countries()
    return words.replace_strict(list(table), list(table.values()), default=None, return_dtype=pl.String)


def enforce_country(values: pl.Series) -> Outcome:
    return on_distinct(values, lambda v: judged(v, country_codes(v), "a country (its name or ISO 3166 code)"))


def split_address(block: str, hint: str | None) -> dict[str, str | None]:
    """The parts of an address written as lines, or on one line with commas.

    `hint` is the country if it is known; else the last line may name it, else the form of the postcode tells (a code of
    five digits alone tells nothing: it is kept as a postcode after or before the city as it stands). What is not
    recognised stays in line2: nothing is left out.
    """
    lines = [line.strip(" ,\t") for line in re.split(r"[\r\n]+" if "\n" in block.strip() else ",", block)]
    lines = [re.sub(r"\s+", " ", line) for line in lines if line]
    parts: dict[str, str | None] = dict.fromkeys(PARTS)
    if len(lines) > 1 and (named := countries().get(lines[-1].lower())) and not _postcode(lines[-1], named):
        parts["country"] = named
        lines.pop()
    country = parts["country"] or hint
    place = _find_place(lines, country)
    if place is not None:
        at, parts["postcode"], city, found = place
        parts["country"] = parts["country"] or found
        lines, parts["city"] = _city(lines, at, city)
    elif len(lines) > 1:
        parts["city"] = lines.pop()
    parts["country"] = parts["country"] or hint
    if parts["country"] == "US" and parts["city"]:
        _take_state(parts, lines)
    parts["line1"] = lines[0] if lines else None
    parts["line2"] = ", ".join(lines[1:]) or None
    return parts


def _find_place(lines: Sequence[str], country: str | None) -> tuple[int, str, str, str | None] | None:
    """(line, postcode, rest of that line, country that the form tells) of the last line that shows a postcode."""
    for at in range(len(lines) - 1, -1, -1):
        for candidate in (country,) if country in POSTCODES else ("GB", "NL", "US"):
            if found := _postcode(lines[at], str(candidate)):
                code, rest = found
                # Five digits stand in many countries: they tell none. Neither does a first line, which is a street.
                tells = str(candidate) if candidate in ("GB", "NL") or country else None
                if at or tells:
                    return at, code, rest, tells if country is None else country
    return None


def _postcode(line: str, country: str) -> tuple[str, str] | None:
    """The postcode at the end (or, before a city, at the start) of a line, and what else stands there."""
    pattern = POSTCODES.get(country)
    if pattern is None:
        return None
    upper = line.upper()
    ends = re.search(rf"(?:^|[\s,])({pattern})$", upper)
    starts = re.match(rf"(?:[A-Z]{{1,2}}-)?({pattern})(?:$|[\s,])", upper)
    order = (starts, ends) if country in _BEFORE_CITY else (ends, starts if country == "US" else None)
    found = next((m for m in order if m), None)
    if found is None:
        return None
    rest = (line[: found.start(1)] if found is ends else line[found.end(1) :]).strip(" ,")
    return _spaced(found[1], country), rest


def _spaced(code: str, country: str) -> str:
    compact = code.replace(" ", "")
    if country == "GB":
        return f"{compact[:-3]} {compact[-3:]}"
    return f"{compact[:4]} {compact[4:]}" if country == "NL" else compact


def _city(lines: list[str], at: int, rest: str) -> tuple[list[str], str | None]:
    """The city stands beside the postcode, else on the line above it (below the first line)."""
    others = [line for i, line in enumerate(lines) if i != at]
    if rest:
        return others, rest
    if at > 1:
        return others[: at - 1] + others[at:], others[at - 1]
    return others, None


def _take_state(parts: dict[str, str | None], lines: list[str]) -> None:
    """`Washington, DC` and, with the city on the line above, `DC` alone."""
    if found := _US_STATE.match(str(parts["city"])):
        parts["city"], parts["region"] = found["city"] or None, found["region"]
    elif re.fullmatch("[A-Z]{2}", str(parts["city"])):
        parts["region"] = parts["city"]
        parts["city"] = lines.pop() if len(lines) > 1 else None


def _address_part(args: Args, context: Context) -> Step:
    if not args.words or args.words[0] not in PARTS or len(args.words) > 2:
        raise BadRule(f"address_part {'|'.join(PARTS)} [COUNTRY]", repr(args.raw))
    part = args.words[0]
    hint = args.words[1].upper() if len(args.words) > 1 else None
    if hint is not None and hint not in countries().values():
        raise BadRule("an ISO 3166 country code", repr(args.words[1]))

    def run(values: pl.Series) -> Outcome:
        done = [None if v is None else split_address(v, hint)[part] for v in values]
        return Outcome(pl.Series(done, dtype=pl.String))

    return Step("address_part", lambda inputs: on_distinct(inputs.first, run))


def _address_block(args: Args, _: Context) -> Step:
    """The sources are the parts in the order in which they are to stand; postcode and city go as the country writes."""
    separator = {"": "\n", "comma": ", ", "lines": "\n"}.get(args.raw)
    if separator is None:
        raise BadRule("address_block [lines | comma]", repr(args.raw))

    def run(inputs: Inputs) -> Outcome:
        filled = [pl.col(f"c{i}").str.strip_chars().replace("", None) for i in range(len(inputs.values))]
        done = select(inputs.values, pl.concat_str(filled, separator=separator, ignore_nulls=True))
        return Outcome(done.set(done == "", None))

    return Step("address_block", run)


def _country(args: Args, context: Context) -> Step:
    no_args(args, "country")
    return Step("country", lambda inputs: enforce_country(inputs.first))


RULES = (
    Rule(
        "country",
        "A country's name or code as ISO 3166 alpha-2.",
        "country",
        _country,
        undo=as_kind("the field is no country field, and may hold other texts", "country"),
    ),
    Rule(
        "address_part",
        "One part of an address that stands in one block; COUNTRY is assumed where the block names none.",
        f"address_part {'|'.join(PARTS)} [COUNTRY]",
        _address_part,
        undo=forgotten("the address's other parts are not in it"),
    ),
    Rule(
        "address_block",
        "One block of text from address parts, in the order in which they are named; empty ones are left out.",
        "address_block [lines | comma]",
        _address_block,
        undo=forgotten("taking an address apart again is a guess"),
        takes_several=True,
        takes_empty=True,
    ),
)
