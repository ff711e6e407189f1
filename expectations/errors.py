"""What can go wrong at the gate.

GateError                  the batch was not judged; nothing of it may go on
├── GateCutOff             the database went away or ended the gate's session meanwhile; to be asked again
├── CheckBroken            a check cannot be run as SQL: its predicate names no such column, divides by zero …
└── GateDisagrees          Great Expectations and our own query count different rows for one check
"""

from __future__ import annotations


class GateError(Exception):
    """The batch could not be judged."""


class GateCutOff(GateError):
    """The database could not be reached, or ended the session in the middle of it: nothing was judged, and asking again
    may help."""


class CheckBroken(GateError):
    """One check's predicate is not SQL that the candidate table can answer."""

    def __init__(self, check: str, predicate: str, found: str) -> None:
        self.check, self.predicate, self.found = check, predicate, found
        super().__init__(
            f"check {check}: expected a predicate over the candidate columns, found {predicate!r}: {found}"
        )


class GateDisagrees(GateError):
    """Two independent counts of one batch differ; splitting it would lose or keep the wrong rows."""

    def __init__(self, batch_id: int, differences: tuple[tuple[str, int, int], ...]) -> None:
        self.batch_id, self.differences = batch_id, differences
        said = "; ".join(
            f"{name}: the suite found {suite}, the split would take {split}" for name, suite, split in differences
        )
        super().__init__(f"batch {batch_id}: the suite and the split disagree: {said}")
