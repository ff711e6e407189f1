"""Text as a person may be shown it: what no eye sees, or what a program would obey, stands there in writing.

A value is kept as it came; only where it is shown (terminal, chat, reasons) are these characters written out, as
`\\x1b` or `\\u202e`:

    controls                 a terminal obeys them, and a line break starts a log line that nobody wrote
    direction                text that reads in another order than it is stored
    no width, or only width  names that look alike and are not
"""

from __future__ import annotations

import re

UNSEEN = (
    "\x00-\x1f\x7f-\x9f"  # Cc: controls
    "\xad\u0600-\u0605\u061c\u06dd\u070f\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # Cf: format
    "\U000e0001\U000e0020-\U000e007f"  # Cf: tags
    "\u2028\u2029"  # Zl, Zp: line and paragraph separators
    "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # fillers and joiners without width (Default_Ignorable_Code_Point)
)
"""The characters, as the inside of a regular expression's class (Unicode 15.0, general categories and DerivedCore)."""
_UNSEEN = re.compile(f"[{UNSEEN}]")
_LETTERS = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def shown(text: str) -> str:
    """The text with every unseen character written out; text without any is the same text."""
    return _UNSEEN.sub(_written, text)


def shown_page(text: str) -> str:
    """The same for a whole document, whose own line breaks and tabs are its layout."""
    return _UNSEEN.sub(lambda found: found[0] if found[0] in "\n\r\t" else _written(found), text)


def _written(found: re.Match[str]) -> str:
    char = found[0]
    point = ord(char)
    if char in _LETTERS:
        return _LETTERS[char]
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
