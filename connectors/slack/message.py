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
LINE_CHARACTERS = 1_000
FALLBACK_CHARACTERS = 3_000
_MENTION = re.compile(r"@(?=channel\b|here\b|everyone\b)", re.IGNORECASE)
_UNCALLED = "@\u2060"
"""A word joiner after the @: it looks the same and calls nobody."""


def escape(text: str) -> str:
    """One line in which Slack finds no link, no mention and no channel call, and a person sees every character."""
    text = shown(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MENTION.sub(_UNCALLED, text)


def message(title: str, lines: Sequence[str]) -> dict[str, Any]:
    """The payload of one message: a header, sections of lines, and what did not fit as a number."""
    head = _MENTION.sub(_UNCALLED, shown(title))
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _cut(head, HEADER_CHARACTERS) or "Concord"}}
    ]
    sections, left_out = _sections(lines)
    blocks += [{"type": "section", "text": {"type": "mrkdwn", "text": text}} for text in sections]
    if left_out:
        note = {"type": "mrkdwn", "text": f"… and {left_out} more lines"}
        blocks.append({"type": "context", "elements": [note]})
    fallback = "\n".join([escape(title), *sections[:1]])
    return {"text": _cut(fallback, FALLBACK_CHARACTERS), "blocks": blocks, "unfurl_links": False, "unfurl_media": False}


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
