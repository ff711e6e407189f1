"""From bytes to pages: splitting an answer into raw records, and walking from page to page without losing the way.

split.py    a body → raw records with id, change mark and deletion as columns (the fast way)
strict.py   one record by itself: ids exactly as sent, refusals with a reason (the careful way)
scan.py     where records begin and end in a body that no JSON parser accepts
walk.py     loop guards, reading ahead, several pages at once in order
marks.py    change marks as times: overlap, the source's clock, marks from the future
"""

from connectors.paging.marks import FutureCursor, Mark, Window, beyond
from connectors.paging.split import Shape, Split, Splitter
from connectors.paging.walk import LoopGuard, WalkExpired, ahead, in_order

__all__ = [
    "FutureCursor", "LoopGuard", "Mark", "Shape", "Split", "Splitter", "WalkExpired", "Window", "ahead", "beyond",
    "in_order",
]  # fmt: skip
