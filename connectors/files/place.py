"""Which files a stream means, whether they are whole, and their bytes read once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from connectors.protocol import Misdeclared, SystemFault, Transient, Unreachable

SETTLED_SECONDS = 2.0
"""A file whose last change is younger than this may still be written: spreadsheet programs save in under a second."""
PATIENCE_SECONDS = 30.0
MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_FILES = 1_000
_STEP_SECONDS = 0.25
_KINDS = (".csv", ".txt", ".tsv", ".xlsx")
_MACROS = (".xlsm", ".xlsb", ".xltm", ".xlam")


@dataclass(frozen=True, slots=True)
class Found:
    """One whole file."""

    name: str
    """Its path below the system's folder, whole: by it the cursor tells files apart. People see it by `shown_name`."""
    data: bytes
    mark: tuple[int, int, str]
    """(bytes, modification time in ns, xxh3 of the content)."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The time and how to let it pass."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


def paths_of(root: Path, options: Mapping[str, Any], where: str) -> list[Path]:
    """The stream's files in name order. Raises Unreachable for none, Misdeclared for a way out of the root."""
    if not root.exists():
        raise Unreachable("the folder or file does not exist", where=where)
    if root.is_file():
        if "path" in options or "glob" in options:
            raise Misdeclared(
                "expected `path` or `glob` only below a folder; the system's `path` is a file", where=where
            )
        return [_checked(root, root.parent, where)]
    if "path" in options:
        return [_checked(root / str(options["path"]), root, where)]
    if "glob" not in options:
        raise Misdeclared("expected the option `path` or `glob`: the system's `path` is a folder", where=where)
    pattern = str(options["glob"])
    if pattern.startswith("/") or ".." in Path(pattern).parts:
        raise Misdeclared("glob: expected a pattern below the system's folder", where=where)
    matches = sorted(p for p in root.glob(pattern) if p.is_file() and not p.name.startswith(("~$", ".")))
    if not matches:
        raise Unreachable("no file matches the pattern", where=where)
    if len(matches) > MAX_FILES:
        raise Misdeclared(f"glob: expected at most {MAX_FILES} files, found {len(matches)}", where=where)
    return [_checked(p, root, where) for p in matches]


def _checked(path: Path, root: Path, where: str) -> Path:
    resolved = path.resolve()
    if not resolved.is_relative_to(root.resolve()):
        raise Misdeclared("path: expected a file below the system's folder", where=where)
    if not resolved.is_file():
        raise Unreachable(f"there is no file {shown_name(path.name)}", where=where)
    suffix = resolved.suffix.lower()
    if suffix in _MACROS:
        raise Misdeclared(f"{suffix} may carry macros: save the workbook as .xlsx", where=where)
    if suffix not in _KINDS:
        raise Misdeclared(f"expected one of {', '.join(_KINDS)}, found {suffix or 'no ending'}", where=where)
    return resolved


def shown_name(name: str) -> str:
    """A file name that is safe in a message: no line breaks, not endless."""
    safe = "".join(c if c.isprintable() else "·" for c in name)
    return safe if len(safe) <= 80 else safe[:77] + "…"


def stat_mark(path: Path) -> tuple[int, int]:
    """Size and modification time: what tells that a file may have changed."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def read_whole(path: Path, root: Path, where: str, clock: Clock) -> Found:
    """The file once it is quiet. Raises Transient while somebody writes it, SystemFault when empty or too large."""
    name = str(path.relative_to(root)) if path.is_relative_to(root) else path.name
    name = name.encode("utf-8", "backslashreplace").decode()  # a name need not be UTF-8, a cursor must
    where = f"{where} ({shown_name(name)})"
    try:
        before = _settled(path, where, clock)
        if before[0] == 0:
            raise SystemFault("the file is empty (0 bytes); a list without rows still has its header", where=where)
        if before[0] > MAX_FILE_BYTES:
            raise SystemFault(f"the file has more than {MAX_FILE_BYTES >> 20} MiB", where=where)
        data = path.read_bytes()
        if stat_mark(path) != before or len(data) != before[0]:
            raise Transient("the file changed while it was read", where=where)
    except PermissionError:
        raise Unreachable("the file may not be read", where=where) from None
    except FileNotFoundError:
        raise Transient("the file was moved away while it was read", where=where) from None
    return Found(name, data, (*before, xxhash.xxh3_64_hexdigest(data)))


def _settled(path: Path, where: str, clock: Clock) -> tuple[int, int]:
    """Wait until size and time stood still; a clock that runs ahead of ours counts as a recent change."""
    began = clock.now()
    mark = stat_mark(path)
    if clock.now() - mark[1] / 1e9 >= SETTLED_SECONDS:
        return mark
    quiet_since = began
    while clock.now() - quiet_since < SETTLED_SECONDS:
        if clock.now() - began > PATIENCE_SECONDS:
            raise Transient("the file is still being written", where=where, wait_seconds=PATIENCE_SECONDS)
        clock.sleep(_STEP_SECONDS)
        current = stat_mark(path)
        if current != mark:
            mark, quiet_since = current, clock.now()
    return mark
