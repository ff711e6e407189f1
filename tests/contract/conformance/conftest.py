"""One running peer for each kind of connector; kinds are found by folder, harnesses by the kind's name."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors import registry
from sandbox import runner
from tests.contract.conformance.peer import Peer

HERE = Path(__file__).parent
KINDS = (*registry.kinds(), registry.REST)
HARNESSED = tuple(kind for kind in KINDS if (HERE / f"harness_{kind}.py").exists())
_REAL = {"tryton"}
"""Kinds whose peer is real software of another house."""


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[runner.Running]:
    """The vendor-shaped systems, nearly empty."""
    with runner.start(tmp_path_factory.mktemp("sandbox"), scale=0.03) as running:
        yield running


def harness(kind: str) -> Any:
    """The harness module of a kind: `ROLES` and `open_peer(request, folder)`."""
    return importlib.import_module(f"tests.contract.conformance.harness_{kind}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each check runs on every kind that has the roles it asks for."""
    if "peer" not in metafunc.fixturenames:
        return
    wanted: frozenset[str] = getattr(metafunc.function, "roles", frozenset())
    kinds = [kind for kind in HARNESSED if wanted <= harness(kind).ROLES]
    marks = [pytest.mark.real, pytest.mark.slow]
    parameters = [pytest.param(kind, marks=marks if kind in _REAL else [], id=kind) for kind in kinds]
    metafunc.parametrize("peer", parameters, indirect=True, scope="module")


@pytest.fixture(scope="module")
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with harness(request.param).open_peer(request, tmp_path_factory.mktemp(request.param)) as opened:
        opened.kind = request.param
        yield opened


@pytest.fixture
def connector(peer: Peer) -> Iterator[Any]:
    """A connector for the peer, built as Concord builds it."""
    made = registry.build(peer.kind, peer.context)
    yield made
    made.close()
