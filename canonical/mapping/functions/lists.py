"""Rules on lists inside a field: the first or last element, or a rule-free join of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from canonical.mapping.functions.base import Args, Context, Inputs, Outcome, Rule, Step, each_value, forgotten, no_args
from canonical.mapping.strict import Number, canonical_json, plain_text

_JSON = msgspec.json.Decoder(float_hook=Number)


def _elements(value: str) -> list[Any] | None:
    """The elements of a list's JSON text; a plain text counts as a list of itself; None: broken JSON."""
    if not value.startswith("["):
        return [value]
    try:
        found = _JSON.decode(value)
    except msgspec.DecodeError:
        return None
    return [element for element in found if element is not None and element != ""]


def _text(element: Any) -> str | None:
    return str(element) if type(element) is int else plain_text(element)


def _one(name: str, take: Callable[[list[Any]], Any], doc: str) -> Rule:
    def one(value: str) -> str | None:
        elements = _elements(value)
        # "" is what an empty list gives; the program reads it as empty.
        return None if elements is None else _text(take(elements)) if elements else ""

    def compile_step(args: Args, _: Context) -> Step:
        no_args(args, name)

        def run(inputs: Inputs) -> Outcome:
            return each_value(inputs.first, one, "a list")

        return Step(name, run)

    return Rule(name, doc, name, compile_step, undo=forgotten("the list's other elements are forgotten"))


def _each(args: Args, _: Context) -> Step:
    separator = args.words[0] if args.words else None

    def one(value: str) -> str | None:
        elements = _elements(value)
        if elements is None:
            return None
        if separator is None:
            return canonical_json(elements) if elements else ""
        return separator.join(str(_text(element)) for element in elements)

    return Step("each", lambda inputs: each_value(inputs.first, one, "a list"))


RULES = (
    _one("first", lambda elements: elements[0], "The first element of a list that is not empty."),
    _one("last", lambda elements: elements[-1], "The last element of a list that is not empty."),
    Rule(
        "each",
        "Every element of a list that is not empty, joined by SEP (without one: as JSON).",
        "each [SEP]",
        _each,
        undo=forgotten("where one element ends and the next begins is forgotten"),
    ),
)
