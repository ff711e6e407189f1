"""Planning: what one target should be told, against what it was told last and what it holds (DESIGN 5.5, 9.5, 9.10-15).

One call plans one (entity, target stream) for any number of records, as columns. Frames name a record by `id`, its
canonical id; `<path>` stands for one column per target path. All values are text in the target's own spelling, null
is empty.
"""

from canonical.planning.plans import CURRENCY_CHANGES, plan
from canonical.planning.values import CHANGES, FINDINGS, MONEY, WAIT, WRITES, OnDelete, Op, PlanInput, Planned

__all__ = [
    "CHANGES", "CURRENCY_CHANGES", "FINDINGS", "MONEY", "WAIT", "WRITES", "OnDelete", "Op", "PlanInput", "Planned",
    "plan",
]  # fmt: skip
