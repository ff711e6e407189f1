"""A folder to leave files in, and a connector over it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from canonical.landscape import Stream
from connectors.files import FilesConnector
from connectors.protocol import Context
from tests.unit.connectors.files.books import OLD, FakeClock, workbook


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Write a file of bytes, or a workbook of rows, with a quiet modification time."""

    def write(name: str, content: bytes | list[list[Any]], at: float = OLD) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else workbook(content))
        os.utime(path, (at, at))
        return path

    return write


@pytest.fixture
def connect(tmp_path: Path, clock: FakeClock) -> Callable[..., FilesConnector]:
    def make(at: str | None = None, key: tuple[str, ...] = ("SKU",), **options: Any) -> FilesConnector:
        changed = options.pop("changed", None)
        child_of = options.pop("child_of", None)
        stream = Stream("prices", key=key, changed=changed, child_of=child_of, options=options)
        settings = {"path": str(tmp_path if at is None else tmp_path / at)}
        return FilesConnector(Context("book", settings, {"prices": stream}), clock.as_clock())

    return make
