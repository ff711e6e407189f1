"""A title and lines as a plain-text e-mail: one line stays one line, nothing becomes a link, and it is small."""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime, make_msgid, parseaddr

from canonical.shown import shown

SUBJECT_CHARACTERS = 150
LINE_CHARACTERS = 1_000
BODY_CHARACTERS = 20_000
_LINK = re.compile(r"(?<=:)(?=//)|(?<=<)(?=[!@#])|(?<=\bwww)(?=\.)", re.IGNORECASE)
_JOINER = "\u2060"
"""A word joiner: it looks the same, and neither a mail client nor a chat that mail is forwarded to finds a link."""


def escape(text: str) -> str:
    """One line in which nothing is a link or a call, and a person sees every character."""
    return _LINK.sub(_JOINER, shown(text))


def body(lines: Sequence[str]) -> str:
    """The lines as far as they fit; the rest as a number."""
    kept: list[str] = []
    left = BODY_CHARACTERS
    for position, line in enumerate(lines):
        text = _cut(escape(_cut(line, LINE_CHARACTERS)), LINE_CHARACTERS)
        left -= len(text) + 1
        if left < 0:
            kept.append(f"… and {len(lines) - position} more lines")
            break
        kept.append(text)
    return "\n".join(kept) + "\n"


def message(
    title: str, lines: Sequence[str], *, sender: str, recipients: Sequence[str], key: str | None
) -> EmailMessage:
    """The whole e-mail. The same `key` gives the same Message-ID, so a second copy is known as one.

    Raises ValueError for an address that cannot stand in a header."""
    made = EmailMessage(policy=SMTP)
    made["From"] = sender
    made["To"] = ", ".join(recipients)
    made["Subject"] = _cut(f"[Concord] {escape(title)}", SUBJECT_CHARACTERS)
    made["Date"] = format_datetime(localtime())
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    made["Message-ID"] = f"<concord.{_plain(key)}@{domain}>" if key else make_msgid(domain=domain)
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday notice answers
    made.set_content(body(lines))
    return made


def _plain(key: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", key)[:100]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
