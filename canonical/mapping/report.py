"""Which source fields are mapped, ignored by name, or not spoken of: nothing is lost in silence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from canonical.landscape import Stream, System
from canonical.mapping.sheet import SheetRow


@dataclass(frozen=True, slots=True)
class FieldReport:
    """The fields of one stream."""

    mapped: dict[str, tuple[str, ...]]
    """Source path → the target fields it is read for."""
    ignored: tuple[str, ...]
    """Seen, and ignored by name (or by a pattern that ends in `*`)."""
    unmapped: tuple[str, ...]
    """Seen, and named by no row."""
    unseen: tuple[str, ...]
    """Mapped, and never seen in a record: perhaps misspelt."""


def mapping_report(rows: Sequence[SheetRow], system: System, stream: Stream, seen_paths: Iterable[str]) -> FieldReport:
    """Account for every path seen in a stream's records. Paths inside lists are written `LIST[].FIELD`."""
    own = [row for row in rows if row.source_system == system.name]
    mapped: dict[str, list[str]] = {}
    ignored: list[str] = []
    for row in own:
        for source, path in zip(row.sources, row.paths, strict=True):
            if source.partition(".")[0] != stream.name:
                continue
            if row.direction == "ignored":
                ignored.append(path)
            elif row.direction == "inbound":
                mapped.setdefault(path, []).append(row.target_field)
    # The key, the change mark and the parent's id are read by the engine itself.
    for name in (*stream.key, *([stream.changed] if stream.changed else []), *_parent_key(stream)):
        mapped.setdefault(name, []).append("(read by the engine)")
    seen = tuple(dict.fromkeys(seen_paths))
    is_mapped = {path: any(_covers(known, path) for known in mapped) for path in seen}
    is_ignored = {path: any(_matches(pattern, path) for pattern in ignored) for path in seen}
    return FieldReport(
        mapped={path: tuple(targets) for path, targets in mapped.items()},
        ignored=tuple(p for p in seen if not is_mapped[p] and is_ignored[p]),
        unmapped=tuple(p for p in seen if not is_mapped[p] and not is_ignored[p]),
        unseen=tuple(known for known in mapped if not any(_covers(known, path) for path in seen)),
    )


def _parent_key(stream: Stream) -> tuple[str, ...]:
    return (stream.child_of.by,) if stream.child_of else ()


def _covers(mapped: str, seen: str) -> bool:
    """Whether reading a mapped path reads the seen one: itself, a part of it, or another element of its list."""
    mapped, seen = _flat(mapped), _flat(seen)
    return seen == mapped or seen.startswith((f"{mapped}.", f"{mapped}[]"))


def _flat(path: str) -> str:
    """All list elements written alike: `Phones[PhoneType=DEFAULT].Number` → `Phones[].Number`."""
    flat, depth = [], 0
    for character in path:
        if character == "]":
            depth -= 1
        if not depth:
            flat.append(character)
        if character == "[":
            depth += 1
    return "".join(flat)


def _matches(pattern: str, path: str) -> bool:
    if pattern.endswith(".*") and path == pattern[:-2]:
        return True
    literal = _flat(pattern).replace("[", "[[]")
    return fnmatchcase(_flat(path), literal) or _covers(pattern, path)
