"""Dates and times: read in a declared order and zone, or as ISO 8601; nothing is ever guessed."""

from __future__ import annotations

import re
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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
    Undo,
    Undone,
    judged,
    merged,
    on_distinct,
    reasons,
)

# Token of a sheet's format → (strptime directive, what it looks like). Longest first: MMM before MM.
TOKENS: Final = {
    "YYYY": ("%Y", "[0-9]{4}"),
    "MMMM": ("%B", "[A-Za-z]{3,9}"),
    "MMM": ("%b", "[A-Za-z]{3}"),
    "YY": ("%y", "[0-9]{2}"),
    "MM": ("%m", "[0-9]{1,2}"),
    "DD": ("%d", "[0-9]{1,2}"),
    "HH": ("%H", "[0-9]{1,2}"),
    "mm": ("%M", "[0-9]{2}"),
    "ss": ("%S", "[0-9]{2}"),
    "M": ("%m", "[0-9]{1,2}"),
    "D": ("%d", "[0-9]{1,2}"),
    "H": ("%H", "[0-9]{1,2}"),
}
_UNPADDED: Final = {"M": "%-m", "D": "%-d", "H": "%-H"}
"""How a token that may have one digit is written."""
_TOKEN = re.compile("|".join(TOKENS))
_ISO_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_MIDNIGHT = r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]00:00(?::00(?:\.0+)?)?(?:Z|[+-]00:?00)?$"
_ISO_TIME = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2})(?::([0-5][0-9])(?:[.,]([0-9]{1,9}))?)? ?"
    r"([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?$"
)
_CANONICAL = "%Y-%m-%dT%H:%M:%S%.6fZ"
_CANONICAL_READ = "%Y-%m-%dT%H:%M:%S%.f%#z"
END_OF_TIME = "9999-12-31"
"""What systems write for "never": refused unless the field declares it among its sentinels (RELIABILITY, input 19)."""
_MS_DATE = r"^/Date\((-?[0-9]{1,15})(?:[+-][0-9]{4})?\)/$"


class _Format:
    """A declared format: how strptime reads it, and what a value must look like before it is tried."""

    def __init__(self, text: str) -> None:
        self.text = text
        directive, written, shape, position, seen = "", "", "", 0, set[str]()
        for token in _TOKEN.finditer(text):
            between = text[position : token.start()]
            strptime, looks = TOKENS[token[0]]
            if strptime in seen:
                raise BadRule("each part of a date once", repr(text))
            seen.add(strptime)
            directive += between.replace("%", "%%") + strptime
            written += between.replace("%", "%%") + _UNPADDED.get(token[0], strptime)
            shape += re.escape(between) + looks
            position = token.end()
        rest = text[position:]
        self.directive, self.shape = directive + rest.replace("%", "%%"), f"^{shape}{re.escape(rest)}$"
        self.written = written + rest.replace("%", "%%")
        year, month = {"%Y", "%y"} & seen, {"%m", "%b", "%B"} & seen
        if not (year and month and "%d" in seen) or re.search("[A-SU-Za-z]", re.sub(_TOKEN, "", text)):
            raise BadRule("a date format of YYYY MM DD HH mm ss", repr(text))
        self.has_time, self.has_seconds, self.has_century = "%H" in seen, "%S" in seen, "%Y" in seen
        if self.has_time and "%M" not in seen:
            raise BadRule("hours with minutes (HH:mm)", repr(text))


def zone_named(word: str, context: Context) -> str | None:
    """The IANA zone of a rule's word (`local`: the landscape's), or None if the word is no zone."""
    if word == "local":
        return context.timezone
    try:
        ZoneInfo(word)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
    return word


def enforce_date(values: pl.Series) -> Outcome:
    """ISO dates of the calendar; a time is taken off only where it says midnight, so nothing is lost."""
    text = values.str.strip_chars()
    if not text.str.contains(_ISO_DATE).all():
        text = _coalesced(text.set(~text.str.contains(_ISO_DATE), None), text.str.extract(_MIDNIGHT, 1))
    done = text.str.to_date("%Y-%m-%d", strict=False).dt.strftime("%Y-%m-%d")
    found = judged(values, done.set(done == END_OF_TIME, None), "a date YYYY-MM-DD (or declare its order)")
    endless = (done == END_OF_TIME).fill_null(value=False)
    if not endless.any():
        return found
    why = reasons(values, endless, "a day that will come (or declare it among the field's sentinels)")
    return Outcome(found.values, merged(why, found.bad))


def enforce_datetime(values: pl.Series, zone: str | None) -> Outcome:
    """ISO 8601 times as UTC. Without an offset they are times in `zone`; without a zone they are refused.

    A time that a clock shows twice (autumn) is the first one; one that it skips (spring) is refused. Digits beyond the
    microsecond are cut."""
    parts = values.str.strip_chars().str.extract_groups(_ISO_TIME).struct.unnest()
    parts.columns = ["day", "minute", "second", "fraction", "offset"]
    wall = pl.col("day") + pl.lit("T") + pl.col("minute") + pl.lit(":") + pl.col("second").fill_null("00")
    frame = parts.select(
        wall=wall + pl.lit(".") + pl.col("fraction").fill_null("0"),
        offset=pl.col("offset").str.to_uppercase().replace("Z", "+0000").str.replace(":", "", literal=True),
    ).with_columns(pl.when(pl.col("offset").str.len_chars() == 3).then(pl.col("offset") + "00").otherwise("offset"))
    frame.columns = ["wall", "offset", *frame.columns[2:]]
    fixed = (frame["wall"] + frame["offset"]).str.to_datetime(
        "%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", time_zone="UTC", strict=False
    )
    done = fixed.dt.strftime(_CANONICAL)
    without = frame["wall"].is_not_null() & frame["offset"].is_null()
    if not without.any():
        return judged(values, done, "a time of ISO 8601 with its offset")
    if zone is None:
        return judged(values, done, "a time with its offset (or declare the zone)")
    naive = frame["wall"].set(~without, None).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    return _joined(values, done, _in_zone(naive, zone), zone)


def _in_zone(naive: pl.Series, zone: str) -> pl.Series:
    """Wall clock times as canonical UTC; null where the clock skips them."""
    placed = naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return placed.dt.convert_time_zone("UTC").dt.strftime(_CANONICAL)


def _joined(values: pl.Series, fixed: pl.Series, placed: pl.Series, zone: str) -> Outcome:
    done = _coalesced(fixed, placed)
    return judged(values, done, f"a time of ISO 8601 that clocks in {zone} show")


def _coalesced(*columns: pl.Series) -> pl.Series:
    frame = pl.DataFrame({f"c{i}": column for i, column in enumerate(columns)})
    return frame.select(pl.coalesce(pl.all()).alias("out"))["out"]


def _date(args: Args, context: Context) -> Step:
    formats = [_Format(word) for word in args.words]
    if any(f.has_time for f in formats):
        raise BadRule("a format without a time (or the rule datetime)", repr(args.raw))
    if not context.inbound:
        return _date_written(formats, args)

    def run(values: pl.Series) -> Outcome:
        if not formats:
            return enforce_date(values)
        text = values.str.strip_chars()
        found = [_parsed(text, f).dt.date() for f in formats]
        done = _coalesced(*found).dt.strftime("%Y-%m-%d")
        return judged(values, done, f"a date {' or '.join(f.text for f in formats)}")

    return Step("date", lambda inputs: on_distinct(inputs.first, run))


def _date_written(formats: list[_Format], args: Args) -> Step:
    """Outbound: a canonical date in the target's own order."""
    if len(formats) != 1:
        raise BadRule("one format to write the date in", repr(args.raw))
    directive = formats[0].written

    def run(inputs: Inputs) -> Outcome:
        days = inputs.first.str.to_date("%Y-%m-%d", strict=False)
        return judged(inputs.first, days.dt.strftime(directive), "a date YYYY-MM-DD")

    return Step("date", run)


def _date_undone(args: Args, context: Context, _: Asked) -> Undone:
    formats = [_Format(word) for word in args.words]
    if context.kind != "date":
        raise NoInverse("the field is no date field, and may hold other texts")
    if len(formats) > 1:
        raise NoInverse("which of the formats it was is forgotten")
    if formats and not formats[0].has_century:
        raise NoInverse("two digits of a year do not say its century")
    return Undone(f"date {args.raw}" if formats else "")


def _parsed(text: pl.Series, declared: _Format) -> pl.Series:
    fits = text.set(~text.str.contains(declared.shape), None)
    if declared.has_time:
        return fits.str.to_datetime(declared.directive, time_unit="us", strict=False)
    return fits.str.to_date(declared.directive, strict=False).cast(pl.Datetime("us"))


def _datetime(args: Args, context: Context) -> Step:
    words = list(args.words)
    zone = context.system.timezone
    if words and (declared := zone_named(words[-1], context)):
        zone = declared
        words.pop()
    formats = [_Format(" ".join(words))] if words and words != ["ISO"] else []
    if formats and zone is None:
        raise BadRule("a zone behind the format, or a timezone of the system", "none")
    if not context.inbound:
        return _time_written(formats, str(zone), args)

    def run(values: pl.Series) -> Outcome:
        if not formats:
            return enforce_datetime(values, zone)
        done = _in_zone(_parsed(values.str.strip_chars(), formats[0]), str(zone))
        return judged(values, done, f"a time {formats[0].text} that clocks in {zone} show")

    return Step("datetime", lambda inputs: on_distinct(inputs.first, run))


def _time_written(formats: list[_Format], zone: str, args: Args) -> Step:
    """Outbound: a canonical time as clocks in the zone show it."""
    if not formats:
        raise BadRule("a format to write the time in", repr(args.raw))
    directive = formats[0].written

    def run(inputs: Inputs) -> Outcome:
        times = inputs.first.str.to_datetime(_CANONICAL_READ, time_unit="us", time_zone="UTC", strict=False)
        written = times.dt.convert_time_zone(zone).dt.strftime(directive)
        return judged(inputs.first, written, "a time in canonical form")

    return Step("datetime", run)


def _datetime_undone(args: Args, context: Context, _: Asked) -> Undone:
    """Written as clocks in its zone show it; without a format in ISO 8601, with its offset where it was read with one.

    Of an hour that clocks show twice the first one is read, as ever."""
    words = list(args.words)
    zone = zone_named(words[-1], context) if words else None
    if zone is not None:
        words.pop()
    if context.kind != "datetime":
        raise NoInverse("the field is no datetime field, and may hold other texts")
    if not words or words == ["ISO"]:
        return Undone(f"datetime YYYY-MM-DDTHH:mm:ss {zone}" if zone else "")
    declared = _Format(" ".join(words))
    if not declared.has_century:
        raise NoInverse("two digits of a year do not say its century")
    if not declared.has_seconds:
        raise NoInverse("its format keeps no seconds")
    return Undone(" ".join(["datetime", *words, *([zone] if zone else [])]))


def _milliseconds(values: pl.Series, context: Context) -> pl.Series:
    """Milliseconds since 1970 of canonical days (at 00:00 UTC) or times."""
    if context.kind == "date":
        return values.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("ms")).dt.epoch("ms")
    times = values.str.to_datetime(_CANONICAL_READ, time_unit="us", time_zone="UTC", strict=False)
    return times.dt.epoch("us") // 1000


def _undone_by(name: str) -> Undo:
    def undo(args: Args, context: Context, _: Asked) -> Undone:
        if context.kind not in ("date", "datetime"):
            raise NoInverse("the field is no date or time, and may hold other texts")
        return Undone(f"{name} {args.raw}".strip())

    return undo


def _ms_date(values: pl.Series) -> Outcome:
    """`/Date(1439434356790+0000)/`: milliseconds since 1970 in UTC; the offset only says how it was shown."""
    milliseconds = values.str.strip_chars().str.extract(_MS_DATE, 1).cast(pl.Int64, strict=False)
    return judged(values, _from_milliseconds(milliseconds), "/Date(milliseconds)/")


def _from_milliseconds(milliseconds: pl.Series) -> pl.Series:
    # Years 1 to 9999; beyond them a count is a mistake, not a time.
    is_year = milliseconds.is_between(-62_135_596_800_000, 253_402_300_799_999)
    return milliseconds.set(~is_year, None).cast(pl.Datetime("ms")).dt.cast_time_unit("us").dt.strftime(_CANONICAL)


def _compile_ms_date(args: Args, context: Context) -> Step:
    if args.raw:
        raise BadRule("ms_date alone", repr(args.raw))
    if not context.inbound:

        def written(inputs: Inputs) -> Outcome:
            count = _milliseconds(inputs.first, context).cast(pl.String)
            text = pl.DataFrame({"c": count}).select(text=pl.format("/Date({}+0000)/", "c"))["text"]
            return judged(inputs.first, text, "a date or time in canonical form")

        return Step("ms_date", written)
    return Step("ms_date", _as_leaf(_ms_date, context))


def _epoch(args: Args, context: Context) -> Step:
    unit = args.words[0] if args.words else "s"
    if unit not in ("s", "ms") or len(args.words) > 1:
        raise BadRule("epoch s or epoch ms", repr(args.raw))
    if not context.inbound:

        def written(inputs: Inputs) -> Outcome:
            count = _milliseconds(inputs.first, context) // (1 if unit == "ms" else 1000)
            return judged(inputs.first, count.cast(pl.String), "a date or time in canonical form")

        return Step("epoch", written, json="number")

    def run(values: pl.Series) -> Outcome:
        count = values.str.strip_chars().str.extract(r"^(-?[0-9]{1,15})(?:\.0+)?$", 1).cast(pl.Int64, strict=False)
        done = _from_milliseconds(count if unit == "ms" else count * 1000)
        return judged(values, done, f"{'milliseconds' if unit == 'ms' else 'seconds'} since 1970")

    return Step("epoch", _as_leaf(run, context))


def _as_leaf(run: object, context: Context):  # type: ignore[no-untyped-def]
    """For a date leaf keep the day of the time (in UTC, as Xero and others write calendar days at 00:00 UTC)."""

    def step(inputs: Inputs) -> Outcome:
        outcome: Outcome = on_distinct(inputs.first, run)  # type: ignore[arg-type]
        if context.kind != "date":
            return outcome
        return Outcome(outcome.values.str.slice(0, 10), merged(outcome.bad))

    return step


RULES = (
    Rule(
        "date",
        "Read a date in the declared order (of several the first that fits); else YYYY-MM-DD. Outbound: write it.",
        "date [DD/MM/YYYY …]",
        _date,
        inverse="date",
        undo=_date_undone,
    ),
    Rule(
        "datetime",
        "Read a time; without an offset it is in ZONE (`local`: the landscape's) or the system's. Outbound: write it.",
        "datetime [DD/MM/YYYY HH:mm:ss | ISO] [ZONE]",
        _datetime,
        inverse="datetime",
        undo=_datetime_undone,
    ),
    Rule(
        "ms_date",
        "Read /Date(milliseconds)/ as Xero's JSON writes it. Outbound: write it.",
        "ms_date",
        _compile_ms_date,
        inverse="ms_date",
        undo=_undone_by("ms_date"),
    ),
    Rule(
        "epoch",
        "Read seconds or milliseconds since 1970. Outbound: write them as a JSON number.",
        "epoch [s|ms]",
        _epoch,
        inverse="epoch",
        undo=_undone_by("epoch"),
    ),
)
