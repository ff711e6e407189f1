"""Faults on demand: which request is hurt next, and how. Decisions only; `plane` and `lies` carry them out.

A fault hurts the requests that match it (`match`: method, parts of path and body) while it is due:

    count, skip     so many of them, after so many unhurt ones; -1: all. Without a schedule or a rate, one
    rate            each with this likelihood, drawn from a generator of the fault's own (`seed`): a run repeats
    from, until     seconds since the fault was planted between which it is due
    every, for      of each so many seconds (counted from `from`) the first so many
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

Kind = Literal[
    "status",  # answer with a status instead of doing the work
    "status_after",  # do the work, then answer with a status (500 though stored)
    "delay",  # wait some seconds, then do the work
    "drip",  # do the work, send the answer a few bytes at a time
    "reset_before",  # cut the connection before the work is done
    "reset_after",  # do the work, cut the connection before a byte of the answer
    "html200",  # a web page with status 200
    "empty200",  # status 200 and no body
    "empty_after",  # do the work, answer with its status and no body
    "truncated",  # do the work, send the answer's body up to byte `at` (half of it), then close
    "cut_closed",  # no Content-Length: the answer ends early, whole in form, with half of its records and no next page
    "empty_list",  # a valid page with no record and no next page
    "duplicate_page",  # the records of the page before, with this page's way on
    "endless_page",  # the same page for ever: the way on leads back
    "wrong_id",  # do the work, answer with another id (`id`; none given: one that does not exist)
    "stale_read",  # reads answer as things stood when the fault was planted, or when it last became due
    "retyped",  # fields of records change: `fields`, path → string, number, object, list, null, gone, name:NEW, a value
    "search_lag",  # searches find nothing of what was created in the last `seconds`
    "clock",  # the system's clock is `seconds` off: its Date header and its change marks. Hurts no single request
    "expire",  # every access token of OAuth 2 ends just before the work
]
KINDS: tuple[str, ...] = get_args(Kind)
WITH_WORK: frozenset[str] = frozenset(KINDS) - {"status", "reset_before", "html200", "empty200"}
"""Kinds under which the system does what it was asked."""
_WORDS = {"for": "for_seconds", "every": "every_seconds", "from": "from_seconds", "until": "until_seconds"}
_WORDS |= {"id": "other_id"}


@dataclass
class Fault:
    """One planted fault. Times are seconds; `hits` counts the requests it has hurt."""

    kind: Kind
    count: int = 1
    skip: int = 0
    method: str = ""
    path: str = ""  # part of the path; empty: every path
    body: str = ""  # part of the body; empty: every body
    rate: float = 1.0
    seed: int = 0
    from_seconds: float = 0.0
    until_seconds: float = float("inf")
    every_seconds: float = 0.0
    for_seconds: float = 0.0
    status: int = 503
    seconds: float = 1.0  # delay: before; drip: between pieces; search_lag: how long; clock: how far off
    piece_bytes: int = 16
    at: int = -1  # truncated: the byte to end at
    other_id: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""
    id: int = 0
    hits: int = 0

    def meets(self, method: str, path: str, body: str) -> bool:
        """Whether this fault concerns the request."""
        return (not self.method or self.method == method) and self.path in path and self.body in body

    def window(self, elapsed: float) -> int | None:
        """Which of its windows the fault is in so many seconds after it was planted; None: it is not due."""
        if not self.from_seconds <= elapsed < self.until_seconds:
            return None
        if not self.every_seconds:
            return 0
        number, into = divmod(elapsed - self.from_seconds, self.every_seconds)
        return int(number) if into < self.for_seconds else None


class FaultPlan:
    """The faults planted in one system, oldest first. The first that matches and is due hurts the request."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._faults: list[Fault] = []
        self._since: dict[int, float] = {}
        self._draws: dict[int, random.Random] = {}
        self._next_id = 1

    def plant(self, wanted: dict[str, Any]) -> Fault:
        """Add a fault described as JSON. Raises ValueError naming what is wrong."""
        wanted = {**wanted, **wanted.get("match", {})}
        wanted.pop("match", None)
        wanted = {_WORDS.get(name, name): value for name, value in wanted.items()}
        if wanted.get("kind") not in KINDS:
            raise ValueError(f"kind: expected one of {', '.join(KINDS)}; found {wanted.get('kind')!r}")
        unknown = sorted(set(wanted) - set(Fault.__dataclass_fields__))
        if unknown:
            raise ValueError(f"unknown fields: {', '.join(unknown)}")
        is_timed = bool(wanted.keys() & {"rate", "from_seconds", "until_seconds", "every_seconds"})
        is_lasting = is_timed or wanted["kind"] in ("clock", "search_lag", "stale_read", "endless_page")
        fault = Fault(**{"count": -1 if is_lasting else 1, **wanted, "id": self._next_id, "hits": 0})
        _check(fault)
        self._next_id += 1
        self._faults.append(fault)
        self._since[fault.id] = self._clock()
        self._draws[fault.id] = random.Random(fault.seed or fault.id)
        return fault

    def window(self, fault: Fault) -> int | None:
        """Which of its windows a fault is in now; None: it is not due."""
        return fault.window(self._clock() - self._since[fault.id])

    def take(self, method: str, path: str, body: str, *, is_search: bool = True) -> Fault | None:
        """The fault that hurts this request, if any, counted as used."""
        for fault in self._faults:
            if fault.kind == "clock" or fault.count == 0 or not fault.meets(method, path, body):
                continue
            if fault.kind == "search_lag" and not is_search and not fault.path:
                continue
            if self.window(fault) is None:
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.rate < 1 and self._draws[fault.id].random() >= fault.rate:
                continue
            fault.hits += 1
            if fault.count > 0:
                fault.count -= 1
            return fault
        return None

    @property
    def clock_offset_seconds(self) -> float:
        """How far the system's clock is off now."""
        return sum(one.seconds for one in self._faults if one.kind == "clock" and self.window(one) is not None)

    def listed(self) -> list[dict[str, Any]]:
        """All planted faults with what is left of them."""
        return [_shown(fault) for fault in self._faults]

    def clear(self, fault_id: int | None = None) -> None:
        """Remove all faults, or one."""
        self._faults = [one for one in self._faults if fault_id is not None and one.id != fault_id]


def _check(fault: Fault) -> None:
    if not 0 < fault.rate <= 1:
        raise ValueError(f"rate: expected a likelihood above 0 and up to 1; found {fault.rate}")
    if fault.every_seconds < 0 or (fault.every_seconds and not 0 < fault.for_seconds <= fault.every_seconds):
        raise ValueError(f"for: expected seconds up to every={fault.every_seconds:g}; found {fault.for_seconds:g}")
    if fault.kind == "retyped" and not fault.fields:
        raise ValueError("fields: expected at least one path of a record and what becomes of it; found none")


def _shown(fault: Fault) -> dict[str, Any]:
    """A fault as JSON: without an end that has no end."""
    found = asdict(fault)
    if fault.until_seconds == float("inf"):
        found["until_seconds"] = None
    return found
