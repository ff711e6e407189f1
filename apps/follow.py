"""Follows a sync while it runs, by what our own database says: streams read, batches judged, writes delivered.

On a terminal a bar for each stream and target; elsewhere a line whenever one of them is done. It works the same
whether the steps run here or in Prefect's threads, and a fault of its own never disturbs the sync.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from apps.screen import Clock, count, err

if TYPE_CHECKING:
    from datetime import datetime

    from staging.engine import Engine

LOOK_SECONDS = 0.7
EVERY_SECONDS = 10.0
"""Between two lines about the same thing that goes on, where there is no terminal."""


class Teller(Protocol):
    """Where progress is shown."""

    def __call__(self, key: str, text: str, done: int, *, is_over: bool) -> None: ...


@contextmanager
def following(engine: Engine, clock: Clock, *, silent: bool) -> Iterator[None]:
    """Shows what happens in the database while the block runs."""
    if silent:
        yield
        return
    over = threading.Event()
    with _teller(clock) as tell:
        watcher = threading.Thread(target=_watch, args=(engine, tell, over), name="follow", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join(timeout=10)


def _watch(engine: Engine, tell: Teller, over: threading.Event) -> None:
    from staging import reports
    from staging.engine import transaction

    try:
        with transaction(engine) as conn:
            since = reports.now(conn)
        seen: dict[str, tuple[int, bool]] = {}
        while not over.wait(LOOK_SECONDS):
            _look(engine, since, seen, tell)
        _look(engine, since, seen, tell)
    except Exception:
        return  # the sync itself says what is wrong with the database


def _look(engine: Engine, since: datetime, seen: dict[str, tuple[int, bool]], tell: Teller) -> None:
    """Tells what is new since the last look."""
    from staging import reports
    from staging.engine import transaction

    with transaction(engine) as conn:
        readings = reports.readings_since(conn, since)
        batches = reports.batches_since(conn, since)
        settled = reports.settled_since(conn, since)
    events = [
        *((f"read {r['id']}", _reading(r), r["received"], r["state"] != "running") for r in readings),
        *((f"batch {b['id']}", f"checked {b['entity']} of {_place(b)}{_out(b)}", b["passed"], True) for b in batches),
        *((f"{s['op']} {_place(s)}", f"writing to {_place(s)} ({s['op']})", s["count"], False) for s in settled),
    ]
    for key, text, done, is_over in events:
        if seen.get(key) != (done, is_over):
            seen[key] = (done, is_over)
            tell(key, text, done, is_over=is_over)


def _reading(row: Mapping[str, Any]) -> str:
    return f"{'reading' if row['state'] in ('running', 'complete') else 'not read to its end:'} {_place(row)}"


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['system']}/{row['stream']}"


def _out(batch: Mapping[str, Any]) -> str:
    return f", {batch['quarantined']} quarantined" if batch["quarantined"] else ""


@contextmanager
def _teller(clock: Clock) -> Iterator[Teller]:
    if not err().is_terminal:
        yield _lines(clock)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.completed:,}"))
    with Progress(*columns, TimeElapsedColumn(), console=err(), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def tell(key: str, text: str, done: int, *, is_over: bool) -> None:
            if key not in tasks:
                tasks[key] = bars.add_task(text, total=None)
            bars.update(tasks[key], description=text, completed=done, total=done if is_over else None)

        yield tell


def _lines(clock: Clock) -> Teller:
    """A line for what is over, and now and then one for what goes on."""
    told: dict[str, float] = {}

    def tell(key: str, text: str, done: int, *, is_over: bool) -> None:
        if is_over:
            clock.say(f"{text.replace('reading', 'read')}: {count(done, 'record')}")
        elif clock.seconds - told.get(key, -EVERY_SECONDS) >= EVERY_SECONDS:
            told[key] = clock.seconds
            clock.say(f"{text}: {count(done, 'record')} so far")

    return tell
