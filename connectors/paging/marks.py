"""Change marks as times: how far a stream was read, how much is read again, and marks that lie in the future.

A cursor never passes what was not landed (RELIABILITY P4): it is taken from the source's own clock or from marks that
were seen, it steps back by the declared overlap, and one record dated 2999 does not move it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Literal

from connectors.protocol import Misdeclared

Format = Literal["iso", "date", "epoch", "epoch_ms", "http_date"]

SKEW = timedelta(minutes=10)
"""How far the clocks of a source's machines may differ; marks further ahead are not believed (fault matrix 34)."""
_MS_DATE = re.compile(r"/Date\((-?\d+)(?:[+-]\d{4})?\)/\Z")
"""Microsoft's JSON date: milliseconds since 1970 UTC; the offset after it is for display only."""


class FutureCursor(Misdeclared):
    """The stored cursor lies in the future of the source's clock: asked for with it, every change until then would be
    missed. Reading everything sets it right."""


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A change mark as an instant in UTC."""

    at: datetime

    @classmethod
    def read(cls, text: str | None) -> Mark | None:
        """From ISO 8601, a date, (milli)seconds since 1970, an HTTP date or `/Date(ms)/`; None if it is none."""
        if not text:
            return None
        text = text.strip()
        try:
            if found := _MS_DATE.match(text):
                return cls(datetime.fromtimestamp(int(found[1]) / 1000, UTC))
            if re.fullmatch(r"\d{9,}(\.\d+)?", text):
                number = float(text)
                return cls(datetime.fromtimestamp(number / 1000 if number > 1e11 else number, UTC))
            moment = parsedate_to_datetime(text) if text[:1].isalpha() else datetime.fromisoformat(text)
        except (ValueError, OverflowError, OSError, TypeError):
            return None
        return cls(moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC))

    def minus(self, seconds: float) -> Mark:
        """Earlier by so much."""
        return Mark(self.at - timedelta(seconds=seconds))

    def text(self, style: Format = "iso") -> str:
        """As a source wants to be asked."""
        match style:
            case "iso":
                return self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            case "date":
                return self.at.date().isoformat()
            case "epoch":
                return str(int(self.at.timestamp()))
            case "epoch_ms":
                return str(int(self.at.timestamp() * 1000))
            case "http_date":
                return format_datetime(self.at, usegmt=True)


@dataclass
class Window:
    """One read of a stream by change mark: from where it asks, and what the cursor may become when it is complete.

    `now` is the source's own clock at the start (its Date header), our clock only where it tells none.
    """

    since: Mark | None
    now: Mark
    top: Mark | None = None

    @classmethod
    def open(cls, since: str | None, date_header: str | None, where: str = "") -> Window:
        """Raises FutureCursor."""
        mark = Mark.read(since)
        now = Mark.read(date_header) or Mark(datetime.now(UTC))
        if mark is not None and mark.at > now.at + SKEW:
            raise FutureCursor(f"the stored cursor {mark.text()} lies in the future of the source's clock", where=where)
        return cls(mark, now)

    def see(self, marks: Sequence[str | None]) -> None:
        """Account for a page's marks. Marks of one source share one format, so the greatest text is the latest time."""
        texts = list(filter(None, marks))
        if not texts or self._take(max(texts)):
            return
        for text in sorted(set(texts), reverse=True):
            if self._take(text):
                return

    def _take(self, text: str) -> bool:
        mark = Mark.read(text)
        if mark is None or mark.at > self.now.at + SKEW:
            return False
        self.top = mark if self.top is None else max(self.top, mark)
        return True

    @property
    def reached(self) -> str | None:
        """The cursor once everything of the window was seen: the latest mark seen, but not beyond the window's start.

        What changed while a stream without order was walked may have been missed, so it is asked for again.
        """
        seen = [mark for mark in (self.since, self.top) if mark is not None]
        return min(max(seen), self.now).text() if seen else None


def beyond(marks: Sequence[str | None], clock: Mark) -> list[int]:
    """The positions of marks that lie further in the future of the source's clock than clocks differ."""
    texts = list(filter(None, marks))
    greatest = Mark.read(max(texts)) if texts else None
    if not texts or (greatest is not None and greatest.at <= clock.at + SKEW):
        return []
    read = {text: Mark.read(text) for text in set(texts)}
    late = {text for text, mark in read.items() if mark is not None and mark.at > clock.at + SKEW}
    return [row for row, text in enumerate(marks) if text in late]
