"""Our own database: landing, staging area, crosswalk, golden records, outbox, queues, ledger.

No function of this package commits: the task that calls it owns the transaction. That is what makes the outbox true.
"""
