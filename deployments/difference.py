"""What registering would change: deployments as they are wanted beside those that Prefect has. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

WORDS = {
    "schedules": "schedule",
    "parameters": "what the form shows first",
    "form": "form",
    "job_variables": "how a run is started",
    "entrypoint": "flow",
}
"""What a fact is called where its own name would not be understood."""
SHOWN = frozenset({"schedules", "pool", "queue", "entrypoint"})
"""Facts short enough to be shown before and after; of the others only that they differ."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a person sees of a deployment, and what decides how its runs are started."""

    schedules: list[str]
    parameters: Mapping[str, Any]
    description: str
    tags: list[str]
    entrypoint: str
    form: Mapping[str, Any]
    pool: str | None
    queue: str | None
    job_variables: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one deployment, and why."""

    name: str
    verdict: Literal["create", "update", "keep", "remove"]
    because: str = ""


def difference(wanted: Mapping[str, Facts], found: Mapping[str, Facts]) -> list[Change]:
    """What registering `wanted` would do to `found`: in the order of `wanted`, then what is no longer declared."""
    changes = [_change(name, facts, found.get(name)) for name, facts in wanted.items()]
    return changes + [Change(name, "remove", "it is no longer declared") for name in sorted(set(found) - set(wanted))]


def _change(name: str, wanted: Facts, found: Facts | None) -> Change:
    if found is None:
        return Change(name, "create", ", ".join(wanted.schedules) or "by hand")
    differing = [f.name for f in fields(Facts) if _text(getattr(wanted, f.name)) != _text(getattr(found, f.name))]
    if not differing:
        return Change(name, "keep")
    return Change(name, "update", "; ".join(_said(fact, wanted, found) for fact in differing))


def _said(fact: str, wanted: Facts, found: Facts) -> str:
    word = WORDS.get(fact, fact)
    if fact not in SHOWN:
        return word
    return f"{word}: {_short(getattr(found, fact))} → {_short(getattr(wanted, fact))}"


def _short(value: Any) -> str:
    return (", ".join(value) if isinstance(value, list) else str(value or "")) or "none"


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
