"""Numbers and money: read by a declared locale, kept as decimal text; no value ever is a binary float."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Final

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
    each_value,
    judged,
    merged,
    on_distinct,
    reasons,
    select,
)

SPACES: Final = " \u00a0\u202f\u2009"
"""What French, Nordic and Slavic locales write between groups: space, no-break space, its narrow form, thin space."""


@dataclass(frozen=True, slots=True)
class Locale:
    """How a locale writes a number."""

    decimal: str
    groups: str
    """The characters that may stand between groups of three."""


# Source: Unicode CLDR, `numbers/symbols` and grouping of each locale (decimal and group), plus the plain and the
# typographic forms of the spaces and apostrophes that people type for them.
LOCALES: Final = {
    **dict.fromkeys(("en", "us", "gb", "ie", "ja", "zh"), Locale(".", ",")),
    **dict.fromkeys(("de", "nl", "es", "it", "da", "id", "tr", "el"), Locale(",", ".")),
    **dict.fromkeys(("fr", "sv", "nb", "no", "fi", "pl", "cs", "sk", "uk", "ru", "bg", "hu"), Locale(",", SPACES)),
    "pt": Locale(",", "." + SPACES),
    **dict.fromkeys(("ch", "de-ch"), Locale(".", "'\u2019")),
}

# ISO 4217 list one (published by SIX Financial Information as maintenance agency), column "minor unit": every currency
# that has not two. Currencies without any minor unit (metals, funds, the test code) are no money that a ledger holds.
MINOR_UNITS: Final = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX"), 0),
    **dict.fromkeys(("UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}
NO_MONEY: Final = frozenset(["XAG", "XAU", "XBA", "XBB", "XBC", "XBD", "XDR", "XPD", "XPT", "XSU", "XTS", "XUA", "XXX"])
SYMBOLS: Final = {"£": ("GBP",), "€": ("EUR",), "$": ("USD", "CAD", "AUD", "NZD", "SGD", "HKD"), "¥": ("JPY", "CNY")}
_PLAIN = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"
_TOO_LONG = 40
"""Most digits of a number that anything here is meant for (a NUMERIC of PostgreSQL holds far more)."""


@cache
def currencies() -> dict[str, int]:
    """ISO 4217 code → decimals of its minor unit."""
    import pycountry

    codes = (currency.alpha_3 for currency in pycountry.currencies)
    return {code: MINOR_UNITS.get(code, 2) for code in codes if code not in NO_MONEY}


def locale_named(word: str) -> Locale:
    """The locale of a rule's word; raises `BadRule`."""
    found = LOCALES.get(word.lower())
    if found is None:
        raise BadRule(f"a locale ({', '.join(LOCALES)})", repr(word))
    return found


def read_number(values: pl.Series, locale: Locale | None) -> Outcome:
    """Text in a locale → plain decimal text (`1.234,50` → `1234.50`); without a locale only a plain number is read.

    Grouping must be right (three digits), because `1,23` in English is a mistake and not 123."""
    stripped = values.str.strip_chars()
    if locale is None:
        done = stripped.set(~stripped.str.contains(_PLAIN), None)
        missing = done.is_null() & values.is_not_null()
        if not missing.any():
            return Outcome(done)
        slow = each_value(stripped.filter(missing), _exponent, "a plain number (or declare its locale)")
        done = done.scatter(missing.arg_true(), slow.values)
        return judged(values, done, "a plain number (or declare its locale)")
    point, groups = re.escape(locale.decimal), re.escape(locale.groups)
    pattern = rf"^[-+\u2212]?([0-9]+|[0-9]{{1,3}}([{groups}][0-9]{{3}})+)({point}[0-9]+)?$".replace(r"\u2212", "\u2212")
    fits = stripped.str.contains(pattern)
    plain = (
        stripped.str.replace_all(f"[{groups}+]", "")
        .str.replace("\u2212", "-", literal=True)
        .str.replace(locale.decimal, ".", literal=True)
    )
    shape = f"1{locale.groups[0]}234{locale.decimal}5"
    return judged(values, plain.set(~fits, None), f"a number written like {shape}")


def _exponent(value: str) -> str | None:
    """Numbers that are not plain but mean one thing: `1e3`, `+5`, `007`, `.5`."""
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    if not number.is_finite() or "_" in value or not value.isascii() or abs(number.adjusted()) > _TOO_LONG:
        return None
    return format(number, "f")


def canonical_decimal(values: pl.Series) -> pl.Series:
    """Plain decimal text → canonical: no leading or trailing zeros, no minus zero."""
    text = values.str.replace(r"^(-?)0+([0-9])", "${1}${2}").str.replace(r"(\.[0-9]*?)0+$", "${1}")
    text = text.str.strip_suffix(".")
    return text.replace("-0", "0")


def digits_after(values: pl.Series) -> pl.Series:
    """How many digits stand after the point."""
    return values.str.extract(r"\.([0-9]*)$", 1).str.len_chars().fill_null(0)


def enforce_decimal(values: pl.Series, scale: int | None) -> Outcome:
    """Any plain or exponent number as canonical decimal text of at most `scale` digits after the point."""
    read = read_number(values, None)
    done = canonical_decimal(read.values)
    too_long = done.str.len_chars() > _TOO_LONG
    bad = [read.bad, reasons(values, too_long.fill_null(value=False), f"a number of at most {_TOO_LONG} digits")]
    if scale is not None:
        bad.append(reasons(values, (digits_after(done) > scale) & done.is_not_null(), f"at most {scale} decimals"))
    return _blanked(done, merged(*bad))


def enforce_integer(values: pl.Series) -> Outcome:
    """Whole numbers that a 64-bit column holds."""
    read = read_number(values, None)
    done = canonical_decimal(read.values)
    is_whole = done.str.contains(r"^-?[0-9]{1,18}$")
    return judged(values, done.set(~is_whole, None), "a whole number of at most 18 digits")


def enforce_money(values: pl.Series, currency: pl.Series, scale: int | None) -> Outcome:
    """Amounts with exactly the decimals of their row's currency. Zeros beyond them carry nothing and are dropped."""
    read = read_number(values, None)
    done = canonical_decimal(read.values)
    table = currencies()
    decimals = currency.replace_strict(list(table), list(table.values()), default=None, return_dtype=pl.Int64)
    is_given = done.is_not_null()
    unknown = reasons(
        currency.fill_null("none"), is_given & decimals.is_null(), "a currency of ISO 4217 for the amount"
    )
    if scale is not None:
        decimals = decimals.set(decimals.is_not_null(), scale)
    digits = digits_after(done)
    fraction = reasons(
        values, (is_given & (digits > decimals)).fill_null(value=False), "no more decimals than its currency"
    )
    too_long = reasons(values, (done.str.len_chars() > _TOO_LONG).fill_null(value=False), f"at most {_TOO_LONG} digits")
    padded = select((done, decimals.cast(pl.Int64), digits.cast(pl.Int64)), _padded())
    return _blanked(padded, merged(read.bad, unknown, fraction, too_long))


def _padded() -> pl.Expr:
    amount, decimals, digits = pl.col("c0"), pl.col("c1"), pl.col("c2")
    point = pl.when((digits == 0) & (decimals > 0)).then(pl.lit(".")).otherwise(pl.lit(""))
    zeros = pl.lit("").str.pad_end((decimals - digits).clip(lower_bound=0).fill_null(0), "0")
    return amount + point + zeros


def _blanked(values: pl.Series, bad: pl.Series | None) -> Outcome:
    return Outcome(values if bad is None else values.set(bad.is_not_null(), None), bad)


def enforce_currency(values: pl.Series) -> Outcome:
    """ISO 4217 codes, in upper case."""
    code = values.str.strip_chars().str.to_uppercase()
    return judged(values, code.set(~code.is_in(list(currencies())), None), "a currency code of ISO 4217")


def _number(args: Args, context: Context) -> Step:
    if len(args.words) > 1:
        raise BadRule("number [LOCALE]", repr(args.raw))
    locale = locale_named(args.words[0]) if args.words else None
    if not context.inbound:
        if locale is None:
            return Step("number", lambda inputs: Outcome(inputs.first), json="number")
        point = locale.decimal
        return Step("number", lambda i: Outcome(i.first.str.replace(".", point, literal=True)), json="string")
    return Step("number", lambda inputs: on_distinct(inputs.first, lambda v: read_number(v, locale)))


def _money(args: Args, context: Context) -> Step:
    words = list(args.words)
    locale: Locale | None = None
    currency: tuple[str, str] | None = None
    while words:
        word = words.pop(0)
        if word == "from" and words:
            currency = ("path", words.pop(0))
        elif word in currencies():
            currency = ("code", word)
        else:
            locale = locale_named(word)
    if currency is None and context.field is not None and context.field.currency in currencies():
        currency = ("code", str(context.field.currency))
    code = currency[1] if currency and currency[0] == "code" else None

    def run(inputs: Inputs) -> Outcome:
        return on_distinct(inputs.first, lambda v: _amount(v, locale, code))

    needs = (currency[1],) if currency and currency[0] == "path" else ()
    return Step("money", run, needs=needs, currency=currency)  # type: ignore[arg-type]


def _number_undone(args: Args, context: Context, _: Asked) -> Undone:
    """A JSON number, or text with the locale's own decimal sign; how the digits were grouped means nothing."""
    if context.kind not in ("integer", "decimal"):
        raise NoInverse("the field is no number field, and may hold other texts")
    return Undone(f"number {args.raw}".strip())


def _money_undone(args: Args, context: Context, _: Asked) -> Undone:
    """An amount is written back where its currency is beyond doubt: the field declares one, for every system."""
    words = list(args.words)
    declared = context.field.currency if context.field else None
    if "from" in words:
        raise NoInverse("its currency stands in another field, which is not written with it")
    if declared is None or any(word in currencies() and word != declared for word in words):
        raise NoInverse("an amount of another currency would be written as if it were of this one")
    locale = next((word for word in words if word not in currencies()), "")
    return Undone(f"number {locale}".strip())


def _amount(values: pl.Series, locale: Locale | None, code: str | None) -> Outcome:
    """An amount with, perhaps, the sign or code of its own currency beside it."""
    text = values.str.strip_chars()
    marks = [code] if code else []
    marks.extend(symbol for symbol, codes in SYMBOLS.items() if code in codes)
    if marks:
        mark = "|".join(re.escape(m) for m in marks)
        text = text.str.replace(rf"^(-?)(?:{mark})[{SPACES}]*", "${1}").str.replace(rf"[{SPACES}]*(?:{mark})$", "")
    outcome = read_number(text, locale)
    return judged(values, outcome.values, f"an amount ({'in the declared locale' if locale else 'a plain number'})")


RULES = (
    Rule(
        "number",
        "Read a number by its locale (en 1,234.5 · de 1.234,5 · fr 1 234,5). Outbound: write a JSON number, or text"
        " with the locale's decimal sign.",
        "number [LOCALE]",
        _number,
        inverse="number",
        undo=_number_undone,
    ),
    Rule(
        "money",
        "Read an amount by locale; its currency is CCY, stands in another source field, or in the field's declaration.",
        "money [LOCALE] [CCY | from PATH]",
        _money,
        inverse="number",
        undo=_money_undone,
    ),
)
