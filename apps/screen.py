"""What a person sees, and what a program reads: tables on stdout, talk on stderr, JSON with stable keys.

Values of records reach a terminal only through `clean`: they may hold anything, escape sequences too.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from canonical.shown import UNSEEN, shown

PIPE_WIDTH = 180
"""Columns where the output is no terminal: a table in a file or a mail is not cut at 80."""
_IN_JSON = re.compile(f"[{UNSEEN}]")


@cache
def out() -> Console:
    """Where results go."""
    return _console(stderr=False)


@cache
def err() -> Console:
    """Where talk, progress and refusals go."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, emoji=False, markup=False)


def is_interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def clean(value: object) -> str:
    """A value as one harmless piece of one line, what is unseen in it written out; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return when(value)
    return shown(str(value))


def _line(parts: Sequence[object]) -> str:
    """Parts as one line; line breaks before it are the caller's own."""
    first = str(parts[0]) if parts else ""
    return "\n" * (len(first) - len(first.lstrip("\n"))) + " ".join([clean(first.lstrip("\n")), *map(clean, parts[1:])])


def when(at: datetime | None) -> str:
    """A time as people read it, in their own zone."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if at else ""


def age(seconds: float | int | timedelta | None) -> str:
    """A duration in one or two words: 40 s, 12 min, 3 h, 2 days."""
    if seconds is None:
        return ""
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    total = max(0, int(seconds))
    for size, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if total >= 2 * size or (total >= size and name != "days"):
            return f"{total // size} {name}"
    return f"{total} s"


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 record`, `2 records`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def show(*parts: object, style: str | None = None) -> None:
    """Prints one line of result."""
    out().print(Text(_line(parts), style=style or ""), soft_wrap=True)


def heading(text: str) -> None:
    """A title over what follows."""
    out().print(Text(f"\n{clean(text)}", style="bold"), soft_wrap=True)


def say(*parts: object, style: str | None = None) -> None:
    """Says what is going on, beside the result; a line for each line of the parts."""
    err().print(Text("\n".join(map(clean, " ".join(map(str, parts)).split("\n"))), style=style or ""), soft_wrap=True)


def then(*lines: str) -> None:
    """What to type or do next."""
    for line in lines:
        out().print(Text.assemble(("→ ", "cyan"), clean(line)), soft_wrap=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """A table; columns whose name starts with `#` are numbers."""
    made = Table(
        title=None if title is None else clean(title),
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
        show_edge=False,
    )
    for name in columns:
        made.add_column(name.lstrip("#"), justify="right" if name.startswith("#") else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(f"{v:,}" if isinstance(v, int) and not isinstance(v, bool) else clean(v)) for v in row))
    out().print(made)


def emit(data: object) -> None:
    """One JSON document on stdout."""
    text = json.dumps(data, indent=2, ensure_ascii=False, default=plain)
    # only text inside of strings can hold these but for line breaks, which are the layout; \\u means the same to JSON
    sys.stdout.write(_IN_JSON.sub(_escape, text) + "\n")
    sys.stdout.flush()


def _escape(found: re.Match[str]) -> str:
    """An unseen character as JSON writes it."""
    return found[0] if found[0] == "\n" else json.dumps(found[0])[1:-1]


def plain(value: object) -> Any:
    """Values that JSON has no word for: ISO times in UTC, decimals as text, dataclasses as objects."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal | Path):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable):
        return list(value)
    return str(value)


class Clock:
    """Says what is going on with the time since the start."""

    def __init__(self, *, silent: bool = False) -> None:
        self.began = time.monotonic()
        self.silent = silent

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def say(self, text: str) -> None:
        if not self.silent:
            err().print(Text.assemble((f"{self.seconds:5.0f} s  ", "dim"), clean(text)), soft_wrap=True)


Tell = Callable[[int, int | None], None]


@contextmanager
def reading(*, silent: bool = False) -> Iterator[Callable[[str, str], Tell]]:
    """Progress of reading streams: gives, for a (system, stream), what is told how many records were read of how many.

    A bar for each stream on a terminal; elsewhere one line when a stream has been read for a while."""
    if silent or not err().is_terminal:
        yield lambda system, stream: _quiet
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err(), transient=True) as bars:
        tasks: dict[tuple[str, str], Any] = {}

        def start(system: str, stream: str) -> Tell:
            key = (system, stream)
            if key not in tasks:
                tasks[key] = bars.add_task(f"reading {system}/{stream}", total=None)
            return lambda done, total: bars.update(tasks[key], completed=done, total=total)

        yield start


def _quiet(done: int, total: int | None) -> None:
    """Nobody watches."""
