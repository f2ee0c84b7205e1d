"""Writing events into the log and the queue."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_events_sourcing.events import Event
from django_events_sourcing.models import LogEntry, QueueEntry
from django_events_sourcing.outbox.clock import to_microseconds
from django_events_sourcing.outbox.dialects import dialect
from django_events_sourcing.outbox.partitioning import PARTITIONS, object_hash
from django_events_sourcing.outbox.sql import INSERT, INSERT_LOG, INSERT_MANY, INSERT_QUEUE, sql
from django_events_sourcing.types import Alias, ObjectHash, PartitionNumber

__all__ = ["insert", "is_one_statement"]

# How many events one INSERT holds at most; Django makes it fewer where a database takes fewer values.
_BATCH = 500

# How many characters of bodies one INSERT holds at most, about.
_CHARACTERS = 4 * 1024 * 1024


def is_one_statement(using: Alias, events: Sequence[Event]) -> bool:
    """Whether ``insert`` needs no transaction around it."""
    return len(events) == 1 and dialect(connections[using]) == "postgresql"


def insert(using: Alias, events: Sequence[Event]) -> set[PartitionNumber]:
    """Write events into the log, and into the queue that they are pending.

    Args:
        using: Alias of the database, whose transaction it is a part of.
        events: In the order in which they happened.

    Returns:
        The partitions that they are in.
    """
    hashes = [object_hash(event.object) for event in events]
    if len(events) == 1:
        _insert_one(connections[using], events[0], hashes[0])
    elif dialect(connections[using]) == "postgresql":
        _insert_as_json(events, hashes, using)
    else:
        _insert_many(events, hashes, using)
    return {key % PARTITIONS for key in hashes}


def _insert_one(connection: BaseDatabaseWrapper, event: Event, key: ObjectHash) -> None:
    using = connection.alias
    event_id = LogEntry._meta.get_field("event_id").get_db_prep_value(event.id, connection)
    log_values = {"event_id": event_id, **_values(event)}
    queue_values = {"partition": key % PARTITIONS, "object_hash": key}
    with connection.cursor() as cursor:
        if dialect(connection) == "postgresql":
            cursor.execute(INSERT, {**log_values, **queue_values})
        else:
            cursor.execute(sql(using, INSERT_LOG), log_values)
            cursor.execute(sql(using, INSERT_QUEUE), {**queue_values, "sequence": cursor.lastrowid})


def _insert_as_json(events: Sequence[Event], hashes: Sequence[ObjectHash], using: Alias) -> None:
    statement = sql(using, INSERT_MANY, partitions=PARTITIONS)
    rows = [
        {"event_id": event.id.hex, "object_hash": key, **_values(event)}
        for event, key in zip(events, hashes, strict=True)
    ]
    with connections[using].cursor() as cursor:
        for batch in _batches(rows):
            cursor.execute(statement, {"events": json.dumps(batch, ensure_ascii=False)})


def _batches(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    characters = 0
    for row in rows:
        if batch and (len(batch) == _BATCH or characters + len(row["body"]) > _CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(row)
        characters += len(row["body"])
    yield batch


def _insert_many(events: Sequence[Event], hashes: Sequence[ObjectHash], using: Alias) -> None:
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
