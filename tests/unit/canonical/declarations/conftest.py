"""The small landscape of tests/fixtures, and what the connectors it names ship."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from canonical.declarations.connectors import ConnectorDefaults, read_defaults
from canonical.declarations.landscape import read_landscape
from canonical.landscape import Landscape
from canonical.problems import Problem, Refused

MINI = Path(__file__).parents[3] / "fixtures" / "landscapes" / "mini"

SQL = b"""
settings:
  url: {type: database_url, required: true}
  password: {secret: true}
  statement_seconds: {type: integer, default: 60}
"""
LEDGER = b"""
settings:
  token: {secret: true, required: true}
  url: {type: url, default: "https://api.ledger.example"}
streams:
  contacts: {key: ContactID, changed: UpdatedDateUTC, makes: [{entity: customer}, {entity: supplier}]}
  payments: {key: PaymentID, makes: [{entity: payment}]}
"""
LEDGER_SHEET = b"""source_system,source_field,target_system,target_field,rule,notes
{system},contacts.Name,canonical,customer.name,,
{system},contacts.TaxNumber,canonical,customer.tax_id,,
{system},contacts.Website,canonical,customer.website,,
{system},payments.Reference,canonical,payment.reference,,
canonical,customer.name,{system},contacts.Name,,
canonical,customer.email,{system},contacts.EmailAddress,,
canonical,,{system},contacts.ContactStatus,const ACTIVE,
"""


@pytest.fixture
def files() -> dict[str, bytes]:
    return {str(path.relative_to(MINI)): path.read_bytes() for path in MINI.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def connectors() -> dict[str, ConnectorDefaults]:
    return {"sql": read_defaults("sql", SQL), "ledger": read_defaults("ledger", LEDGER, LEDGER_SHEET)}


@pytest.fixture
def read(files: dict[str, bytes], connectors: dict[str, ConnectorDefaults]) -> Callable[[], Landscape]:
    return lambda: read_landscape(files, connectors, "mini")


@pytest.fixture
def problems(read: Callable[[], Landscape]) -> Callable[[], list[Problem]]:
    """The problems of the landscape as it stands in `files`; none if it is good."""

    def found() -> list[Problem]:
        try:
            read()
        except Refused as refused:
            return list(refused.problems)
        return []

    return found
