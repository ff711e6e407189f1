"""Any plain REST system, run from a manifest (canonical.declarations.manifest): no Python a system.

connector.py   the roles
reading.py     list walks by page, offset, cursor, link or keyset
writing.py     creates, updates, archives and deletes, one by one or in batches
"""

from connectors.rest.connector import RestConnector, build

__all__ = ["RestConnector", "build"]
