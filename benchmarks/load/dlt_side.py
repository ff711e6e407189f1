"""dlt's side, one load in a process of its own: land and merge, nothing else.

    python -m benchmarks.load.dlt_side FOLDER URL [URL …]

The settings are the fastest that its documentation names for JSON from an API (Optimizing dlt; Postgres destination;
Merge loading): pages yielded whole, sources read in parallel threads, csv files loaded by
COPY, larger buffers, no compression of files that never leave the machine, telemetry off.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.load.memory import cpu_seconds, peak_mib

PAGE = 1_000
SETTINGS = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "CRITICAL",
    "EXTRACT__WORKERS": "3",
    "NORMALIZE__WORKERS": "2",
    "NORMALIZE__START_METHOD": "fork",
    "LOAD__WORKERS": "4",
    "LOAD__DELETE_COMPLETED_JOBS": "true",
    "DATA_WRITER__BUFFER_MAX_ITEMS": "50000",
    "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
    "EXTRACT__DATA_WRITER__DISABLE_COMPRESSION": "true",
    "LOADER_FILE_FORMAT": "csv",
    "MERGE_STRATEGY": "upsert",
}
"""Whoever sets one of these in the environment tries another value."""


def load(folder: Path, urls: list[str]) -> dict[str, float]:
    """One run of the pipeline; gives the seconds of each of its steps."""
    import dlt
    from dlt.destinations import postgres
    from dlt.sources.helpers.rest_client.client import RESTClient
    from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator

    def customers(url: str) -> Iterator[Any]:
        client = RESTClient(url, paginator=JSONResponseCursorPaginator(cursor_path="next", cursor_param="page"))
        yield from client.paginate("/customers", params={"size": PAGE}, data_selector="data")

    disposition: Any = {"disposition": "merge", "strategy": os.environ["MERGE_STRATEGY"]}
    resource: Any = dlt.resource  # its overloads say less than it takes
    resources = [
        resource(
            customers,
            name=f"customers_{number}",
            primary_key="id",
            write_disposition=disposition,
            parallelized=True,
        )(url)
        for number, url in enumerate(urls)
    ]
    opened: Any = dlt.pipeline  # as above
    pipeline: Any = opened(
        "concord_benchmark",
        destination=postgres(os.environ["BENCHMARK_DLT_URL"]),
        dataset_name="landed",
        pipelines_dir=str(folder),
        progress=None,
    )
    file_format = os.environ["LOADER_FILE_FORMAT"]
    steps: dict[str, Callable[[], Any]] = {
        "extract": lambda: pipeline.extract(resources, loader_file_format=file_format),
        "normalize": lambda: pipeline.normalize(),
        "load_merge": lambda: pipeline.load(raise_on_failed_jobs=True),
    }
    seconds: dict[str, float] = {}
    for step, work in steps.items():
        began = time.perf_counter()
        work()
        seconds[step] = time.perf_counter() - began
    return seconds


def main() -> int:
    """Reads the command line, loads once, prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where dlt keeps its state and files")
    parser.add_argument("urls", nargs="+")
    asked = parser.parse_args()
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    began = time.perf_counter()
    import dlt  # noqa: F401

    imported = time.perf_counter() - began
    began, worked = time.perf_counter(), cpu_seconds()
    stages = load(asked.folder, asked.urls)
    seconds, cpu = time.perf_counter() - began, cpu_seconds() - worked
    stages["other"] = seconds - sum(stages.values())
    figures = {"seconds": seconds, "cpu_seconds": cpu, "import_seconds": imported, "peak_mib": peak_mib()}
    print(json.dumps({**figures, "stages": stages}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
