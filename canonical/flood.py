"""Many records refused alike are no bad records: the system, or what is sent to it, is at fault (RELIABILITY P10).

Then its lane stops with one incident, what was refused so waits to be sent again, and one record tries from time to
time whether it goes through now.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

LEAST_RECORDS = 20
MOST_SHARE = 0.2

_VARIABLE = re.compile(r"'[^']*'|\"[^\"]*\"|\S*\d\S*")


@dataclass(frozen=True, slots=True)
class Flood:
    """The refusals that are alike, and of how many records."""

    cause: str
    failed: int
    tried: int

    @property
    def because(self) -> str:
        return f"{self.failed} of {self.tried} records were refused alike ({self.cause}): taken for the system's fault"


def cause_of(field: str | None, reason: str | None) -> str:
    """What refusals have in common: a reason without the values in it."""
    said = " ".join(_VARIABLE.sub("…", reason or "").split())[:200]
    return f"{field}: {said}" if field else said or "no reason given"


def flood(refused: Mapping[str, int], tried: int) -> Flood | None:
    """The flood among a lane's refusals, where there is one. `refused`: cause → distinct records in the window;
    tried: distinct records that were answered in it."""
    if not refused:
        return None
    cause, failed = max(refused.items(), key=lambda item: item[1])
    of = max(tried, sum(refused.values()))
    return Flood(cause, failed, of) if failed >= LEAST_RECORDS and failed > of * MOST_SHARE else None
