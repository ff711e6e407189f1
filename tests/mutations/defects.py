"""What a deliberate defect is, and the list of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

TOP = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("defects.yaml")


@dataclass(frozen=True)
class Edit:
    """`old` stands exactly once in `file` and becomes `new`."""

    file: str
    old: str
    new: str

    def done_to(self, text: str) -> str:
        """The file's text with the edit. Raises ValueError where its place is not there, or is there twice."""
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"{self.file}: the place of a defect stands there {found} times, not once:\n{self.old}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Defect:
    """One deliberate defect, and the tests of which at least one fails where it is."""

    name: str
    edits: tuple[Edit, ...]
    caught_by: tuple[str, ...]


def defects() -> list[Defect]:
    """The defects, in the order of the list."""
    listed = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    return [Defect(d["name"], tuple(Edit(**edit) for edit in d["edits"]), tuple(d["caught_by"])) for d in listed]
