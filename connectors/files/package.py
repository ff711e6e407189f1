"""A workbook that must not be read is a fault of the system that it is."""

from __future__ import annotations

from canonical.packages import package_trouble
from connectors.protocol import SystemFault


def check_package(data: bytes, where: str) -> None:
    """Raises SystemFault naming what makes the workbook unreadable or unsafe; nothing is unpacked to disk."""
    trouble = package_trouble(data)
    if trouble is not None:
        raise SystemFault(trouble, where=where)
