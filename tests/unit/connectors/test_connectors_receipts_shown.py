"""What a system says of a refused write may be anything; what is kept of it can be kept and shown."""

from __future__ import annotations

import pytest

from connectors.protocol import LONGEST_REASON, Receipt
from tests.fixtures.corpora.naughty_strings import STRINGS


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("the name is too long", "the name is too long"),
        ("bad\x00name", "bad\\x00name"),
        ("one\r\n2026-01-01 INFO all is well", "one\\r\\n2026-01-01 INFO all is well"),
        ("\x1b[31mred\u202e", "\\x1b[31mred\\u202e"),
        ("x" * 10_000, "x" * LONGEST_REASON),
        (None, None),
        ("", ""),
    ],
    ids=["plain", "nul", "lines", "unseen", "long", "none", "empty"],
)
def test_a_reason_can_be_kept_and_shown(said: str | None, kept: str | None) -> None:
    assert Receipt("r", "rejected", reason=said).reason == kept


def test_whatever_is_said() -> None:
    for text in STRINGS.values():
        reason = Receipt("r", "rejected", reason=text).reason
        assert reason is not None
        assert not [c for c in reason if ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0]
