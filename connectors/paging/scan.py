"""Where the records of a list begin and end, in a body that no JSON parser accepts because one record is damaged.

A record with `NaN` in it is not JSON, and so is the page around it. Braces outside of strings still tell where records
end: the damaged one is set aside and the others go on. Only used after the fast way failed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\],:]', re.DOTALL)
_SCALAR = re.compile(rb'\s*("(?:[^"\\]|\\.)*+"|-?[0-9]+(?![0-9.eE]))', re.DOTALL)
MAX_DEPTH = 64


class NoBoundaries(Exception):
    """The list was not found, or the body ends inside of it."""


def boundaries(body: bytes, path: Sequence[str]) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """(start, end) of each element of the list at `path`, and of the list itself (brackets included).

    NoBoundaries also where text touches a string: a quote too many or too few turns everything behind it inside out,
    and a good record would be taken for a part of the damaged one."""
    wanted = tuple(path)
    names: list[str | None] = []  # the member name that each open container stands under
    name: str | None = None
    last_string = b""
    opened = -1
    depth_of_list = 0
    start = 0
    elements: list[tuple[int, int]] = []
    end, was_string = 0, False
    for token in _TOKEN.finditer(body):
        mark = token.group()
        is_string = mark[:1] == b'"'
        if (was_string and is_string) or ((was_string or is_string) and body[end : token.start()].strip()):
            raise NoBoundaries("text touches a string")
        end, was_string = token.end(), is_string
        if is_string:
            last_string = mark
        elif mark == b":" and opened < 0:
            name = last_string[1:-1].decode("utf-8", "replace")
        elif mark in (b"{", b"["):
            names.append(name)
            name = None
            if len(names) > MAX_DEPTH:
                raise NoBoundaries(f"nested deeper than {MAX_DEPTH}")
            if opened < 0 and mark == b"[" and tuple(names[1:]) == wanted and names[0] is None:
                opened, depth_of_list, start = token.start(), len(names), token.end()
        elif mark == b"," and opened >= 0 and len(names) == depth_of_list:
            elements.append((start, token.start()))
            start = token.end()
        elif mark in (b"}", b"]"):
            if opened >= 0 and len(names) == depth_of_list:
                if body[start : token.start()].strip():
                    elements.append((start, token.start()))
                return elements, (opened, token.end())
            if not names:
                break
            names.pop()
    raise NoBoundaries("the body ends inside the list" if opened >= 0 else "the list was not found")


def members(record: bytes, paths: Sequence[Sequence[str]]) -> list[bytes]:
    """The scalars at these paths of a damaged record, as they stand there; those that are not found are left out.

    A record that cannot be read is still there: its id keeps a sweep from taking it for gone."""
    wanted = [tuple(path) for path in paths]
    found: dict[tuple[str | None, ...], bytes] = {}
    names: list[str | None] = []
    name: str | None = None
    last_string = b""
    for token in _TOKEN.finditer(record):
        mark = token.group()
        if mark[:1] == b'"':
            last_string = mark
        elif mark == b":":
            name = last_string[1:-1].decode("utf-8", "replace")
            place = (*names[1:], name)
            if place in wanted and place not in found and (value := _SCALAR.match(record, token.end())):
                found[place] = value[1]
        elif mark in (b"{", b"["):
            names.append(name)
            name = None
        elif mark in (b"}", b"]") and names:
            names.pop()
    return [found[path] for path in wanted if path in found]
