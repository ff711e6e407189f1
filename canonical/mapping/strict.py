"""The slow, strict reader of one JSON record: it says exactly why a record is refused (RELIABILITY, bad inputs 5-13).

    invalid UTF-8, a lone surrogate, \\u0000      no text column can hold it
    NaN, Infinity, 1e999                         not JSON, or not a number that survives
    an integer of more than 4,300 digits         beyond what Python converts (its own limit, sys.int_info)
    duplicate keys                               two answers to one question
    deeper than 64                               nobody means it; parsers fall over it

Numbers keep the digits that were sent: they become `Number`, a text, and never pass through a binary float.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import msgspec

MAX_DEPTH = 64
MAX_DIGITS = 4300


class NotStrict(ValueError):
    """This record is refused; `rule` names the rule, the message the reason."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule
        self.reason = reason


class Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


def parse_strict(payload: bytes) -> dict[str, Any]:
    """The record as dicts, lists, str, `Number`, bool and None; raises `NotStrict`."""
    try:
        text = payload.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotStrict("encoding", f"not UTF-8 at byte {error.start}") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise NotStrict("json", f"not JSON at character {error.pos}: {error.msg}") from None
    except RecursionError:
        raise NotStrict("depth", f"nested deeper than {MAX_DEPTH}") from None
    if not isinstance(value, dict):
        raise NotStrict("json", "not an object")
    _check(value)
    return value


def plain_text(value: Any) -> str | None:
    """A decoded value as the text a frame carries: scalars as they are, objects and lists as canonical JSON."""
    if value is None or type(value) is str:
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return canonical_json(value)


def canonical_json(value: Any) -> str:
    """Compact JSON with sorted keys, text not escaped, numbers with the digits that were sent."""
    return msgspec.json.encode(_raw_numbers(value), order="sorted").decode()


def _raw_numbers(value: Any) -> Any:
    if isinstance(value, Number):
        return msgspec.Raw(value.encode())
    if type(value) is int and value.bit_length() > 63:
        return msgspec.Raw(str(value).encode())
    if isinstance(value, dict):
        return {k: _raw_numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_raw_numbers(v) for v in value]
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise NotStrict("duplicate_key", f"the key {twice[:40]!r} stands twice in one object")
    return found


def _float(text: str) -> Number:
    if "e" in text.lower() and math.isinf(float(text)):
        raise NotStrict("number", f"the number {text[:40]} is beyond every range")
    return Number(text)


def _integer(text: str) -> Number:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise NotStrict("number", f"an integer of more than {MAX_DIGITS} digits")
    return Number("0" if text == "-0" else text)


def _constant(text: str) -> Any:
    raise NotStrict("number", f"{text} is not a JSON number")


def _check(value: Any) -> None:
    """Refuse depth and characters that no text column can hold; iterative, so depth itself cannot hurt."""
    level: list[Any] = [value]
    depth = 0
    while level:
        depth += 1
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                for key in item:
                    _check_text(key)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str):
                _check_text(item)
        if depth > MAX_DEPTH and any(isinstance(item, dict | list) for item in level):
            raise NotStrict("depth", f"nested deeper than {MAX_DEPTH}")
        level = below


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise NotStrict("encoding", "the character U+0000")
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise NotStrict("encoding", "half of a surrogate pair")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_float, parse_int=_integer, parse_constant=_constant, strict=True
)
