"""What cells prove: one cell's outcome, and all of them together. Pure values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

RECOVERY_SECONDS = 60.0
"""RELIABILITY P21: after a kill, work is done again within a minute."""
DATABASE_RECOVERY_SECONDS = 120.0
"""RELIABILITY P21: after a restart of the database within two."""

Kind = Literal["kill", "again", "zombie", "workers", "database"]


@dataclass(frozen=True)
class Cell:
    """What became of one run that was hurt.

    hurt: how often it was killed, stopped or left without its database; 0: the point was never come to.
    recovery_seconds: from the last restart until nothing was left to do. written_again: what a further run wrote."""

    name: str
    kind: Kind
    hurt: int = 0
    is_recovered: bool = False
    recovery_seconds: float = 0.0
    lost: int = 0
    doubled: int = 0
    written_again: int = 0
    sums_off: int = 0
    """Sums of the ledger that did not hold, at the hurt or at the end."""
    said: tuple[str, ...] = ()
    """What went wrong, in words."""
    seconds: float = 0.0

    @property
    def is_reached(self) -> bool:
        """Whether it was hurt at all: a run may come to a point less often than was asked."""
        return self.hurt > 0

    @property
    def limit_seconds(self) -> float:
        """How long recovery may take."""
        return DATABASE_RECOVERY_SECONDS if self.kind == "database" else RECOVERY_SECONDS

    @property
    def holds(self) -> bool:
        """Whether everything that is promised held."""
        if not self.is_reached:
            return not self.said
        clean = not (self.lost or self.doubled or self.written_again or self.sums_off or self.said)
        return clean and self.is_recovered and self.recovery_seconds <= self.limit_seconds


@dataclass(frozen=True)
class Proof:
    """All cells of one `concord prove`. skipped: cells for which the time was over."""

    cells: tuple[Cell, ...]
    points: int
    hits: int
    skipped: int = 0
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether every cell held, and there was one."""
        return bool(self.hurt) and all(cell.holds for cell in self.cells)

    @property
    def hurt(self) -> list[Cell]:
        """Cells whose run was hurt."""
        return [cell for cell in self.cells if cell.is_reached]

    @property
    def failed(self) -> list[Cell]:
        """Cells in which a promise broke."""
        return [cell for cell in self.cells if not cell.holds]

    def slowest(self, kinds: Sequence[Kind]) -> float:
        """The longest recovery among these kinds, in seconds."""
        return max((cell.recovery_seconds for cell in self.hurt if cell.kind in kinds), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "holds": self.holds,
            "points": self.points,
            "hits": self.hits,
            "cells": len(self.hurt),
            "not_reached": len(self.cells) - len(self.hurt),
            "skipped": self.skipped,
            "killed": sum(cell.hurt for cell in self.hurt if cell.kind in ("kill", "again")),
            "stopped": sum(cell.hurt for cell in self.hurt if cell.kind == "zombie"),
            "database_restarts": sum(cell.hurt for cell in self.hurt if cell.kind == "database"),
            "recovered": sum(cell.is_recovered for cell in self.hurt),
            "slowest_recovery_seconds": round(self.slowest(("kill", "again", "zombie", "workers")), 1),
            "slowest_after_database_seconds": round(self.slowest(("database",)), 1),
            "lost": sum(cell.lost for cell in self.hurt),
            "doubled": sum(cell.doubled for cell in self.hurt),
            "written_again": sum(cell.written_again for cell in self.hurt),
            "sums_off": sum(cell.sums_off for cell in self.hurt),
            "seconds": round(self.seconds, 1),
            "failed": [{**asdict(cell), "said": list(cell.said)} for cell in self.failed],
        }
