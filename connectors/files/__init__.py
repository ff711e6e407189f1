"""Folders of CSV and XLSX files as sources. Read only: a spreadsheet is a person's, and people write it.

Options of a stream (all optional but `path` or `glob` below a folder):

    path, glob     one file, or a pattern whose files together are the list
    sheet          of a workbook with several sheets
    header         the header's row number; default: the first row that has the key columns
    encoding       of CSV; default utf-8 (with or without byte order mark)
    delimiter      of CSV; default: found among , ; tab |
    trim           true: blanks around text cells are not part of them
    page_size      rows a page; default 1,000

Cells arrive as JSON: text as it stands, numbers with the digits a person sees, dates as ISO text, empty cells as null.
The cursor holds each file's size, time and hash: a read since a cursor of unchanged files has no pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import xxhash

from canonical.landscape import Stream
from connectors.files import place
from connectors.files.table import Records, check_any_header, read_records, refuse_twins
from connectors.files.text import read_text
from connectors.files.workbook import read_workbook
from connectors.protocol import (
    Context,
    Cursor,
    Limits,
    Misdeclared,
    Page,
    SourceRecord,
    StreamFacts,
    Unreachable,
)

PAGE_SIZE = 1_000
_OPTIONS = {"path", "glob", "sheet", "header", "encoding", "delimiter", "trim", "page_size"}


class FilesConnector:
    """A source over files."""

    limits = Limits(concurrency=1)

    def __init__(self, context: Context, clock: place.Clock | None = None) -> None:
        self._context = context
        self._clock = clock or place.Clock()
        self._root = Path(str(context.settings.get("path", ""))).expanduser()
        self._kept: dict[str, tuple[Any, Records]] = {}

    def check(self) -> None:
        """Every stream's files are there, whole, and have the declared columns."""
        if not str(self._context.settings.get("path", "")):
            raise Misdeclared("path: expected a folder or a file", where=self._context.system)
        if not self._root.exists():
            raise Unreachable("the folder or file does not exist", where=self._context.system)
        for name in self._context.streams:
            self._load(name)

    def facts(self, stream: str) -> StreamFacts:
        self._stream(stream)
        return StreamFacts(batch_size=1, write_class="C", deletes="absent", overlap_seconds=0.0)

    def read(self, stream: str, since: Cursor | None) -> Iterator[Page]:
        declared, where = self._stream(stream)
        if since is not None and self._is_unchanged(declared, where, since):
            return
        marks, records = self._load(stream)
        size = _page_size(declared, where)
        cursor: Cursor = {"declared": _declared(declared), "files": marks}
        total = len(records.ids) + len(records.refused)
        schema = xxhash.xxh3_64_hexdigest("\n".join(sorted(records.columns)).encode())
        starts = range(0, max(len(records.ids), 1), size)
        for start in starts:
            part = slice(start, start + size)
            is_last = start == starts[-1]
            yield Page(
                ids=records.ids[part],
                payloads=records.payloads[part],
                changed=records.changed[part],
                deleted=[False] * len(records.ids[part]),
                # Only the last page's cursor says "unchanged since": a read cut short must begin anew.
                cursor=cursor if is_last else {},
                parents=records.parents[part] if declared.child_of else None,
                refused=records.refused if start == 0 else [],
                is_last=is_last,
                total=total,
                schema=schema,
            )

    def get(self, stream: str, ids: Sequence[str]) -> Sequence[SourceRecord]:
        _, records = self._load(stream)
        wanted = set(ids)
        rows = zip(records.ids, records.payloads, records.changed, strict=True)
        return [SourceRecord(i, payload, changed) for i, payload, changed in rows if i in wanted]

    def close(self) -> None:
        self._kept.clear()

    def _stream(self, name: str) -> tuple[Stream, str]:
        where = f"{self._context.system}/{name}"
        if name not in self._context.streams:
            raise Misdeclared("no such stream is declared", where=where)
        stream: Stream = self._context.streams[name]
        if not stream.key:
            raise Misdeclared("expected at least one key column", where=where)
        unknown = sorted(set(stream.options) - _OPTIONS)
        if unknown:
            raise Misdeclared(f"expected the options {', '.join(sorted(_OPTIONS))}, found {unknown[0]}", where=where)
        return stream, where

    def _is_unchanged(self, stream: Stream, where: str, since: Cursor) -> bool:
        """Whether all files are as they were when the cursor was stored, by size, time and content."""
        files = since.get("files")
        if since.get("declared") != _declared(stream) or not isinstance(files, Mapping):
            return False
        paths = place.paths_of(self._root, stream.options, where)
        found = {f.name: list(f.mark) for f in self._found(paths, where)}
        return found == {name: list(mark) for name, mark in files.items()}

    def _found(self, paths: Sequence[Path], where: str) -> Iterator[place.Found]:
        root = self._root.resolve() if self._root.is_dir() else self._root.resolve().parent
        for path in paths:
            yield place.read_whole(path, root, where, self._clock)

    def _load(self, name: str) -> tuple[dict[str, list[Any]], Records]:
        """The stream's records as the files hold them now; kept until a file changes."""
        stream, where = self._stream(name)
        paths = place.paths_of(self._root, stream.options, where)
        stats = [(str(path), place.stat_mark(path)) for path in paths]
        kept = self._kept.get(name)
        if kept is not None and kept[0][0] == stats:
            return kept[0][1], kept[1]
        records = Records()
        marks: dict[str, list[Any]] = {}
        for found in self._found(paths, where):
            marks[found.name] = list(found.mark)
            at = f"{where} ({place.shown_name(found.name)})"
            if found.name.lower().endswith(".xlsx"):
                grid = read_workbook(found.data, stream.options, at)
            else:
                grid = read_text(place.shown_name(found.name), found.data, stream.options, stream.key, at)
            read_records(grid, stream, at, records)
            check_any_header(records, at)
        records = refuse_twins(records)
        self._kept[name] = ((stats, marks), records)
        return marks, records


def _page_size(stream: Stream, where: str) -> int:
    size = stream.options.get("page_size", PAGE_SIZE)
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= 100_000:
        raise Misdeclared("page_size: expected a whole number between 1 and 100,000", where=where)
    return size


def _declared(stream: Stream) -> str:
    """A digest of what decides how the files are read: another declaration reads them again."""
    shown = json.dumps([stream.key, stream.changed, dict(stream.options)], sort_keys=True, default=str)
    return xxhash.xxh3_64_hexdigest(shown.encode())


def build(context: Context) -> FilesConnector:
    """A connector for the context; files are looked at when they are read."""
    return FilesConnector(context)
