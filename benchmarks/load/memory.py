"""What this process and the children it waited for took: processor time, and memory at the peak."""

from __future__ import annotations

import resource
import sys

_UNIT = 1024 * 1024 if sys.platform == "darwin" else 1024
"""ru_maxrss counts bytes on macOS, KiB on Linux."""


def peak_mib() -> float:
    """MiB: this process's own peak and, where it had children, that of the largest one beside it."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round((own + child) / _UNIT, 1)


def cpu_seconds() -> float:
    """Processor seconds so far, of children that ended included."""
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)
