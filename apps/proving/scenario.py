"""What happens on a rehearsed day: phases, how much work comes in each, and which system is hurt how. Pure values.

A scenario is a small YAML file: one of those beside this module (`christmas`, `calm`), or any file of the same form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent / "scenarios"
_PHASE_KEYS = {"name", "from", "until", "hurts", "fault", "normal", "quiet"}
_KEYS = {"name", "means", "changes_per_minute", "phases"}


class BadScenario(Exception):
    """The file is no scenario: every problem, with what was expected."""


@dataclass(frozen=True)
class Phase:
    """A part of the day. `start` and `end`: shares of it, 0 to 1. `load`: changes that people make in a minute."""

    name: str
    start: float
    end: float
    load: float
    hurts: str | None = None
    fault: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_quiet(self) -> bool:
        """Nobody works: what was left waits to be worked off."""
        return self.load == 0


@dataclass(frozen=True)
class Scenario:
    """A day."""

    name: str
    means: str
    phases: tuple[Phase, ...]

    @property
    def calm(self) -> Phase:
        """The busy phase in which nobody is hurt: what the others are compared with."""
        return max((p for p in self.phases if p.hurts is None), key=lambda p: p.load)

    def phase_at(self, share: float) -> Phase | None:
        """What is going on at a share of the day; None between phases: the rush goes on and nobody is hurt."""
        return next((p for p in self.phases if p.start <= share < p.end), None)

    def load_at(self, share: float) -> float:
        """Changes a minute at a share of the day."""
        phase = self.phase_at(share)
        return self.calm.load if phase is None else phase.load


def names() -> list[str]:
    """The scenarios that come with Concord."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read(named: str, load: float) -> Scenario:
    """A scenario by name, or from a file; `load` multiplies the work of a normal day. Raises BadScenario."""
    path = Path(named) if named.endswith((".yaml", ".yml")) else FOLDER / f"{named}.yaml"
    if not path.is_file():
        raise BadScenario(f"there is no scenario {named}: expected {', '.join(names())}, or a YAML file")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise BadScenario(f"{path}: {str(error).splitlines()[0]}") from None
    problems = list(_problems(found))
    if problems:
        raise BadScenario("\n".join(f"{path}: {problem}" for problem in problems))
    normal = float(found["changes_per_minute"])
    return Scenario(found["name"], found["means"], tuple(_phase(one, normal, load) for one in found["phases"]))


def _phase(one: Mapping[str, Any], normal: float, load: float) -> Phase:
    work = 0.0 if one.get("quiet") else normal if one.get("normal") else normal * load
    start, end = _share(one["from"]), _share(one["until"])
    assert start is not None
    assert end is not None
    return Phase(one["name"], start, end, work, one.get("hurts"), one.get("fault") or {})


def _problems(found: Any) -> Iterator[str]:
    if not isinstance(found, dict) or _KEYS - found.keys():
        yield f"expected {', '.join(sorted(_KEYS))}"
        return
    yield from (f"unknown key {key}" for key in sorted(found.keys() - _KEYS))
    rate = found["changes_per_minute"]
    if not isinstance(rate, int | float) or rate <= 0:
        yield f"changes_per_minute: expected a number above 0, found {rate!r}"
    if not isinstance(found["phases"], list) or not found["phases"]:
        yield "phases: expected a list of at least one"
        return
    end = 0.0
    for number, one in enumerate(found["phases"], 1):
        for problem in _wrong_with(one, end):
            yield f"phase {number}: {problem}"
        end = (_share(one.get("until")) if isinstance(one, dict) else None) or end


def _wrong_with(one: Any, after: float) -> Iterator[str]:
    if not isinstance(one, dict) or not {"name", "from", "until"} <= one.keys():
        yield "expected name, from and until"
        return
    yield from (f"unknown key {key}" for key in sorted(one.keys() - _PHASE_KEYS))
    start, end = _share(one["from"]), _share(one["until"])
    if start is None or end is None or not after <= start < end <= 1:
        yield f"from, until: expected shares like 20% that follow each other; found {one['from']} to {one['until']}"
    if bool(one.get("hurts")) != bool(one.get("fault")):
        yield "hurts and fault: expected both or neither"


def _share(text: Any) -> float | None:
    """`20%` as 0.2."""
    number = str(text).removesuffix("%")
    return float(number) / 100 if str(text).endswith("%") and number.replace(".", "", 1).isdigit() else None
