"""How the C library keeps memory in a process of several threads.

glibc gives threads heaps of their own ("arenas"), eight for each core, and each keeps what was freed in it. Systems are
read and staged by threads that come and go, so the same room was kept several times over: 40 MiB in a sync of a
million records (docs/reference/performance.md). `MALLOC_ARENA_MAX` in the environment decides otherwise.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

M_ARENA_MAX = -8
"""glibc's malloc.h; mallopt(3)."""


@cache
def share_one() -> bool:
    """Lets all threads of this process allocate from one arena from now on; whether that could be said."""
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have no arenas
    return mallopt is not None and mallopt(M_ARENA_MAX, 1) == 1
