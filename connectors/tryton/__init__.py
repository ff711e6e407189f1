"""Tryton 8.2: its parties by the REST API of a user application (facts seen on a running server, none from elsewhere).

The API lists by name unless it is asked for an order, drops inactive records unless the context says otherwise, gives
object members in an order of its own, shows 500 for a field that does not exist, and deletes for good. A party's
own change mark does not move when its address or telephone does: their marks are asked for as well.

    connector.py   the roles
    api.py         the REST calls: domains, orders, contexts, page by page
    records.py     a party as JSON that is the same on every read
    writing.py     payloads as Tryton's commands on lists of lines
"""

from connectors.tryton.connector import Tryton, build

__all__ = ["Tryton", "build"]
