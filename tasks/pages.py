"""Pages on their way into landing: read ahead, put together, and without what is no record (DESIGN 5.1)."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import polars as pl

from canonical import keys, twins
from connectors.protocol import Page, RefusedRecord
from staging import erasure

AHEAD = 4
"""Pages read ahead of landing, so that the network and the database work at the same time."""
MOST_KEPT = 11_000_000
"""Characters kept of a record that could not be read: more than the largest record that connectors let through."""


def ahead(pages: Iterator[Page]) -> Iterator[Page]:
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


def joined(group: list[Page]) -> Page:
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
        clock=last.clock,
    )


def told_apart(page: Page, *, case_sensitive: bool) -> Page:
    """The page with those records refused of which nobody can tell which version, or which record, they are."""
    reasons: dict[int, str] = {}
    if not case_sensitive:
        reasons |= dict.fromkeys(twins.alike_but_for_case(page.ids), twins.ONLY_CASE)
    if len(set(page.ids)) < len(page.ids):
        unclear = twins.contested(page.ids, keys.raw_hashes(page.payloads), page.changed)
        reasons |= dict.fromkeys(unclear, twins.TWO_VERSIONS)
    return without(page, reasons) if reasons else page


def not_text(payloads: Sequence[bytes], rows: Sequence[int]) -> dict[int, str]:
    """Those of these positions whose payloads are not UTF-8, each with its reason."""
    found: dict[int, str] = {}
    try:
        b"".join(payloads[row] for row in rows).decode()
    except UnicodeDecodeError:
        for row in rows:
            try:
                payloads[row].decode()
            except UnicodeDecodeError as error:
                found[row] = f"not UTF-8 text: byte {error.start} is 0x{payloads[row][error.start]:02x}"
    return found


def only(page: Page, rows: Sequence[int]) -> Page:
    """The page with the records at these positions."""
    return replace(
        page,
        ids=[page.ids[row] for row in rows],
        payloads=[page.payloads[row] for row in rows],
        changed=[page.changed[row] for row in rows],
        deleted=[page.deleted[row] for row in rows],
        parents=[page.parents[row] for row in rows] if page.parents is not None else None,
    )


def without(page: Page, reasons: Mapping[int, str]) -> Page:
    """The page with the records at some positions refused, each for its reason."""
    kept = only(page, [row for row in range(len(page.ids)) if row not in reasons])
    return replace(kept, refused=[*page.refused, *(refusal(page, row, reason) for row, reason in reasons.items())])


def refusal(page: Page, row: int, reason: str) -> RefusedRecord:
    raw = b"{}" if reason == erasure.REASON else page.payloads[row]
    return RefusedRecord(raw, reason, page.ids[row])


def unreadable(system: str, stream: str, run: int, refused: Sequence[RefusedRecord]) -> pl.DataFrame:
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
