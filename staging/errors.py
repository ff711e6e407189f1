"""What the database layer refuses, in words for the person who can do something about it.

    DatabaseTrouble(Exception)        the command ends with exit code 4, without a traceback
    ├── DatabaseUnavailable           no server answers, or it refuses us
    ├── SchemaMissing                 the database has no tables of ours yet, or older ones: upgrade it
    └── SchemaNewer                   a newer Concord has upgraded the database: this one must not touch it

Messages never contain a password, nor a whole database URL.
"""

from __future__ import annotations


class DatabaseTrouble(Exception):
    """The database cannot be used as it is; the message says why and what to do."""


class DatabaseUnavailable(DatabaseTrouble):
    """No PostgreSQL server answers at the declared place, or it does not let us in."""


class SchemaMissing(DatabaseTrouble):
    """The schema is absent or older than this code."""


class SchemaNewer(DatabaseTrouble):
    """The schema is newer than this code."""
