"""Prefect events of our own, by which its automations know that somebody still looks after a landscape."""

from __future__ import annotations

ARMED = "concord.armed"
"""The landscape was deployed or is served: from now on `watch` is expected to complete."""
TOLD = "concord.told"
"""`watch` did not complete, but its incident is opened: whoever it concerns is told already."""
