"""The canonical form of each leaf kind (see `canonical.model`): every mapped value passes here last."""

from __future__ import annotations

import polars as pl

from canonical.mapping.functions.base import Outcome, judged, merged, on_distinct, reasons
from canonical.mapping.functions.dates import enforce_date, enforce_datetime
from canonical.mapping.functions.numbers import enforce_currency, enforce_decimal, enforce_integer
from canonical.mapping.functions.phones import e164
from canonical.mapping.functions.places import enforce_country
from canonical.model import Field, LeafKind

# One address: the dot-atom of RFC 5321 section 4.1.2 (letters beyond ASCII as RFC 6531 allows), a domain with at
# least one dot. Quoted local parts and address literals are valid there and no customer has one.
_EMAIL = r"^[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*@(?:[\w](?:[\w-]{0,61}[\w])?\.)+[\w][\w-]{0,61}[\w]$"
_PLAIN_EMAIL = _EMAIL.replace(r"\w", "a-z0-9_").replace("[[", "[").replace("]]", "]")
"""The same for ASCII alone: an order of magnitude faster, and nearly every address fits it."""
_MAX_EMAIL = 254
_URL = r"^(?:[A-Za-z][A-Za-z0-9+.-]*://)?[^\s/?#.]+(?:\.[^\s/?#.]+)+\.?(?::[0-9]+)?(?:[/?#]\S*)?$"
_MAX_URL = 2048


def enforce(values: pl.Series, kind: LeafKind, declared: Field | None, zone: str | None) -> Outcome:
    """Values in the canonical form of their kind; what cannot be is bad. Money has its own way (`enforce_money`).

    `declared` gives region, values, scale; `zone` (IANA) is that of times without an offset."""
    if not len(values) or values.null_count() == len(values):
        return Outcome(values)
    match kind:
        case "text" | "lines" | "money":
            return Outcome(values)
        case "email":
            return _email(values)
        case "url":
            return _url(values)
        case "phone":
            region = declared.region if declared else None
            return on_distinct(values, lambda v: e164(v, region))
        case "integer":
            return enforce_integer(values)
        case "decimal":
            return enforce_decimal(values, declared.scale if declared else None)
        case "currency":
            return enforce_currency(values)
        case "date":
            return on_distinct(values, enforce_date)
        case "datetime":
            return on_distinct(values, lambda v: enforce_datetime(v, zone))
        case "boolean":
            return _boolean(values)
        case "choice":
            return _choice(values, declared)
        case "country":
            return enforce_country(values)
        case "reference":
            fits = values.str.starts_with('["link",') | values.str.starts_with('["value",')
            return judged(values, values.set(~fits, None), "a reference (the rule lookup)")


def _email(values: pl.Series) -> Outcome:
    text = values.str.strip_chars(" \t").str.to_lowercase()
    fits = text.str.contains(_PLAIN_EMAIL)
    if not fits.all():
        fits = text.str.contains(_EMAIL)
    fits = fits & (text.str.len_bytes() <= _MAX_EMAIL)
    return judged(values, text.set(~fits, None), "one e-mail address")


def _url(values: pl.Series) -> Outcome:
    text = values.str.strip_chars(" \t")
    fits = text.str.contains(_URL) & (text.str.len_bytes() <= _MAX_URL)
    return judged(values, text.set(~fits, None), "a web address")


def _boolean(values: pl.Series) -> Outcome:
    words = values.str.to_lowercase()
    done = words.set(~words.is_in(["true", "false"]), None)
    return judged(values, done, "true or false (or declare the words with the rule boolean)")


def _choice(values: pl.Series, declared: Field | None) -> Outcome:
    allowed = list(declared.values) if declared else []
    shown = ", ".join(allowed[:8]) + (" …" if len(allowed) > 8 else "")
    return judged(values, values.set(~values.is_in(allowed), None), f"one of {shown}")


def within(outcome: Outcome, values: pl.Series, declared: Field) -> Outcome:
    """Hold numbers to their field's declared range. For lines only: records' ranges are checked as expectations."""
    minimum, maximum = declared.minimum, declared.maximum
    if minimum is None and maximum is None:
        return outcome
    number = outcome.values.cast(pl.Decimal(38, 12), strict=False)
    bad: list[pl.Series | None] = [outcome.bad]
    if minimum is not None:
        limit = pl.Series([minimum]).cast(pl.Decimal(38, 12))
        bad.append(reasons(values, (number < limit).fill_null(value=False), f"at least {minimum}"))
    if maximum is not None:
        limit = pl.Series([maximum]).cast(pl.Decimal(38, 12))
        bad.append(reasons(values, (number > limit).fill_null(value=False), f"at most {maximum}"))
    why = merged(*bad)
    return Outcome(outcome.values if why is None else outcome.values.set(why.is_not_null(), None), why)
