"""What the integration tests share: a bench over an empty database, for modules that do not set one up in their way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.badsource import BadSource
from tests.fixtures.bench import Bench
from tests.fixtures.database import TestDatabase


@pytest.fixture
def bench(database: TestDatabase, tmp_path: Path) -> Iterator[Bench]:
    """A source that says what it is told to, its landscape, and a database with the model applied."""
    with BadSource() as source:
        made = Bench(source, tmp_path / "landscape", database)
        yield made
        made.world.close()
