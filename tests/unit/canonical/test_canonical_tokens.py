"""What is done with a stored token, and why."""

from __future__ import annotations

import pytest

from canonical.tokens import GrantKind, Held, next_step, refusal

YOUNG = Held(3, "a", "r", left_seconds=1000.0, due_seconds=640.0)
DUE = Held(3, "a", "r", left_seconds=300.0, due_seconds=-60.0)
ENDED = Held(3, "a", "r", left_seconds=-5.0, due_seconds=-365.0)
ONLY = Held(3, "a", None, left_seconds=300.0, due_seconds=-60.0)
ONLY_ENDED = Held(3, "a", None, left_seconds=-1.0, due_seconds=-60.0)
FOR_EVER = Held(3, "a", None)
REFUSED = Held(3, "a", "r", -5.0, -365.0, refused="invalid_grant", refused_seconds_ago=60.0)
REFUSED_LONG_AGO = Held(3, "a", "r", -5.0, -365.0, refused="invalid_grant", refused_seconds_ago=601.0)
PERSON: GrantKind = "authorization_code"
OURSELVES: GrantKind = "client_credentials"


@pytest.mark.parametrize(
    ("held", "kind", "refused", "action"),
    [
        pytest.param(None, PERSON, None, "authorise", id="never authorised"),
        pytest.param(None, OURSELVES, None, "renew", id="never fetched"),
        pytest.param(YOUNG, PERSON, None, "use", id="young"),
        pytest.param(DUE, PERSON, None, "renew", id="four fifths of its life are over"),
        pytest.param(ENDED, OURSELVES, None, "renew", id="ended"),
        pytest.param(YOUNG, PERSON, "a", "renew", id="refused by the system"),
        pytest.param(YOUNG, OURSELVES, "a", "renew", id="refused by the system, no person needed"),
        pytest.param(YOUNG, PERSON, "older", "use", id="an older one was refused"),
        pytest.param(ENDED, PERSON, "older", "renew", id="an older one was refused, and this one has ended"),
        pytest.param(ONLY, PERSON, None, "use", id="cannot be renewed, still good"),
        pytest.param(ONLY_ENDED, PERSON, None, "authorise", id="cannot be renewed, ended"),
        pytest.param(FOR_EVER, PERSON, None, "use", id="never ends"),
        pytest.param(FOR_EVER, PERSON, "a", "authorise", id="never ends, and was refused"),
        pytest.param(REFUSED, PERSON, None, "authorise", id="refresh token refused a minute ago"),
        pytest.param(REFUSED_LONG_AGO, PERSON, None, "renew", id="refresh token refused long ago"),
    ],
)
def test_what_to_do_with_a_token(held: Held | None, kind: GrantKind, refused: str | None, action: str) -> None:
    step = next_step(held, kind, refused_access=refused)
    assert step.action == action
    assert step.because


def test_a_renewal_that_was_cut_off_explains_a_refusal() -> None:
    assert "cut off" not in refusal(ENDED, "invalid_grant")
    cut = Held(3, "a", "r", asked_seconds_ago=240.0)
    assert "a renewal 4 min ago was cut off" in refusal(cut, "invalid_grant")


def test_a_token_does_not_show_itself() -> None:
    assert "'a'" not in repr(YOUNG)
    assert "'r'" not in repr(YOUNG)
