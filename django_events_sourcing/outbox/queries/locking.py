"""Holding an object until the transaction ends, so that its events' ids follow the order of the commits."""

# Note [Locks of emit]
# Note [Why order holds] rests on the lock that an UPDATE takes on the object's row. Who sends an event without a change
# takes the same lock. An object without a row gets one of a fixed number of locks, by its hash: PostgreSQL's advisory
# locks, which a transaction holds to its end; MySQL's belong to a session, so that there it is a row of a table. Two
# objects of one number at times wait for each other, nothing worse. SQLite has one writer at a time as it is.

import zlib
from collections.abc import Mapping
from typing import Any

from django.db import connections

from django_events_sourcing.outbox.dialects import dialect
from django_events_sourcing.outbox.partitioning import object_hash
from django_events_sourcing.outbox.sql import LOCK_OBJECT, LOCK_ROW, sql
from django_events_sourcing.types import Alias

__all__ = ["lock_object", "lock_row"]

# What tells the library's advisory locks from others; they take two whole numbers of 32 bits, with a sign.
_CLASS = zlib.crc32(b"django_events_sourcing") - 2**31

# How many rows MySQL's table gets at most.
_LOCKS = 4096


def lock_row(using: Alias, table: str, key: Mapping[str, Any]) -> bool:
    """Hold a row as an UPDATE of it would, within a transaction; false if there is none.

    Args:
        using: Alias of the database.
        table: The row's.
        key: By column, what the row is found by, as the database takes it.
    """
    connection = connections[using]
    if (spoken := dialect(connection)) == "sqlite":
        return True
    quote = connection.ops.quote_name
    statement = sql(
        using,
        LOCK_ROW,
        table=quote(table),
        key=" AND ".join(f"{quote(column)} = %s" for column in key),
        strength="NO KEY UPDATE" if spoken == "postgresql" else "UPDATE",
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, list(key.values()))
        return cursor.fetchone() is not None


def lock_object(using: Alias, key: str) -> None:
    """Hold what has no row, by its key, within a transaction. See Note [Locks of emit]."""
    connection = connections[using]
    spoken, number = dialect(connection), object_hash(key)
    if spoken == "sqlite":
        return
    params = [_CLASS, number - 2**31] if spoken == "postgresql" else [number % _LOCKS]
    with connection.cursor() as cursor:
        cursor.execute(LOCK_OBJECT[spoken], params)
