"""The delivery "outbox": the event is written to the log and the queue, in the transaction of what it tells of."""

import json
import re
import zlib
from functools import cache
from itertools import count
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_events_sourcing.clock import to_microseconds
from django_events_sourcing.events import Event
from django_events_sourcing.models import LogEntry, QueueEntry
from django_events_sourcing.saves import own_transaction
from django_events_sourcing.tables import missing_tables_told
from django_events_sourcing.waker import wake_on_commit

try:
    from django_events_sourcing import in_flight
except ImportError:  # there is no psycopg 3
    in_flight = None  # type: ignore[assignment]

__all__ = ["LOG_COLUMNS", "PARTITIONS", "hand_over", "object_hash"]

#: Into how many parts the queue is divided. No setting: while relays of two numbers ran, two of them could hold one
#: object's events.
PARTITIONS = 16

#: Those of an event in the log, beside its sequence.
LOG_COLUMNS = ("event_id", "service", "name", "object", "body", "headers", "time")
_QUEUE_COLUMNS = ("partition", "sequence", "object_hash")


def hand_over(event: Event, using: str) -> None:
    """Write ``event`` into database ``using``, within a transaction as a part of it, and wake the relay at its commit.

    Raises:
        ConfigurationError: The database lacks the outbox's tables.
        django.db.Error: Whatever else the database has against it.
    """
    connection = connections[using]
    key = object_hash(event.object)
    partition = key % PARTITIONS
    headers = json.dumps(dict(event.headers)) if event.headers else "{}"
    told = (event.service, event.name, event.object, event.body, headers, to_microseconds(event.time))
    if not _send(connection, [event.id, *told, partition, key]):
        event_id = LogEntry._meta.get_field("event_id").get_db_prep_value(event.id, connection)
        with missing_tables_told(using):
            if connection.vendor == "postgresql":
                _insert_by_one(connection, [event_id, *told, partition, key])
            else:
                with own_transaction(using):
                    _insert(connection, [event_id, *told], partition, key)
    wake_on_commit(connection, partition)


def object_hash(key: str) -> int:
    """A number of 32 bits for an object, the same in every process; its remainder by ``PARTITIONS`` is the partition.

    Two objects of one number would at times wait for each other, nothing worse.
    """
    return zlib.crc32(key.encode())


def _insert(connection: BaseDatabaseWrapper, log_values: list[Any], partition: int, key: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_insert_into(LogEntry._meta.db_table, LOG_COLUMNS, connection.alias), log_values)
        insert = _insert_into(QueueEntry._meta.db_table, _QUEUE_COLUMNS, connection.alias)
        cursor.execute(insert, [partition, cursor.lastrowid, key])


@cache
def _insert_into(table: str, columns: tuple[str, ...], using: str) -> str:
    # Made once: Django's compiler takes longer than the database does.
    quote = connections[using].ops.quote_name
    names = ", ".join(map(quote, columns))
    marks = ", ".join(["%s"] * len(columns))
    return f"INSERT INTO {quote(table)} ({names}) VALUES ({marks})"  # noqa: S608


def _send(connection: BaseDatabaseWrapper, values: list[Any]) -> bool:
    """Without waiting for it; False where that can't be, as the first time in a session: it tells of missing tables."""
    return (
        in_flight is not None
        and connection.vendor == "postgresql"
        and in_flight.send(connection, _postgresql_insert(connection.alias)[1], values)
    )


def _insert_by_one(connection: BaseDatabaseWrapper, values: list[Any]) -> None:
    """By one statement; where more may follow in the session, it's allowed to send them."""
    statement, _ = _postgresql_insert(connection.alias)
    with connection.cursor() as cursor:
        if in_flight and in_flight.is_possible(connection):
            cursor.execute(f"{statement} RETURNING pg_backend_pid()", values)
            in_flight.allow(connection, *cursor.fetchone())
        else:
            cursor.execute(statement, values)


@cache
def _postgresql_insert(using: str) -> tuple[str, bytes]:
    log = _insert_into(LogEntry._meta.db_table, LOG_COLUMNS, using)
    statement = (
        f'WITH entry AS ({log} RETURNING "sequence") '  # noqa: S608
        f'INSERT INTO "{QueueEntry._meta.db_table}" ("partition", "sequence", "object_hash") '
        'SELECT %s, "sequence", %s FROM entry'
    )
    numbers = count(1)
    return statement, re.sub("%s", lambda _: f"${next(numbers)}", statement).encode()
