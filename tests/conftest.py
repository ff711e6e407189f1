"""What every test shares. Nothing here starts before a test asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = [
    "tests.fixtures.database",
    "tests.fixtures.prefect",
    "tests.fixtures.mainjob",
    "tests.fixtures.desk",
    "tests.fixtures.said",
]

TOP = Path(__file__).resolve().parent.parent
FROM_OUTSIDE = ("CONCORD_DATABASE_URL", "CONCORD_DATABASE_OWNER_URL", "CONCORD_LANDSCAPE", "PREFECT_API_URL", "COLUMNS")


def pytest_configure(config: pytest.Config) -> None:
    """Tests reach neither the developer's database nor their orchestrator and see tables as wide as in a file, whatever
    the shell has set."""
    for name in FROM_OUTSIDE:
        os.environ.pop(name, None)


@pytest.fixture(autouse=True, scope="session")
def _home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whoever forgets to ask for `database` meets an empty home, not the developer's `.concord`."""
    home = tmp_path_factory.mktemp("concord-home")
    os.environ["CONCORD_HOME"] = str(home)
    yield
    if (home / "postgres").exists():
        from staging.embedded import EmbeddedServer

        EmbeddedServer(home / "postgres").destroy()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real data sets beside the checkout (CONCORD_TEST_DATA); tests that need them are skipped without."""
    folder = os.environ.get("CONCORD_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CONCORD_TEST_DATA names no folder of real data")
    return Path(folder)


@pytest.fixture(scope="session")
def vendor_specs() -> Path:
    """Vendors' published API descriptions (CONCORD_VENDOR_SPECS); tests that need them are skipped without."""
    folder = os.environ.get("CONCORD_VENDOR_SPECS")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CONCORD_VENDOR_SPECS names no folder of API descriptions")
    return Path(folder)
