"""Streams as declared: by a connector's defaults, a REST manifest or the landscape's own overrides of either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from canonical.declarations.shapes import NAME, Section, with_secret_refs
from canonical.expressions import ExpressionError, compile_expression
from canonical.landscape import ChildOf, Makes, Stream


def read_stream(name: str, section: Section, base: Stream | None = None) -> Stream:
    """One stream; what the section does not say is taken from `base`. Asks only for the keys that are Concord's own:
    the caller closes the section with `done()`."""
    base = base or Stream(name)
    key = section.texts("key", single=True)
    makes = tuple(_makes(item) for item in section.list_of("makes"))
    spellings: tuple[Literal["distinct", "case_sensitive"], ...] = ("distinct", "case_sensitive")
    return Stream(
        name=name,
        key=key or base.key,
        changed=section.text("changed") or base.changed,
        makes=makes if section.has("makes") else base.makes,
        child_of=_child_of(section) or base.child_of,
        deleted_when=read_expression(section, "deleted_when") or base.deleted_when,
        ids=section.choice("ids", spellings, base.ids),
        options={**base.options, **_options(section)},
    )


def _makes(section: Section) -> Makes:
    made = Makes(section.mention("entity", "entity", required=True) or "", read_expression(section, "when"))
    section.done()
    return made


def _child_of(parent: Section) -> ChildOf | None:
    section = parent.section("child_of")
    if section is None:
        return None
    child = ChildOf(
        stream=section.text("stream", required=True, pattern=NAME) or "",
        by=section.text("by", required=True) or "",
        field=section.text("field") or "lines",
    )
    section.done()
    return child


def _options(section: Section) -> Mapping[str, Any]:
    options = section.section("options")
    return {} if options is None else {key: with_secret_refs(e.node) for key, e in options.node.entries.items()}


def read_expression(section: Section, key: str) -> str | None:
    """An expression on source fields, compiled once to see that it is one."""
    text = section.text(key)
    if text is None:
        return None
    try:
        compile_expression(text, None)
    except ExpressionError as error:
        section.wrong(key, error.expected, error.found)
    return text
