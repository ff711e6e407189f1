"""Asana's API 1.0: projects, tasks and people of one workspace.

Facts and their sources (Asana's published description and developers.asana.com):
- requests a minute by token: 150 on free plans, 1,500 on paid ones; 429 with Retry-After (rate-limits)
- pages of at most 100, offset tokens (pagination); only tasks can be asked for by `modified_since`, so projects and
  people are read whole and what did not change is dropped by its bytes
- a batch holds ten actions, done in no order, answered in the order asked (batch-requests)
- no idempotency key; `external` data, ours to find again, exists on tasks alone and for OAuth apps alone
  (custom-external-data), so a create is found again by a field that the landscape chooses: write class B
- a start date is taken only together with the due date (description of ProjectRequest.start_on)

    connector.py   the roles
    kinds.py       the three streams: paths, fields asked for, what can be done
    reading.py     pages, changed tasks, single records
    lookup.py      finding records by their fields, which Asana itself cannot do exactly
    shapes.py      payloads as Asana takes them: custom fields by gid, people and projects as gids
    writing.py     batches of ten, and what takes a request of its own
"""

from connectors.asana.connector import Asana, build

__all__ = ["Asana", "build"]
