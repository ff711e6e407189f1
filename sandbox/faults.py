"""Faults on demand: which request is hurt next, and how. Decisions only; `plane` carries them out."""

from __future__ import annotations

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
    "truncated",  # do the work, send half of the answer's body
    "expire",  # every access token of OAuth 2 ends just before the work
]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass
class Fault:
    """One planted fault. `count` requests that match are hurt (-1: all), after `skip` matching ones went unhurt."""

    kind: Kind
    count: int = 1
    skip: int = 0
    method: str = ""
    path: str = ""  # part of the path; empty: every path
    body: str = ""  # part of the body; empty: every body
    status: int = 503
    seconds: float = 1.0  # delay: wait before; drip: wait between pieces
    piece_bytes: int = 16
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""
    id: int = 0
    hits: int = 0

    def meets(self, method: str, path: str, body: str) -> bool:
        """Whether this fault concerns the request."""
        return (not self.method or self.method == method) and self.path in path and self.body in body


class FaultPlan:
    """The faults planted in one system, oldest first. The first that matches and is not used up hurts the request."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._next_id = 1

    def plant(self, wanted: dict[str, Any]) -> Fault:
        """Add a fault described as JSON. Raises ValueError naming what is wrong."""
        wanted = {**wanted, **wanted.get("match", {})}
        wanted.pop("match", None)
        if wanted.get("kind") not in KINDS:
            raise ValueError(f"kind: expected one of {', '.join(KINDS)}; found {wanted.get('kind')!r}")
        unknown = sorted(set(wanted) - set(Fault.__dataclass_fields__))
        if unknown:
            raise ValueError(f"unknown fields: {', '.join(unknown)}")
        fault = Fault(**{**wanted, "id": self._next_id, "hits": 0})
        self._next_id += 1
        self._faults.append(fault)
        return fault

    def take(self, method: str, path: str, body: str) -> Fault | None:
        """The fault that hurts this request, if any, counted as used."""
        for fault in self._faults:
            if not fault.meets(method, path, body) or fault.count == 0:
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.hits += 1
            if fault.count > 0:
                fault.count -= 1
            return fault
        return None

    def listed(self) -> list[dict[str, Any]]:
        """All planted faults with what is left of them."""
        return [asdict(fault) for fault in self._faults]

    def clear(self) -> None:
        """Remove all faults."""
        self._faults.clear()
