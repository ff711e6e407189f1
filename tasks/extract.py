"""Extract: read one stream of a system and land it, each page with its cursor in one transaction (DESIGN 5.1, 9.9)."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from canonical import brake, keys, twins
from canonical.landscape import Stream
from connectors.protocol import ConnectorError, Page, RefusedRecord, Source
from staging import landing, locks, queues
from staging.crash import crash_point
from tasks.world import World

GROUP_RECORDS = 25_000
"""Pages are landed in groups of about this many records: one transaction and one comparison for each group."""
GROUP_BYTES = 16 * 1024 * 1024
"""... or of this many bytes, so that long records take no more memory than short ones."""
GROUP_SECONDS = 2.0
MOST_KEPT = 11_000_000
"""Characters kept of a record that could not be read: more than the largest record that connectors let through."""
AHEAD = 4
"""Pages read ahead of landing, so that the network and the database work at the same time."""

SWEEP_DAYS = 7
"""How old a stream's last complete sweep may be: what change marks miss, and what vanished, is found by the next
(RELIABILITY row 33)."""

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
    """Reads a stream (`full`: a complete sweep; `incremental`: since its cursor, unless a sweep is due) and lands what
    differs.

    Another process reading the same stream is waited for. Raises ConnectorError; what was landed stays."""
    source = world.source(system)
    declared = world.landscape.systems[system].streams[stream]
    with locks.lane(world.engine, f"extract:{system}/{stream}"):
        with world.transaction() as conn:
            landing.abandon_running(conn, system, stream)
            cursor = landing.cursor_of(conn, system, stream)
            is_due = landing.sweep_is_due(conn, system, stream, SWEEP_DAYS)
            since = cursor if mode == "incremental" and declared.changed and not is_due else None
            actual = "sample" if sample else "incremental" if since is not None else "full"
            run = landing.begin(conn, sync_id=sync_id, system=system, stream=stream, mode=actual, cursor=cursor)
            before = landing.live_count(conn, system, stream)
        try:
            reading = _Reading(world, system, declared, run, before, is_sweep=actual == "full", sample=sample)
            counts, is_complete = reading.land_all(source.read(stream, since), progress)
            held = None
            if reading.seen and is_complete:
                counts, held = _tombstones(world, source, system, stream, run, counts, before, reading.seen)
            with world.transaction() as conn:
                landing.finish(conn, run, is_complete=is_complete)
        except Exception as error:
            with world.transaction() as conn:
                landing.fail(conn, run, f"{type(error).__name__}: {error}")
            raise
    return Extracted(system, stream, run, actual, counts, is_complete, held)


class Seen:
    """Which ids a sweep has met, eight bytes each. Two ids of one hash make a missing record look as if it was met:
    it is found by the next sweep; none is ever taken for gone that was met."""

    def __init__(self) -> None:
        self._hashes: list[pl.Series] = []
        self._is_plain = True

    def add(self, landed: Sequence[str], beside: Sequence[str], *, is_plain: bool) -> None:
        """Ids that were landed, and ids that were met without: what could not be read is not gone (RELIABILITY P13).
        `is_plain`: every one of `landed` is a live record now."""
        self._hashes.append(pl.Series([*landed, *beside], dtype=pl.String).hash())
        self._is_plain = self._is_plain and is_plain and not beside

    def is_all(self, live: int) -> bool:
        """Whether the `live` records of the stream were all met, as far as their number tells it."""
        return self._is_plain and pl.concat([pl.Series(dtype=pl.UInt64), *self._hashes]).n_unique() == live

    def absent_from(self, ids: pl.Series) -> list[str]:
        """Those of the ids that were not met, sorted. They are candidates, not tombstones."""
        met = pl.concat([pl.Series(dtype=pl.UInt64), *self._hashes])
        return ids.filter(~ids.hash().is_in(met.implode())).sort().to_list()


class _Reading:
    """Lands the pages of one reading."""

    def __init__(
        self, world: World, system: str, stream: Stream, run: int, before: int, *, is_sweep: bool, sample: int | None
    ) -> None:
        self.world, self.system, self.stream, self.run = world, system, stream, run
        self.before, self.is_sweep, self.sample = before, is_sweep, sample
        self.counts = landing.Counts()
        self.unread: set[str] = set()
        self.seen = Seen() if is_sweep else None

    def land_all(self, pages: Iterator[Page], progress: Progress | None) -> tuple[landing.Counts, bool]:
        group: list[Page] = []
        size, weight, since, is_complete = 0, 0, time.monotonic(), False
        with self.world.transaction() as conn:
            self.unread = queues.unreadable_ids(conn, self.system, self.stream.name)
        for page in _ahead(pages):
            group.append(page)
            size += len(page.ids)
            weight += sum(map(len, page.payloads))
            is_complete = page.is_last
            is_full = size >= GROUP_RECORDS or weight >= GROUP_BYTES
            if is_full or page.is_last or time.monotonic() - since > GROUP_SECONDS:
                self._land(group, is_complete)
                group, size, weight, since = [], 0, 0, time.monotonic()
                if progress:
                    progress(self.counts.received, page.total)
            if self.sample and self.counts.received + size >= self.sample:
                break
        if group:
            self._land(group, is_complete)
        return self.counts, is_complete

    def _land(self, group: list[Page], is_complete: bool) -> None:
        exact = self.stream.ids == "case_sensitive"
        page = _joined([_told_apart(p, case_sensitive=exact) for p in group])
        readable, refused = _readable(page)
        with self.world.transaction() as conn:
            landed = landing.land_page(
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
                pages=len(group),
                case_sensitive=exact,
                held=self.before + self.counts.new,
            )
            if self.seen is not None:
                beside = [*landed.spelled, *(r.id for r in refused if r.id is not None)]
                self.seen.add(readable.ids, beside, is_plain=not (landed.alike or any(readable.deleted)))
            refused += [_refusal(readable, row, twins.ONLY_CASE) for row in landed.alike]
            if again := self.unread.intersection(readable.ids).difference(r.id for r in refused):
                because = f"read in extract run {self.run}"
                queues.close_unreadable(conn, self.system, self.stream.name, sorted(again), because)
            if refused:
                owner = self.world.owner_of_system(self.system)
                entries = _unreadable(self.system, self.stream.name, self.run, refused)
                queues.quarantine(conn, entries, owner=owner, declared=None)
            # an unsorted sweep moves the cursor only when it is complete (RELIABILITY P4)
            if not self.sample and (is_complete or not self.is_sweep):
                landing.store_cursor(conn, self.run, self.system, self.stream.name, page.cursor)
            crash_point("extract.landing")
        crash_point("extract.landed")
        self.counts += landed.counts


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


def _told_apart(page: Page, *, case_sensitive: bool) -> Page:
    """The page with those records refused of which nobody can tell which version, or which record, they are."""
    reasons: dict[int, str] = {}
    if not case_sensitive:
        reasons |= dict.fromkeys(twins.alike_but_for_case(page.ids), twins.ONLY_CASE)
    if len(set(page.ids)) < len(page.ids):
        unclear = twins.contested(page.ids, keys.raw_hashes(page.payloads), page.changed)
        reasons |= dict.fromkeys(unclear, twins.TWO_VERSIONS)
    return _without(page, reasons) if reasons else page


def _readable(page: Page) -> tuple[Page, list[RefusedRecord]]:
    """The page without the records that are not UTF-8 text, and everything that was refused with its reason."""
    try:
        b"".join(page.payloads).decode()
    except UnicodeDecodeError:
        page = _without(page, _not_text(page.payloads))
    return page, list(page.refused)


def _not_text(payloads: Sequence[bytes]) -> dict[int, str]:
    """The positions of payloads that are not UTF-8, each with its reason."""
    found: dict[int, str] = {}
    for row, payload in enumerate(payloads):
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            found[row] = f"not UTF-8 text: byte {error.start} is 0x{payload[error.start]:02x}"
    return found


def _without(page: Page, reasons: Mapping[int, str]) -> Page:
    """The page with the records at some positions refused, each for its reason."""
    keep = [row for row in range(len(page.ids)) if row not in reasons]
    return replace(
        page,
        ids=[page.ids[row] for row in keep],
        payloads=[page.payloads[row] for row in keep],
        changed=[page.changed[row] for row in keep],
        deleted=[page.deleted[row] for row in keep],
        parents=[page.parents[row] for row in keep] if page.parents is not None else None,
        refused=[*page.refused, *(_refusal(page, row, reason) for row, reason in reasons.items())],
    )


def _refusal(page: Page, row: int, reason: str) -> RefusedRecord:
    return RefusedRecord(page.payloads[row], reason, page.ids[row])


def _unreadable(system: str, stream: str, run: int, refused: Sequence[RefusedRecord]) -> pl.DataFrame:
    """Quarantine entries of records that could not be landed, one for each id (of records without one: for each
    content); their bytes are kept as far as text can hold them, those of several versions one a line."""
    ids = [r.id if r.id is not None else f"#{keys.raw_hashes([r.raw])[0]}" for r in refused]
    told = pl.DataFrame(
        {"source_id": ids, "reason": [r.reason for r in refused], "raw": [_as_text(r.raw) for r in refused]},
        schema=dict.fromkeys(("source_id", "reason", "raw"), pl.String),
    )
    told = told.group_by("source_id", maintain_order=True).agg(
        pl.col("reason").unique(maintain_order=True).str.join("; "),
        pl.col("raw").unique(maintain_order=True).str.join("\n"),
    )
    return told.select(
        pl.lit(system).alias("system"),
        pl.lit(stream).alias("stream"),
        "source_id",
        pl.lit("unreadable").alias("scope"),
        pl.lit("readable").alias("rule"),
        "reason",
        "raw",
        pl.lit(run, pl.Int64).alias("extract_run_id"),
    )


def _as_text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")[:MOST_KEPT]


def _tombstones(
    world: World,
    source: Source,
    system: str,
    stream: str,
    run: int,
    counts: landing.Counts,
    before: int,
    seen: Seen,
) -> tuple[landing.Counts, str | None]:
    """Records that a complete sweep did not show are gone only if the source says so for each (RELIABILITY P13)."""
    with world.transaction() as conn:
        if seen.is_all(landing.live_count(conn, system, stream)):
            return counts, None
        missing = seen.absent_from(landing.live_ids(conn, system, stream))
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
            pages=0,
            case_sensitive=True,
        )
    return counts + more.counts, None


__all__ = ["ConnectorError", "Extracted", "extract"]
