"""Quotas that are nearly used up, told before reading has to rest for the sake of deliveries (matrix row 20)."""

from __future__ import annotations

from connectors.protocol import ConnectorError
from staging.incidents import Cause
from staging.rates import Rates
from tasks.world import World


def low(world: World) -> tuple[list[Cause], list[str]]:
    """The causes of systems whose long windows are nearly used up; and the keys of those where they are not."""
    causes, well = [], []
    rates = Rates(world.engine)
    for system in world.landscape.active_systems:
        key = f"quota:{system}"
        try:
            windows = world.connector(system).limits.windows
        except ConnectorError:
            continue  # it cannot be opened: that is told elsewhere
        found = [quota for quota in rates.quotas(system, windows) if quota.is_low]
        if not found:
            well.append(key)
            continue
        names = [n for n in world.landscape.integrations if system in world.target_systems([n])]
        causes.append(
            Cause(
                key=key,
                kind="QuotaLow",
                integration=", ".join(names or world.landscape.integrations),
                system=system,
                owner=world.owner_of_system(system),
                cause=f"{system}: {found[0].said}",
                unaffected="deliveries go on, and every other system is read and written as usual",
                next_step=f"read {system} less often, or raise its quota and its declared limits; see: concord status",
            )
        )
    return causes, well
