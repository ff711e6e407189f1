"""The corpora are fed through every kind of connector, found by folder, on the peers of the conformance suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from canonical import fingerprint
from canonical.landscape import Limit
from tasks import extract
from tests.contract.conformance.conftest import connector, peer, pytest_generate_tests, sandbox
from tests.contract.corpora.shore import Shore
from tests.contract.corpora.speakers import Said, Speaker, speakers, speaking
from tests.fixtures.database import TestDatabase

__all__ = ["connector", "peer", "pytest_generate_tests", "sandbox"]


@pytest.fixture(autouse=True)
def no_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus is a flood of odd records, which would end a reading (tests/faults shows it); here each is looked at."""
    monkeypatch.setattr(extract, "FLOOD", Limit(count=10_000))
    monkeypatch.setattr(fingerprint, "LEAST_ROWS", 10_000)


@pytest.fixture(scope="module", params=sorted(speakers()))
def talk(request: pytest.FixtureRequest, module_database: TestDatabase) -> Iterator[tuple[Speaker, Said, Shore]]:
    """A kind's speaker, what it says, and the shore where that lands."""
    speaker = speakers()[request.param]
    with speaking(speaker) as (said, context):
        shore = Shore(module_database, speaker.kind, context)
        yield speaker, said, shore
        shore.connector.close()
