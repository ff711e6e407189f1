"""The mapping sheet as a program: compile rows once, run them on whole batches.

compile_inbound   a stream's records → candidates of an entity      (`inbound`)
compile_outbound  golden records → a target stream's own shape      (`outbound`)
mapping_report    what becomes of every source field                (`report`)
"""

from __future__ import annotations

from canonical.mapping.inbound import InboundProgram, Mapped, compile_inbound
from canonical.mapping.lines import ChildProgram
from canonical.mapping.outbound import Outbound, OutboundProgram, compile_outbound
from canonical.mapping.report import FieldReport, mapping_report

__all__ = [
    "ChildProgram",
    "FieldReport",
    "InboundProgram",
    "Mapped",
    "Outbound",
    "OutboundProgram",
    "compile_inbound",
    "compile_outbound",
    "mapping_report",
]
