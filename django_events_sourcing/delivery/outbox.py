"""The delivery "outbox": events are written to the log and the queue, in the transaction of what they tell of."""

# Note [The user's session]
# In a request the library does nothing to the database session but ordinary statements by Django's own API and
# `on_commit`. Each is waited for, and its error is raised by the call that caused it, so that Django knows of it before
# any code of the project's goes on. (To send the INSERT without waiting for its answer was tried: the request was no
# faster under a web server, and an error that belonged to a call which had returned rolled back what Django took for
# committed.)

import json
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_events_sourcing.delivery.transactions import own_transaction
from django_events_sourcing.delivery.waker import wake_on_commit
from django_events_sourcing.events import Event
from django_events_sourcing.models import LogEntry, QueueEntry
from django_events_sourcing.outbox.clock import to_microseconds
from django_events_sourcing.outbox.partitioning import PARTITIONS, object_hash
from django_events_sourcing.outbox.sql import INSERT, INSERT_LOG, INSERT_QUEUE, sql
from django_events_sourcing.outbox.tables import raises_missing_tables

__all__ = ["hand_over"]

# How many events one INSERT holds at most; Django makes it fewer where a database takes fewer values.
_BATCH = 500


def hand_over(events: Sequence[Event], using: str) -> None:
    """Write events into database ``using``, within a transaction as a part of it, and wake the relay at its commit.

    Raises:
        ConfigurationError: The database lacks the outbox's tables.
        django.db.Error: Whatever else the database has against it.
    """
    connection = connections[using]
    hashes = [object_hash(event.object) for event in events]
    is_one_statement = connection.vendor == "postgresql" and len(events) == 1
    with raises_missing_tables(using), nullcontext() if is_one_statement else own_transaction(using):
        if len(events) == 1:
            _insert_one(connection, events[0], hashes[0])
        else:
            _insert_many(events, hashes, using)
    wake_on_commit(connection, {key % PARTITIONS for key in hashes})


def _insert_one(connection: BaseDatabaseWrapper, event: Event, key: int) -> None:
    using = connection.alias
    event_id = LogEntry._meta.get_field("event_id").get_db_prep_value(event.id, connection)
    log_values = {"event_id": event_id, **_values(event)}
    queue_values = {"partition": key % PARTITIONS, "object_hash": key}
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(INSERT, {**log_values, **queue_values})
        else:
            cursor.execute(sql(using, INSERT_LOG), log_values)
            cursor.execute(sql(using, INSERT_QUEUE), {**queue_values, "sequence": cursor.lastrowid})


def _insert_many(events: Sequence[Event], hashes: Sequence[int], using: str) -> None:
    log, queue = LogEntry.objects.using(using), QueueEntry.objects.using(using)
    entries = log.bulk_create([LogEntry(event_id=event.id, **_values(event)) for event in events], _BATCH)
    if entries[0].pk is None:  # MySQL doesn't return what it gives to the rows
        found = log.filter(event_id__in=[event.id for event in events]).values_list("event_id", "sequence")
        sequences = dict(found)
    else:
        sequences = {entry.event_id: entry.sequence for entry in entries}
    rows = [
        QueueEntry(partition=key % PARTITIONS, sequence=sequences[event.id], object_hash=key)
        for event, key in zip(events, hashes, strict=True)
    ]
    queue.bulk_create(rows, _BATCH)


def _values(event: Event) -> dict[str, Any]:
    return {
        "service": event.service,
        "name": event.name,
        "object": event.object,
        "body": event.body,
        "headers": json.dumps(dict(event.headers)) if event.headers else "{}",
        "time": to_microseconds(event.time),
    }
