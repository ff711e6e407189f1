"""What a system's token endpoint gave us, and what to do with it: values and one decision.

A token is renewed early, at 80 % of its life (RELIABILITY P18), or when the system refused it. Times are told by the
store, in seconds by the database's clock: several workers with clocks of their own share one token.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

EARLY_SHARE = 0.8
"""The share of a token's life after which the next one is fetched."""
ASK_AGAIN_SECONDS = 600.0
"""A refresh token that was refused is shown again no sooner, in case the refusal was a mistake."""

GrantKind = Literal["authorization_code", "client_credentials"]


@dataclass(frozen=True, slots=True)
class Grant:
    """An answer of a token endpoint. `life_seconds` None: it does not say when the access token ends."""

    access: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)
    life_seconds: float | None = None
    scopes: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """The stored token of a system. Seconds count from now by the store's clock; None where there is no such moment."""

    version: int
    """Grows by one with each token that is stored."""
    access: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)
    left_seconds: float | None = None
    """Until it expires."""
    due_seconds: float | None = None
    """Until the next one is to be fetched."""
    asked_seconds_ago: float | None = None
    """When a refresh was sent whose answer was never stored."""
    refused: str | None = None
    """What the token endpoint said when it refused the refresh token."""
    refused_seconds_ago: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What to do before the next request. authorise: only a person can go on from here."""

    action: Literal["use", "renew", "authorise"]
    because: str


def next_step(held: Held | None, kind: GrantKind, *, refused_access: str | None = None) -> Step:
    """What to do with a stored token; `refused_access` is the access token that the system has just refused."""
    if held is None:
        if kind == "client_credentials":
            return Step("renew", "no token was fetched yet")
        return Step("authorise", "nobody has authorised Concord there yet")
    is_refused = held.access == refused_access
    is_due = held.due_seconds is not None and held.due_seconds <= 0
    if not is_refused and not is_due:
        return Step("use", "it has most of its life left" if refused_access is None else "it was renewed meanwhile")
    if kind == "client_credentials":
        return Step("renew", "the system refused it" if is_refused else "it is due")
    return _with_refresh_token(held, is_refused=is_refused)


def _with_refresh_token(held: Held, *, is_refused: bool) -> Step:
    """The same for a due token that a person has authorised."""
    if held.refresh is None:
        if not is_refused and (held.left_seconds is None or held.left_seconds > 0):
            return Step("use", "it cannot be renewed, and has not expired yet")
        return Step("authorise", "the token ended, and the system gave no refresh token with it")
    if held.refused is not None and (held.refused_seconds_ago or 0.0) < ASK_AGAIN_SECONDS:
        return Step("authorise", refusal(held, held.refused))
    return Step("renew", "the system refused it" if is_refused else "it is due")


def refusal(held: Held, said: str) -> str:
    """Why a refresh token was refused, as far as what we hold can tell."""
    if held.asked_seconds_ago is None:
        return f"the refresh token is not accepted any more ({said})"
    minutes = max(1, round(held.asked_seconds_ago / 60))
    return (
        f"the refresh token is not accepted any more ({said}): a renewal {minutes} min ago was cut off before its"
        " answer was stored, and the system has put another token in its place"
    )
