"""Whether the sheet's rows compile: rules, their arguments and the kinds they end in (RELIABILITY 59)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from canonical.landscape import Integration, System
from canonical.mapping.program import compile_inbound, compile_outbound
from canonical.mapping.sheet import SheetRow
from canonical.model import Model
from canonical.problems import Problem, Refused


def program_problems(
    rows: Sequence[SheetRow],
    systems: Mapping[str, System],
    integrations: Mapping[str, Integration],
    model: Model,
    timezone: str,
) -> Iterator[Problem]:
    """Every program that a sync would compile is compiled once; nothing of it is kept."""
    for system in systems.values():
        for stream in system.streams.values():
            for made in stream.makes:
                if made.entity in model.by_name:
                    try:
                        compile_inbound(rows, system, stream, model[made.entity], made.when, model, timezone)
                    except Refused as refused:
                        yield from refused.problems
    written = {(target.system, target.stream, flow.entity) for flow in integrations.values() for target in flow.to}
    for system_name, stream_name, entity in sorted(written):
        declared = systems.get(system_name)
        if declared is not None and stream_name in declared.streams and entity in model.by_name:
            try:
                compile_outbound(rows, model[entity], declared, declared.streams[stream_name], model)
            except Refused as refused:
                yield from refused.problems
