"""A title and lines as a Slack message: escaped, so that no record can address people or make links, and within size.

Sizes are Slack's: 150 characters in a header, 3,000 in a section, 50 blocks (docs.slack.dev, block kit reference).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from canonical.shown import shown

HEADER_CHARACTERS = 150
SECTION_CHARACTERS = 3_000
MAX_BLOCKS = 40
MAX_PEOPLE = 10
LINE_CHARACTERS = 1_000
FALLBACK_CHARACTERS = 3_000
_MENTION = re.compile(r"@(?=channel\b|here\b|everyone\b)", re.IGNORECASE)
_UNCALLED = "@\u2060"
"""A word joiner after the @: it looks the same and calls nobody."""
_MEMBER = re.compile(r"[UW][A-Z0-9]{6,20}\Z")
"""A member's id, the only form in which Slack calls a person (docs.slack.dev, mentioning users)."""


def escape(text: str) -> str:
    """One line in which Slack finds no link, no mention and no channel call, and a person sees every character."""
    text = shown(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MENTION.sub(_UNCALLED, text)


def message(title: str, lines: Sequence[str], people: Sequence[str] = ()) -> dict[str, Any]:
    """The payload of one message: a header, sections of lines, what did not fit as a number, and a call to those of
    `people` who are declared by their member's id."""
    head = _MENTION.sub(_UNCALLED, shown(title))
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _cut(head, HEADER_CHARACTERS) or "Concord"}}
    ]
    sections, left_out = _sections(lines)
    blocks += [{"type": "section", "text": _marked(text)} for text in sections]
    called = " ".join(f"<@{one}>" for one in people[:MAX_PEOPLE] if _MEMBER.match(one))
    notes = [*([f"… and {left_out} more lines"] if left_out else []), *([f"for {called}"] if called else [])]
    if notes:
        blocks.append({"type": "context", "elements": [_marked(note) for note in notes]})
    fallback = "\n".join([escape(title), *sections[:1]])
    return {"text": _cut(fallback, FALLBACK_CHARACTERS), "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


def _marked(text: str) -> dict[str, Any]:
    """Text in Slack's marks, as it stands: what looks like an address in it does not become a link."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _sections(lines: Sequence[str]) -> tuple[list[str], int]:
    """Lines packed into as few sections as fit, and how many lines found no place."""
    sections: list[str] = []
    for position, line in enumerate(lines):
        text = escape(_cut(line, LINE_CHARACTERS // 2)) if len(line) > LINE_CHARACTERS else escape(line)
        text = _cut(text, SECTION_CHARACTERS)
        if sections and len(sections[-1]) + 1 + len(text) <= SECTION_CHARACTERS:
            sections[-1] += f"\n{text}"
        elif len(sections) < MAX_BLOCKS - 2:
            sections.append(text or " ")
        else:
            return sections, len(lines) - position
    return sections, 0


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
