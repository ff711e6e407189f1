"""How Concord refuses a declaration: every problem at once, each with where, what was expected and what was found.

Refused(Exception)          nothing was done; `problems` says all of it
└── carries Problem(...)    one line a person can act on
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in a declaration."""

    file: str
    line: int | None
    where: str
    """The place inside the file, as a person says it: `fields.phone.type`, `row 7, column rule`."""
    expected: str
    found: str
    suggestion: str | None = None

    def __str__(self) -> str:
        at = f"{self.file}:{self.line}" if self.line else self.file
        hint = f" Did you mean {self.suggestion}?" if self.suggestion else ""
        return f"{at}: {self.where}: expected {self.expected}, found {self.found}.{hint}"

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class Refused(Exception):
    """A declaration (or command) is refused before any effect; carries all its problems, sorted by place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.line or 0, p.where)))
        super().__init__("\n".join(str(p) for p in self.problems))
