"""What the load benchmark makes of its measurements, and that its landscape is one that Concord accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.load import bench, figures
from tasks import landscape as reading


def measured(seconds: float, whole: float) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "process_seconds": whole,
        "cpu_seconds": seconds / 2,
        "peak_mib": 100.0,
        "stages": {"extract": seconds / 4, "merge": seconds * 3 / 4},
    }


def run(concord: float, dlt: float) -> dict[str, dict[str, Any]]:
    phases = figures.PHASES
    return {
        "concord": {phase: measured(concord, concord + 5) for phase in phases},
        "concord_cold": {phase: measured(concord + 4, concord + 5) for phase in phases},
        "dlt": {phase: measured(dlt, dlt + 1) for phase in phases},
    }


def test_ratios_are_medians_of_the_runs_own_ratios() -> None:
    summary = figures.summarise([run(1.0, 4.0), run(2.0, 4.0), run(1.0, 9.0)], 1_000)
    assert summary["ratio_first"] == summary["ratio_no_change"] == summary["ratio_changed"] == 4.0
    assert summary["ratios"]["with_import"]["first"] == pytest.approx(5 / 6)


def test_each_stages_share_adds_up() -> None:
    shares = figures.summarise([run(2.0, 4.0)], 1_000)["sides"]["concord"]["first"]["shares"]
    assert shares == {"extract": 0.25, "merge": 0.75}


def test_without_dlt_there_are_figures_but_no_ratios() -> None:
    one = run(1.0, 4.0)
    del one["dlt"]
    summary = figures.summarise([one], 1_000)
    assert summary["ratios"] == {}
    assert summary["ratio_first"] is None
    assert summary["sides"]["concord"]["changed"]["seconds"] == 1.0


def test_tables_name_every_side_and_load() -> None:
    tables = figures.tables(figures.summarise([run(1.0, 4.0)], 1_000))
    shown = {cell for _, _, rows in tables for row in rows for cell in row}
    assert {*bench.SIDES, *figures.PHASE_NAMES.values(), "warm", "with_import"} <= shown


def test_the_benchmarks_landscape_is_accepted(tmp_path: Path) -> None:
    urls = tuple(f"http://127.0.0.1:{port}" for port in (9001, 9002, 9003))
    landscape = reading.load(bench.declared(tmp_path, urls))
    assert [landscape.systems[name].settings["url"] for name in bench.SYSTEMS] == list(urls)
    assert landscape.model["customer"].match.unique == ("tax_id",)
