"""What the tables are made of: one MetaData, and the columns that many of them have."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Identity, MetaData, Text, func, text

SCHEMAS = ("landing", "staging", "golden", "ops", "report")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def identity() -> Column[int]:
    """The row's number, given by the database."""
    return Column("id", BigInteger, Identity(always=False), primary_key=True)


def at(name: str, *, now: bool = False) -> Column[Any]:
    """A time; `now`: filled by the database's clock and never empty."""
    return Column(name, DateTime(timezone=True), server_default=func.now() if now else None, nullable=not now)


def words(name: str, *, required: bool = False, primary_key: bool = False) -> Column[str]:
    """A text."""
    return Column(name, Text, nullable=not (required or primary_key), primary_key=primary_key)


def count(name: str) -> Column[int]:
    """A number that starts at nothing."""
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def one_of(column: str, *values: str) -> CheckConstraint:
    """The column holds one of these words."""
    listed = ", ".join(f"'{v}'" for v in values)
    return CheckConstraint(f"{column} in ({listed})", name=f"{column}_is_known")


def named_end(by: str = "closed_by", because: str = "closed_because") -> CheckConstraint:
    """Nothing leaves a queue without a named end: when, who, and why (RELIABILITY P22)."""
    return CheckConstraint(
        f"state = 'open' or (closed_at is not null and {by} is not null and {because} is not null)",
        name="end_is_named",
    )
