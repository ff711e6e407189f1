"""Xero's accounting API 2.0: contacts, items, invoices, credit notes and payments of one organisation.

Facts and their sources: the published description (XeroAPI/Xero-OpenAPI, 2026-07) for paths, parameters and bodies;
developer.xero.com/faq/limits for rates (60 a minute, 5 at once, 5,000 a day); about 50 elements a write.

    connector.py   the roles
    resources.py   the five streams as Xero names them
    reading.py     pages by If-Modified-Since, records by id, exact searches
    writing.py     lists of elements with their own outcomes, replay-safe by Idempotency-Key
"""

from connectors.xero.connector import Xero, build

__all__ = ["Xero", "build"]
