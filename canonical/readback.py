"""Is what a target gives back the record that we made? (RELIABILITY matrix rows 25 and 39)

Targets trim, round, lower-case and reformat, so what is read back is never compared exactly. But an answer that names
another record must not be believed: then nearly nothing agrees.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

SHORTEST = 3
"""Characters that a cut text must at least keep to be told."""
LEAST_SHARE = 0.5
_DATE = re.compile(r"\d{4}-\d\d-\d\d|/Date\(|\d\d? [A-Z][a-z]{2}|[\[{]")
"""How dates of vendors begin, and lists."""


def is_another(asked: Mapping[str, str | None], read: Mapping[str, str | None]) -> bool:
    """Whether a record cannot be the one that was asked for: of the words that both have, most say something else.

    asked, read: target path → text. Numbers and dates have too many spellings to prove anything; where there are no
    words to compare it may be the one."""
    pairs = [(str(value or ""), str(read.get(path) or "")) for path, value in asked.items()]
    both = [(ours, theirs) for ours, theirs in pairs if _is_word(ours) and _is_word(theirs)]
    alike = sum(is_alike(ours, theirs) for ours, theirs in both)
    return bool(both) and alike < len(both) * LEAST_SHARE


def is_alike(ours: str, theirs: str) -> bool:
    """Whether one text may be what a system made of the other: trimmed, cut, rounded, in other letters or spacing."""
    one, other = _plain(ours), _plain(theirs)
    if one == other:
        return True
    numbers = _number(one), _number(other)
    if numbers[0] is not None and numbers[1] is not None:
        return abs(numbers[0] - numbers[1]) < 1
    shorter, longer = sorted((one, other), key=len)
    return len(shorter) >= SHORTEST and longer.startswith(shorter)


def _is_word(value: str) -> bool:
    return any(char.isalpha() for char in value) and not _DATE.match(value)


def _plain(value: str) -> str:
    return "".join(value.split()).casefold()


def _number(value: str) -> Decimal | None:
    try:
        found = Decimal(value)
    except InvalidOperation:
        return None
    return found if found.is_finite() else None
