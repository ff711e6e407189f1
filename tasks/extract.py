"""Extract: read one stream of a system and land it, each page with its cursor in one transaction (DESIGN 5.1, 9.9)."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import polars as pl

from canonical import brake, keys
from canonical.landscape import Stream
from connectors.protocol import ConnectorError, Page, Source
from staging import landing, locks, queues
from tasks.world import World

GROUP_RECORDS = 5_000
"""Pages are landed in groups of about this many records: one transaction and one comparison for each group."""
GROUP_SECONDS = 2.0
AHEAD = 4
"""Pages read ahead of landing, so that the network and the database work at the same time."""

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Extracted:
    """What one reading of a stream gave."""

    system: str
    stream: str
    run: int
    mode: str
    counts: landing.Counts
    is_complete: bool
    held: str | None = None
    """Why the absence of records was not believed; None: nothing to doubt."""


def extract(
    world: World,
    system: str,
    stream: str,
    *,
    mode: str,
    sync_id: int | None,
    sample: int | None = None,
    progress: Progress | None = None,
) -> Extracted:
    """Reads a stream (`full`: a complete sweep; `incremental`: since its cursor) and lands what differs.

    Another process reading the same stream is waited for. Raises ConnectorError; what was landed stays."""
    source = world.source(system)
    declared = world.landscape.systems[system].streams[stream]
    with locks.lane(world.engine, f"extract:{system}/{stream}"):
        with world.transaction() as conn:
            landing.abandon_running(conn, system, stream)
            cursor = landing.cursor_of(conn, system, stream)
            since = cursor if mode == "incremental" and declared.changed else None
            actual = "sample" if sample else "incremental" if since is not None else "full"
            run = landing.begin(conn, sync_id=sync_id, system=system, stream=stream, mode=actual, cursor=cursor)
            before = landing.live_count(conn, system, stream)
        try:
            reading = _Reading(world, system, declared, run, is_sweep=actual == "full", sample=sample)
            counts, is_complete = reading.land_all(source.read(stream, since), progress)
            held = None
            if actual == "full" and is_complete:
                counts, held = _tombstones(world, source, system, stream, run, counts, before)
            with world.transaction() as conn:
                landing.finish(conn, run, is_complete=is_complete)
        except Exception as error:
            with world.transaction() as conn:
                landing.fail(conn, run, f"{type(error).__name__}: {error}")
            raise
    return Extracted(system, stream, run, actual, counts, is_complete, held)


class _Reading:
    """Lands the pages of one reading."""

    def __init__(
        self, world: World, system: str, stream: Stream, run: int, *, is_sweep: bool, sample: int | None
    ) -> None:
        self.world, self.system, self.stream, self.run = world, system, stream, run
        self.is_sweep, self.sample = is_sweep, sample
        self.counts = landing.Counts()

    def land_all(self, pages: Iterator[Page], progress: Progress | None) -> tuple[landing.Counts, bool]:
        group: list[Page] = []
        size, since, is_complete = 0, time.monotonic(), False
        for page in _ahead(pages):
            group.append(page)
            size += len(page.ids)
            is_complete = page.is_last
            if size >= GROUP_RECORDS or page.is_last or time.monotonic() - since > GROUP_SECONDS:
                self._land(group, is_complete)
                group, size, since = [], 0, time.monotonic()
                if progress:
                    progress(self.counts.received, page.total)
            if self.sample and self.counts.received + size >= self.sample:
                break
        if group:
            self._land(group, is_complete)
        return self.counts, is_complete

    def _land(self, group: list[Page], is_complete: bool) -> None:
        page = _joined(group)
        readable, refused = _readable(page)
        with self.world.transaction() as conn:
            counts = landing.land_page(
                conn,
                self.run,
                system=self.system,
                stream=self.stream.name,
                ids=readable.ids,
                payloads=readable.payloads,
                hashes=keys.raw_hashes(readable.payloads),
                changed=readable.changed,
                deleted=readable.deleted,
                parents=readable.parents,
                refused=len(refused),
                is_sweep=self.is_sweep,
                pages=len(group),
            )
            if refused:
                owner = self.world.owner_of_system(self.system)
                entries = _unreadable(self.system, self.stream.name, self.run, refused)
                queues.quarantine(conn, entries, owner=owner, declared=None)
            # an unsorted sweep moves the cursor only when it is complete (RELIABILITY P4)
            if not self.sample and (is_complete or not self.is_sweep):
                landing.store_cursor(conn, self.run, self.system, self.stream.name, page.cursor)
        self.counts += counts


def _ahead(pages: Iterator[Page]) -> Iterator[Page]:
    """The same pages, read ahead by a thread of their own."""
    ready: queue.Queue[Page | BaseException | None] = queue.Queue(AHEAD)
    stop = threading.Event()

    def read() -> None:
        try:
            for page in pages:
                while not stop.is_set():
                    try:
                        ready.put(page, timeout=0.5)
                        break
                    except queue.Full:
                        continue
                if stop.is_set():
                    return
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    thread = threading.Thread(target=read, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        while not ready.empty():
            ready.get_nowait()
        thread.join(timeout=30)


def _joined(group: list[Page]) -> Page:
    if len(group) == 1:
        return group[0]
    last = group[-1]
    return Page(
        ids=[i for p in group for i in p.ids],
        payloads=[b for p in group for b in p.payloads],
        changed=[c for p in group for c in p.changed],
        deleted=[d for p in group for d in p.deleted],
        parents=[x for p in group for x in p.parents or []] if last.parents is not None else None,
        refused=[r for p in group for r in p.refused],
        cursor=last.cursor,
        is_last=last.is_last,
    )


def _readable(page: Page) -> tuple[Page, list[tuple[str | None, bytes, str]]]:
    """The page without the records that are not UTF-8 text, and everything that was refused with its reason."""
    refused = [(r.id, r.raw, r.reason) for r in page.refused]
    try:
        b"".join(page.payloads).decode()
        return page, refused
    except UnicodeDecodeError:
        pass
    keep: list[int] = []
    for n, payload in enumerate(page.payloads):
        try:
            payload.decode()
            keep.append(n)
        except UnicodeDecodeError as error:
            refused.append(
                (page.ids[n], payload, f"not UTF-8 text: byte {error.start} is 0x{payload[error.start]:02x}")
            )
    kept = replace(
        page,
        ids=[page.ids[n] for n in keep],
        payloads=[page.payloads[n] for n in keep],
        changed=[page.changed[n] for n in keep],
        deleted=[page.deleted[n] for n in keep],
        parents=[page.parents[n] for n in keep] if page.parents is not None else None,
    )
    return kept, refused


def _unreadable(system: str, stream: str, run: int, refused: list[tuple[str | None, bytes, str]]) -> pl.DataFrame:
    """Quarantine entries of records that could not be landed; their bytes are kept as far as text can hold them."""
    return pl.DataFrame(
        {
            "system": [system] * len(refused),
            "stream": [stream] * len(refused),
            "source_id": [i if i is not None else f"#{keys.raw_hashes([raw])[0]}" for i, raw, _ in refused],
            "scope": ["unreadable"] * len(refused),
            "rule": ["readable"] * len(refused),
            "reason": [reason for _, _, reason in refused],
            "raw": [
                raw.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")[:1_000_000] for _, raw, _ in refused
            ],
            "extract_run_id": [run] * len(refused),
        },
        schema_overrides={"source_id": pl.String, "extract_run_id": pl.Int64},
    )


def _tombstones(
    world: World, source: Source, system: str, stream: str, run: int, counts: landing.Counts, before: int
) -> tuple[landing.Counts, str | None]:
    """Records that a complete sweep did not show are gone only if the source says so for each (RELIABILITY P13)."""
    with world.transaction() as conn:
        missing = landing.absent(conn, run, system, stream)
    if not missing:
        return counts, None
    verdict = brake.judge_drop(stream, system, stream, before, before - len(missing), world.brake_of(system, stream))
    if verdict.action == "hold" and len(missing) > 5:
        return counts, verdict.because
    still_there: set[str] = set()
    for start in range(0, len(missing), 100):
        found = source.get(stream, missing[start : start + 100])
        still_there.update(r.id for r in found if not r.deleted)
    gone = [i for i in missing if i not in still_there]
    if not gone:
        return counts, None
    with world.transaction() as conn:
        more = landing.land_page(
            conn,
            run,
            system=system,
            stream=stream,
            ids=gone,
            payloads=[b"{}"] * len(gone),
            hashes=keys.raw_hashes([b"{}"] * len(gone)),
            changed=[None] * len(gone),
            deleted=[True] * len(gone),
            parents=None,
            refused=0,
            is_sweep=False,
            pages=0,
        )
    return counts + more, None


__all__ = ["ConnectorError", "Extracted", "extract"]
