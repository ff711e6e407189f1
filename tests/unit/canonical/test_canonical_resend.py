"""What becomes of a write without an answer (RELIABILITY P5), as a table."""

from __future__ import annotations

from typing import Any

import pytest

from canonical.resend import MOST_RESENDS, Silence, resolve

CREATE: dict[str, Any] = {"op": "create", "sends": 1}


@pytest.mark.parametrize(
    ("silence", "action"),
    [
        pytest.param({"write_class": "C", "seen": "there"}, "done", id="found"),
        pytest.param({"write_class": "C", "seen": "cannot_tell", "op": "update"}, "again", id="an update says the end"),
        pytest.param({"write_class": "C", "seen": "cannot_tell", "op": "archive"}, "again", id="so does an archive"),
        pytest.param({"write_class": "C", "seen": "cannot_tell", "is_sent": False}, "again", id="never sent"),
        pytest.param({"write_class": "A", "seen": "cannot_tell"}, "again", id="A, by external id"),
        pytest.param(
            {"write_class": "A", "seen": "cannot_tell", "key_life_seconds": 60.0, "key_age_seconds": 50.0},
            "resend",
            id="A, the key lives",
        ),
        pytest.param(
            {"write_class": "A", "seen": "cannot_tell", "key_life_seconds": 60.0, "key_age_seconds": 58.0},
            "ask",
            id="A, the key may end on the way",
        ),
        pytest.param(
            {"write_class": "A", "seen": "absent", "key_life_seconds": 60.0, "key_age_seconds": 90.0},
            "again",
            id="A, the key is over, searched",
        ),
        pytest.param(
            {"write_class": "A", "seen": "cannot_tell", "key_life_seconds": 60.0, "is_same_request": False},
            "ask",
            id="A, of a batch that was answered in part",
        ),
        pytest.param({"write_class": "B", "seen": "absent"}, "again", id="B, searched"),
        pytest.param({"write_class": "B", "seen": "cannot_tell"}, "ask", id="B, with nothing to search by"),
        pytest.param({"write_class": "C", "seen": "cannot_tell"}, "ask", id="C"),
        pytest.param({"write_class": "C", "seen": "absent"}, "ask", id="C, whatever a search says"),
        pytest.param({"write_class": "B", "seen": "absent", "sends": MOST_RESENDS + 1}, "ask", id="too often"),
    ],
)
def test_what_is_done(silence: dict[str, Any], action: str) -> None:
    assert resolve(Silence(**{**CREATE, **silence})).action == action


def test_the_index_is_waited_for() -> None:
    found = resolve(Silence(**CREATE, write_class="B", seen="absent", index_lag_seconds=90.0))
    assert (found.action, found.wait_seconds) == ("again", 90.0)
