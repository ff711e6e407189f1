"""Phone numbers to E.164, by Google's numbering plans (`phonenumbers`).

The library does about 31,000 numbers a second. A number that is plainly written in its region's own plan is therefore
recognised by columns, with the library's own patterns for that region; every other one goes through the library itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import phonenumbers
import polars as pl
from phonenumbers.phonemetadata import PhoneMetadata, PhoneNumberDesc

from canonical.mapping.functions.base import Args, BadRule, Context, Outcome, Rule, Step, as_kind, judged, on_distinct

_PLAIN = r"^\+?[0-9(][0-9 ().-]*[0-9]$"
_TYPES = (
    "premium_rate",
    "toll_free",
    "shared_cost",
    "voip",
    "personal_number",
    "pager",
    "uan",
    "voicemail",
    "fixed_line",
    "mobile",
)
_LONGEST = 40
"""Longer texts are no phone numbers (the library itself stops at 250 characters)."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A number pattern and its possible lengths (none: any), both of which the library checks."""

    text: str
    lengths: tuple[int, ...]

    def fits(self, number: pl.Expr) -> pl.Expr:
        found = number.str.contains(self.text)
        return found & number.str.len_chars().is_in(self.lengths) if self.lengths else found


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a region's own plan says, as patterns for whole columns."""

    code: str
    national: str | None
    """Digits as dialled inside the region; group 1 is the national number. None: left to the library."""
    general: _Pattern
    types: tuple[_Pattern, ...]
    idd: str | None


@cache
def _plan(region: str) -> _Plan | None:
    """The plan of a calling code's main region; None where only the library can tell."""
    data = PhoneMetadata.metadata_for_region(region)
    if data is None or data.country_code is None or data.leading_digits or data.national_prefix_transform_rule:
        return None
    main = phonenumbers.region_code_for_country_code(data.country_code)
    if main != region or data.general_desc is None or data.general_desc.national_number_pattern is None:
        return None
    national = None
    if data.national_prefix == "0" and str(data.national_prefix_for_parsing).split("|")[0] == "0":
        national = r"^0([1-9][0-9]+)$"
    elif data.national_prefix == "1" and data.country_code == 1:
        national = r"^([2-9][0-9]+)$"
    types = tuple(dict.fromkeys(p for name in _TYPES if (p := _pattern(getattr(data, name)))))
    general = _pattern(data.general_desc)
    return _Plan(str(data.country_code), national, general, types, data.international_prefix) if general else None


def _pattern(description: PhoneNumberDesc | None) -> _Pattern | None:
    if description is None or description.national_number_pattern is None:
        return None
    return _Pattern(f"^(?:{description.national_number_pattern})$", tuple(description.possible_length))


def e164(values: pl.Series, region: str | None) -> Outcome:
    """Valid numbers as E.164. `region` (ISO 3166 alpha-2): whose national form is understood; None: only +… numbers."""
    expected = f"a phone number{f' of {region} or' if region else ''} with its country code"
    done = _fast(values, region) if region else pl.Series([None], dtype=pl.String).new_from_index(0, len(values))
    missing = (done.is_null() & values.is_not_null()).arg_true()
    if len(missing):
        rest = [by_library(v, region) for v in values.gather(missing)]
        done = done.scatter(missing, pl.Series(rest, dtype=pl.String))
    return judged(values, done, expected)


def by_library(value: str, region: str | None) -> str | None:
    """The library's own answer; None if the number is not valid, or has an extension (E.164 cannot hold one)."""
    if len(value) > _LONGEST:
        return None
    try:
        number = phonenumbers.parse(value, region)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _fast(values: pl.Series, region: str) -> pl.Series:
    """E.164 of the numbers that the region's plan plainly contains; null for all others (they may still be valid)."""
    plan = _plan(region)
    nothing = pl.Series([None], dtype=pl.String).new_from_index(0, len(values))
    if plan is None:
        return nothing
    frame = pl.DataFrame({"v": values}).with_columns(
        d=pl.when(pl.col("v").str.contains(_PLAIN) & (pl.col("v").str.len_chars() <= _LONGEST)).then(
            pl.col("v").str.replace_all(r"[ ().-]", "")
        )
    )
    found = [pl.col("d").str.extract(rf"^\+{plan.code}([1-9][0-9]+)$", 1)]
    if plan.national:
        own = pl.col("d").str.extract(plan.national, 1)
        if plan.idd:
            own = pl.when(~pl.col("d").str.contains(f"^(?:{plan.idd})")).then(own)
        found.append(own)
    number = frame.select(n=pl.coalesce(found))
    is_valid = plan.general.fits(pl.col("n")) & pl.any_horizontal(kind.fits(pl.col("n")) for kind in plan.types)
    return number.select(pl.when(is_valid).then(pl.lit(f"+{plan.code}") + pl.col("n")).alias("e"))["e"]


def _phone(args: Args, context: Context) -> Step:
    declared = context.field.region if context.field else None
    region = args.words[0].upper() if args.words else declared
    if len(args.words) > 1 or (region is not None and region not in phonenumbers.SUPPORTED_REGIONS):
        raise BadRule("phone [REGION], an ISO 3166 code such as GB", repr(args.raw or region))
    return Step("phone", lambda inputs: on_distinct(inputs.first, lambda v: e164(v, region)))


RULES = (
    Rule(
        "phone",
        "A phone number as E.164; national numbers are understood for REGION, or the field's region.",
        "phone [REGION]",
        _phone,
        undo=as_kind("the field is no phone field, and may hold other texts", "phone"),
    ),
)
