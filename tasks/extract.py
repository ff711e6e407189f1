"""Extract: read one stream of a system and land it, each page with its cursor in one transaction (DESIGN 5.1, 9.9)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from canonical import fingerprint, keys, rates, twins
from canonical.checks import FLOOD
from canonical.landscape import Stream
from connectors.paging import FutureCursor, Mark, WalkExpired, beyond
from connectors.protocol import ConnectorError, Cursor, Page, RateLimited, RefusedRecord, Source, SystemFault
from staging import doubts, heads, landing, locks, queues, sweeps
from staging.crash import crash_point
from staging.engine import Connection
from staging.heads import Heads
from staging.rates import Rates
from tasks import stopping, sweep
from tasks.pages import ahead, joined, not_text, only, refusal, told_apart, unreadable, without
from tasks.shape import Looks, SchemaDrift
from tasks.sweep import Seen, Swept
from tasks.world import World

GROUP_RECORDS = 25_000
"""Pages are landed in groups of about this many records: one transaction and one comparison for each group."""
GROUP_BYTES = 16 * 1024 * 1024
"""... or of this many bytes, so that long records take no more memory than short ones."""
GROUP_SECONDS = 2.0
MANY = 1_000
"""Records of a group from which on it pays to hold in memory what is landed of the stream."""

LANE_SECONDS = 30.0
"""How long a sync waits for another one that reads the same stream, before it goes on with what is landed."""
STARTS = 3
"""How often a walk begins in one reading, when the system loses the way from page to page."""
SWEEP_DAYS = 7
"""How old a stream's last complete sweep may be: what change marks miss, and what vanished, is found by the next
(RELIABILITY row 33)."""

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Extracted:
    """What one reading of a stream gave."""

    system: str
    stream: str
    run: int | None
    """None: it was not read, and `rested` says why."""
    mode: str
    counts: landing.Counts
    is_complete: bool
    held: str | None = None
    """Why the absence of records was not believed; None: nothing to doubt."""
    clock: str | None = None
    """Why the stored cursor was not asked with; None: it was."""
    rested: str | None = None
    """Why reading is left for the next time; None: it is not."""


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

    Another process reading the same stream is waited for. In an incremental sync a stream rests where its system has
    asked for a pause and it was read lately, and where somebody else still reads it after half a minute and it was read
    to its end before. Raises ConnectorError; what was landed stays."""
    declared = world.landscape.systems[system].streams[stream]
    may_rest = sync_id is not None and mode == "incremental" and not sample
    if may_rest and (resting := _resting(world, system, stream)):
        return resting
    source = world.source(system)
    with locks.lane(world.engine, f"extract:{system}/{stream}", wait=_patience(world, system, stream, may_rest)) as own:
        if own is None:
            because = "somebody else is reading it, and what that lands is with the next sync"
            return _left(system, stream, because)
        looks = Looks(world, system, declared)
        with world.transaction() as conn:
            landing.abandon_running(conn, system, stream)
            looks.open(conn)
            cursor = landing.cursor_of(conn, system, stream)
            is_due = sweeps.sweep_is_due(conn, system, stream, SWEEP_DAYS)
            since = cursor if mode == "incremental" and declared.changed and not is_due else None
            actual = "sample" if sample else "incremental" if since is not None else "full"
            run = landing.begin(conn, sync_id=sync_id, system=system, stream=stream, mode=actual, cursor=cursor)
            before = sweeps.live_count(conn, system, stream)
        reading = _Reading(world, system, declared, run, before, looks, is_sweep=actual == "full", sample=sample)
        try:
            reading.walk(source, since, progress)
            swept = Swept(landing.Counts())
            if reading.seen and reading.is_complete:
                swept = sweep.conclude(world, source, system, stream, run, before, reading.seen)
            with world.transaction() as conn:
                reading.looks.finished(conn)
                landing.finish(conn, run, is_complete=reading.is_complete and swept.held is None)
                if swept.held:  # a sweep that is not believed has not been: the next reading is one again
                    sweeps.sweep_again(conn, system, stream)
        except Exception as error:
            with world.transaction() as conn:
                if isinstance(error, SchemaDrift):
                    reading.looks.stopped(conn, error)
                landing.fail(conn, run, f"{type(error).__name__}: {error}")
            if may_rest and isinstance(error, RateLimited) and (resting := _resting(world, system, stream)):
                return resting
            raise
    counts, mode = reading.counts + swept.gone, "full" if reading.is_sweep else actual
    return Extracted(system, stream, run, mode, counts, reading.is_complete, swept.held, reading.clock)


def _resting(world: World, system: str, stream: str) -> Extracted | None:
    """What is given in place of a reading while the system wants to be left alone; None: it is to be read."""
    left = Rates(world.engine).pause_left(system)
    if left <= 0:
        return None
    with world.transaction() as conn:
        ago = sweeps.read_seconds_ago(conn, system, stream)
    if not rates.may_rest(left, ago):
        return None
    because = f"it asked everybody to wait, {left:.0f} s more; it was read {ago:.0f} s ago, and is with the next sync"
    return _left(system, stream, because)


def _patience(world: World, system: str, stream: str, may_rest: bool) -> bool | float:
    """How long another sync's reading of the same stream is waited for: a sweep takes hours at a slow system. A stream
    that never was read to its end is waited for to its end."""
    if not may_rest:
        return True
    with world.transaction() as conn:
        return True if sweeps.read_seconds_ago(conn, system, stream) is None else LANE_SECONDS


def _left(system: str, stream: str, because: str) -> Extracted:
    """A stream whose reading is left for the next time."""
    return Extracted(system, stream, None, "incremental", landing.Counts(), is_complete=False, rested=because)


class _Reading:
    """Lands the pages of one reading."""

    def __init__(
        self,
        world: World,
        system: str,
        stream: Stream,
        run: int,
        before: int,
        looks: Looks,
        *,
        is_sweep: bool,
        sample: int | None,
    ) -> None:
        self.world, self.system, self.stream, self.run = world, system, stream, run
        self.before, self.looks, self.is_sweep, self.sample = before, looks, is_sweep, sample
        self.counts = landing.Counts()
        self.is_complete = False
        self.clock: str | None = None
        self.unread: set[str] = set()
        self.from_the_future: set[str] = set()
        self.seen = Seen() if is_sweep else None
        self.heads: Heads | None = None

    def walk(self, source: Source, since: Cursor | None, progress: Progress | None) -> None:
        """Lands every page; starts again where the system lost the way, and from nothing where the cursor is none."""
        for further in range(STARTS, 0, -1):
            try:
                self._land_all(source.read(self.stream.name, since), progress)
                return
            except FutureCursor as none:
                if since is None:
                    raise
                self.clock, since, self.is_sweep, self.seen = str(none), None, True, Seen()
                with self.world.transaction() as conn:
                    sweeps.become_sweep(conn, self.run)
            except WalkExpired:
                if further == 1:
                    raise

    def _land_all(self, pages: Iterator[Page], progress: Progress | None) -> None:
        group: list[Page] = []
        size, weight, since = 0, 0, time.monotonic()
        self.heads = None  # a walk that begins again finds what the one before it has landed
        with self.world.transaction() as conn:
            self.unread = queues.unreadable_ids(conn, self.system, self.stream.name)
            self.from_the_future = doubts.open_ids(conn, "future_mark", self.system, self.stream.name)
        for page in ahead(pages):
            group.append(page)
            size += len(page.ids)
            weight += sum(map(len, page.payloads))
            self.is_complete = page.is_last
            is_full = size >= GROUP_RECORDS or weight >= GROUP_BYTES
            if is_full or page.is_last or time.monotonic() - since > GROUP_SECONDS:
                self._land(group, weight)
                group, size, weight, since = [], 0, 0, time.monotonic()
                if progress:
                    progress(self.counts.received, page.total)
            if stopping.is_asked() or (self.sample and self.counts.received + size >= self.sample):
                break
        if group:
            self._land(group, weight)

    def _land(self, group: list[Page], weight: int) -> None:
        """Lands a group of pages with payloads of so many bytes."""
        exact = self.stream.ids == "case_sensitive"
        page = joined([told_apart(p, case_sensitive=exact) for p in group])
        hashes = keys.raw_hashes(page.payloads)
        self._look_ahead(len(page.ids), group[-1].total)
        differs = self._differing(page, hashes)
        if reasons := not_text(page.payloads, differs):
            page = without(page, reasons)
            hashes = keys.raw_hashes(page.payloads)
            differs = self._differing(page, hashes)
        rest = page if len(differs) == len(page.ids) else only(page, differs)
        if len(page.ids) < sum(len(p.ids) for p in group):
            weight = sum(map(len, page.payloads))
        same = len(page.ids) - len(rest.ids)
        besides = landing.Counts(received=same, unchanged=same, bytes=weight - sum(map(len, rest.payloads)))
        of_rest = [hashes[row] for row in differs]
        landed, self.looks = self.world.unit(
            "land pages", lambda conn: self._store(conn, page, rest, of_rest, len(group), besides)
        )
        if self.heads is not None:
            self.heads.leave(rest.ids)
        if self.seen is not None:
            aside = [rest.ids[row] for row in landed.aside]
            beside = [*landed.spelled, *aside, *(r.id for r in page.refused if r.id is not None)]
            self.seen.add(page.ids, beside, is_plain=not (landed.alike or any(page.deleted)))
        crash_point("extract.landed")
        self.counts += landed.counts

    def _look_ahead(self, count: int, total: int | None) -> None:
        """Takes what is landed into memory, where so much is read that it would be looked up group by group. `total`:
        how many records the system says that it will show; where it says nothing, what came until now tells."""
        coming = max(self.counts.received + count, total or 0)
        is_most = self.is_sweep or self.before <= landing.WHOLE_STREAM * coming
        if self.heads is None and count >= MANY and 0 < self.before <= heads.MOST and is_most:
            with self.world.transaction() as conn:
                self.heads = heads.read(conn, self.system, self.stream.name)

    def _differing(self, page: Page, hashes: Sequence[int]) -> Sequence[int]:
        """The positions of the records that are not known to be as they are landed."""
        if self.heads is None or len(set(page.ids)) < len(page.ids):
            return range(len(page.ids))
        is_same = self.heads.same(page.ids, hashes) & ~np.asarray(page.deleted, dtype=bool)
        found: list[int] = np.flatnonzero(~is_same).tolist()
        return found

    def _store(
        self,
        conn: Connection,
        page: Page,
        rest: Page,
        hashes: Sequence[int],
        pages: int,
        besides: landing.Counts,
    ) -> tuple[landing.Landed, Looks]:
        """Stores pages with their refused records and their cursor: one unit of work, which may be begun again. `rest`
        are the records that are not known to be as they are landed, `hashes` theirs; `besides` counts the others."""
        looks = self.looks.fork()
        landed = landing.land_page(
            conn,
            self.run,
            system=self.system,
            stream=self.stream.name,
            ids=rest.ids,
            payloads=rest.payloads,
            hashes=hashes,
            changed=rest.changed,
            deleted=rest.deleted,
            parents=rest.parents,
            refused=len(page.refused),
            pages=pages,
            case_sensitive=self.stream.ids == "case_sensitive",
            held=self.before + self.counts.new,
            examine=lambda ids, payloads: looks.examine(conn, ids, payloads),
            besides=besides,
        )
        refused = [*page.refused, *(refusal(rest, row, twins.ONLY_CASE) for row in landed.alike)]
        refused += [refusal(rest, row, reason) for row, reason in landed.aside.items()]
        self._is_no_flood(refused, len(page.ids) + len(page.refused))
        if again := self.unread.intersection(page.ids).difference(r.id for r in refused):
            because = f"read in extract run {self.run}"
            queues.close_unreadable(conn, self.system, self.stream.name, sorted(again), because)
        if refused:
            owner = self.world.owner_of_system(self.system)
            entries = unreadable(self.system, self.stream.name, self.run, refused)
            queues.quarantine(conn, entries, owner=owner, declared=None)
        looks.store(conn, [rest.payloads[row] for row in landed.differs])
        self._note_marks(conn, page)
        # an unsorted sweep moves the cursor only when it is complete (RELIABILITY P4)
        if not self.sample and (self.is_complete or not self.is_sweep):
            landing.store_cursor(conn, self.run, self.system, self.stream.name, page.cursor)
        crash_point("extract.landing")
        return landed, looks

    def _is_no_flood(self, refused: Sequence[RefusedRecord], of: int) -> None:
        """Records that differ in the case of their ids alone, or cannot be read at all, are set aside one by one; very
        many of them are the source's fault, and nobody wants them one by one (RELIABILITY P10, P19)."""
        where = f"{self.system}/{self.stream.name}"
        alike = sum(1 for r in refused if r.reason == twins.ONLY_CASE)
        if alike >= fingerprint.LEAST_ROWS and alike > fingerprint.MOST_SHARE * of:
            place = (fingerprint.ID, "the ids of before", "the same in other letters")
            raise SchemaDrift(f"{alike:,} of {of:,} records: {twins.ONLY_CASE}", [place], where=where)
        if not FLOOD.allows(len(refused), of):
            raise SystemFault(f"{len(refused):,} of {of:,} records cannot be read: {refused[0].reason}", where=where)

    def _note_marks(self, conn: Connection, page: Page) -> None:
        """Reports records whose mark the cursor does not follow; closes what was reported and is right now."""
        clock = Mark.read(page.clock)
        late = {page.ids[row]: page.changed[row] for row in beyond(page.changed, clock)} if clock else {}
        if right := self.from_the_future.intersection(page.ids).difference(late):
            because = f"its mark is right in extract run {self.run}"
            doubts.close_records(conn, "future_mark", self.system, self.stream.name, sorted(right), because)
        told = [
            {
                "kind": "future_mark",
                "entity": self.stream.subject,
                "system": self.system,
                "stream": self.stream.name,
                "source_id": record,
                "field": self.stream.changed,
                "theirs": mark,
                "because": "the change mark lies in the future of the source's own clock: it moves no cursor",
            }
            for record, mark in late.items()
            if record not in self.from_the_future
        ]
        if told:
            doubts.report(conn, self.world.owner_of_system(self.system), told)


__all__ = ["ConnectorError", "Extracted", "extract"]
