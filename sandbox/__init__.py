"""Business systems on loopback, shaped like the real vendors, with known truth and faults on demand.

What runs here: a HubSpot-shaped CRM, a Xero-shaped ledger, a Slack-shaped inbox (HTTP, one process), a legacy order
database (a schema in PostgreSQL) and a folder of workbooks. `runner.start` brings all of them up, seeded once;
`seed.build_world` knows which records are the same customer, so that tests can judge Concord from outside.

Nothing here is imported by the product itself; this package imports nothing of Concord.
"""
