"""HubSpot's CRM objects (v3): companies, contacts and custom objects.

Facts and their sources: rates from developers.hubspot.com usage guidelines; search stops at 10,000 results and does not
show associations; batches hold 100; archived records are listed apart for 90 days; a merged record's id answers with
the survivor.

    connector.py   the roles
    reading.py     list, search by change mark, archived records
    writing.py     batches with their mixed answers, associations
    shapes.py      object types, properties and pages as HubSpot writes them
"""

from connectors.hubspot.connector import HubSpot, build

__all__ = ["HubSpot", "build"]
