"""The load benchmark: three HTTP sources of customers into PostgreSQL, by Concord and by dlt.

    python -m benchmarks.load --rows 100000 --runs 3

docs/reference/performance.md says what is measured, how, and what was found.
"""
