"""Reading the queue, and the log. See Note [Why order holds]."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from operator import attrgetter
from uuid import UUID

from django.db import connections
from django.db.models import Exists, Subquery, Value
from django.db.models.sql import Query

from django_events_sourcing.clock import DatabaseNow, from_microseconds
from django_events_sourcing.events import Event
from django_events_sourcing.models import Failure, LogEntry, Partition, QueueEntry
from django_events_sourcing.outbox import PARTITIONS
from django_events_sourcing.queries.common import blocks_object, waiting_failures
from django_events_sourcing.queries.compiled import Argument, arguments, compiled, padded, selection

__all__ = [
    "Pass",
    "Queued",
    "load",
    "read",
    "start_pass",
]

# Up to so many objects that wait are named in a query.
_FEW = 200


@dataclass(frozen=True, slots=True)
class Pass:
    """One reading of the queue, from its lowest ids to those that were there when it began.

    Attributes:
        now: The database's time when it began, in microseconds.
        top: The id to read up to.
        waiting: Hashes of the objects that wait.
        dead_blocks: Whether objects with a dead event are among them.
        any_refused: Whether any event that is pending was refused before.
    """

    now: int
    top: int
    waiting: frozenset[int]
    dead_blocks: bool
    any_refused: bool


@dataclass(frozen=True, slots=True)
class Queued:
    """A row of the queue, as ``models.QueueEntry`` describes it."""

    partition: int
    sequence: int
    object_hash: int
    replay_to: str | None = None


def start_pass(using: str, numbers: Collection[int], *, dead_blocks: bool) -> Pass:
    """Begin a pass over the partitions ``numbers``. See Note [Why order holds]."""
    found = _start_pass(using, len(numbers), dead_blocks=dead_blocks).rows(
        using, numbers=list(numbers), first=min(numbers)
    )
    # emptied meanwhile: nothing is ours to read
    now, top, any_refused, any_dead = found[0] if found else (0, None, False, False)
    waiting: frozenset[int] = frozenset()
    if any_refused or any_dead:
        waits = waiting_failures(dead_blocks=dead_blocks).using(using).filter(partition__in=numbers)
        waiting = frozenset(waits.values_list("object_hash", flat=True))
    return Pass(now=now, top=top or 0, waiting=waiting, dead_blocks=dead_blocks, any_refused=bool(any_refused))


@compiled
def _start_pass(count: int, *, dead_blocks: bool) -> Query:
    failures = Failure.objects.filter(partition__in=arguments("numbers", count))
    return selection(
        Partition.objects.filter(number=Argument("first"))
        .annotate(
            now=DatabaseNow(),
            highest=Subquery(LogEntry.objects.order_by("-sequence").values("sequence")[:1]),
            any_refused=Exists(failures.filter(retry_at__isnull=False)),
            any_dead=Exists(failures.filter(blocks_object())) if dead_blocks else Value(value=False),
        )
        .values_list("now", "highest", "any_refused", "any_dead")
    )


def read(using: str, current: Pass, after: Mapping[int, int], limit: int) -> list[Queued]:
    """The next rows of the queue, in the order of ids.

    Args:
        using: Alias of the database.
        current: What the rows are read for. The objects that wait are left out, however many events of theirs there
            are; but where they are many, an object that stopped waiting after the pass began may be among the rows.
        after: For each partition the id to read on from.
        limit: How many rows of each partition at most.
    """
    # One short scan of the index for each partition, whatever the statistics say.
    quote = connections[using].ops.quote_name
    partition, sequence, object_hash = map(quote, ("partition", "sequence", "object_hash"))
    columns = f"{partition}, {sequence}, {object_hash}, {quote('replay_to')}"
    parts: list[str] = []
    params: list[int] = []
    for number, last in after.items():
        left_out, its_params = _left_out(quote, current, number)
        parts.append(
            f"SELECT * FROM (SELECT {columns} FROM {quote(QueueEntry._meta.db_table)} q "  # noqa: S608
            f"WHERE {partition} = %s AND {sequence} > %s AND {sequence} <= %s{left_out} "
            f"ORDER BY {sequence} LIMIT {limit:d}) p{number:d}"
        )
        params += [number, last, current.top, *its_params]
    with connections[using].cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), params)
        rows = [Queued(*row) for row in cursor.fetchall()]
    return sorted(rows, key=attrgetter("sequence"))  # of a UNION's parts no database promises to keep the order


def _left_out(quote: Callable[[str], str], current: Pass, number: int) -> tuple[str, list[int]]:
    waiting = [value for value in current.waiting if value % PARTITIONS == number]
    if not waiting:
        return "", []
    partition, object_hash = quote("partition"), quote("object_hash")
    if len(waiting) <= _FEW:
        return f" AND {object_hash} NOT IN ({', '.join(['%s'] * len(waiting))})", waiting
    is_dead = f"f.{quote('dead_at')} IS NOT NULL AND f.{quote('buried_at')} IS NULL"
    blocks = f" OR ({is_dead} AND COALESCE(f.{quote('replay_to')}, '') = '')" if current.dead_blocks else ""
    its = f"f.{partition} = q.{partition} AND f.{object_hash} = q.{object_hash}"
    waits = f"(f.{quote('retry_at')} > %s{blocks})"
    failures = quote(Failure._meta.db_table)
    return f" AND NOT EXISTS (SELECT 1 FROM {failures} f WHERE {its} AND {waits})", [current.now]  # noqa: S608


def load(using: str, sequences: Collection[int]) -> dict[int, Event]:
    """The events of the log with these ids."""
    wanted = padded(list(sequences))
    return {
        sequence: Event(
            id=event_id if isinstance(event_id, UUID) else UUID(event_id),  # text, where a database has no such type
            service=service,
            name=name,
            object=key,
            body=body,
            headers=json.loads(headers) if headers != "{}" else {},
            time=from_microseconds(time),
            sequence=sequence,
        )
        for sequence, event_id, service, name, key, body, headers, time in _load(using, len(wanted)).rows(
            using, sequences=wanted
        )
    }


@compiled
def _load(count: int) -> Query:
    fields = ("sequence", "event_id", "service", "name", "object", "body", "headers", "time")
    return selection(LogEntry.objects.filter(sequence__in=arguments("sequences", count)).values_list(*fields))
