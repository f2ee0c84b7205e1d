"""Reading the queue, and the log. See Note [Why order holds]."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import Exists, Subquery, Value
from django.db.models.sql import Query

from django_events_sourcing.clock import DatabaseNow, from_microseconds
from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import EventsSourcingError
from django_events_sourcing.models import Failure, LogEntry, Partition, QueueEntry
from django_events_sourcing.outbox import LOG_COLUMNS, PARTITIONS
from django_events_sourcing.queries.common import blocks_object, waiting_failures
from django_events_sourcing.queries.compiled import Argument, arguments, compiled, to_uuid
from django_events_sourcing.queries.partitions import taken, taking

__all__ = [
    "Pass",
    "Portion",
    "Queued",
    "UnreadableError",
    "enter",
    "load",
    "read",
    "start_pass",
]

# Up to so many objects that wait are named in a query.
_FEW = 200


@dataclass(frozen=True, slots=True)
class Queued:
    """A row of the queue, as ``models.QueueEntry`` describes it."""

    partition: int
    sequence: int
    object_hash: int
    replay_to: str | None = None


class UnreadableError(EventsSourcingError):
    """A row of the log holds no event: somebody changed it by hand, or the database is damaged."""


#: Rows of the queue in the order of ids, with their events; None for one that the log lacks.
Portion = list[tuple[Queued, Event | UnreadableError | None]]


@dataclass(frozen=True, slots=True)
class Pass:
    """One reading of the queue, from its lowest ids to those that were there when it began.

    Attributes:
        now: The database's time when it began, in microseconds.
        top: The id to read up to.
        first: Its first portion, as by ``read``; None where that is still to be read.
        waiting: Hashes of the objects that wait.
        dead_blocks: Whether objects with a dead event are among them.
        any_refused: Whether any event that is pending was refused before.
    """

    now: int
    top: int
    first: Portion | None
    waiting: frozenset[int]
    dead_blocks: bool
    any_refused: bool


def start_pass(using: str, numbers: Collection[int], limit: int, *, dead_blocks: bool) -> Pass:
    """Begin a pass over the partitions ``numbers``. See Note [Why order holds].

    Args:
        using: Alias of the database.
        numbers: The partitions.
        limit: How many rows of each to read at once.
        dead_blocks: Whether an object with a dead event waits.
    """
    sql, params = _starting(using, numbers, limit, dead_blocks=dead_blocks)
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        return _started(using, numbers, cursor.fetchall(), dead_blocks=dead_blocks)


def enter(  # noqa: PLR0913
    using: str, owner: UUID, numbers: Collection[int], lease: float, limit: int, *, dead_blocks: bool
) -> tuple[set[int], Pass] | None:
    """Lease partitions, if they are free and met with no trouble, and begin a pass over them, by one round trip.

    They are two statements, the second of which sees what was committed when the first had the lease. The arguments are
    those of ``take`` and of ``start_pass``.

    Returns:
        The partitions that are leased, and the pass over all that were named. None where the database or its driver
        take no statement before the last one is answered; then nothing is done.
    """
    connection = connections[using]
    if not _has_pipelines(connection):
        return None
    take = taking(using, owner, list(numbers), lease, only_well=True)
    start = _starting(using, numbers, limit, dead_blocks=dead_blocks)
    with connection.cursor() as taker, connection.cursor() as starter:
        with connection.wrap_database_errors, connection.connection.pipeline():
            taker.execute(*take)
            starter.execute(*start)
        count, rows = taker.rowcount, starter.fetchall()
    return taken(using, owner, numbers, count), _started(using, numbers, rows, dead_blocks=dead_blocks)


def _has_pipelines(connection: Any) -> bool:
    """Whether it is psycopg 3, with a libpq that has them."""
    return (
        connection.vendor == "postgresql"
        and hasattr(connection.Database, "Pipeline")
        and connection.Database.Pipeline.is_supported()
        and not connection.in_atomic_block
    )


def _starting(using: str, numbers: Collection[int], limit: int, *, dead_blocks: bool) -> tuple[str, list[Any]]:
    start = _start_pass(using, len(numbers), dead_blocks=dead_blocks)
    parts, params = _parts(using, dict.fromkeys(numbers, 0), limit)
    sql = f"SELECT s.*, {_columns(using)} FROM ({start.sql}) s LEFT JOIN ({parts}) q ON 1 = 1 {_log(using)}"  # noqa: S608
    return sql, [*start.filled(using, numbers=list(numbers), first=min(numbers)), *params]


def _started(using: str, numbers: Collection[int], rows: list[Any], *, dead_blocks: bool) -> Pass:
    # emptied meanwhile: nothing is ours to read
    now, top, any_refused, any_dead = rows[0][:4] if rows else (0, None, False, False)
    waiting: frozenset[int] = frozenset()
    first: Portion | None = None
    if any_refused or any_dead:
        waits = waiting_failures(dead_blocks=dead_blocks).using(using).filter(partition__in=numbers)
        waiting = frozenset(waits.values_list("object_hash", flat=True))
    else:
        first = _portion([row[4:] for row in rows if row[4] is not None])
    return Pass(now, top or 0, first, waiting, dead_blocks=dead_blocks, any_refused=bool(any_refused))


@compiled
def _start_pass(count: int, *, dead_blocks: bool) -> Query:
    failures = Failure.objects.filter(partition__in=arguments("numbers", count))
    return (
        Partition.objects.filter(number=Argument("first"))
        .annotate(
            now=DatabaseNow(),
            highest=Subquery(LogEntry.objects.order_by("-sequence").values("sequence")[:1]),
            any_refused=Exists(failures.filter(retry_at__isnull=False)),
            any_dead=Exists(failures.filter(blocks_object())) if dead_blocks else Value(value=False),
        )
        .values_list("now", "highest", "any_refused", "any_dead")
        .query
    )


def read(using: str, current: Pass, after: Mapping[int, int], limit: int) -> Portion:
    """The next rows of the queue, with their events.

    Args:
        using: Alias of the database.
        current: What the rows are read for. The objects that wait are left out, however many events of theirs there
            are; but where they are many, an object that stopped waiting after the pass began may be among the rows.
        after: For each partition the id to read on from.
        limit: How many rows of each partition at most.
    """
    parts, params = _parts(using, after, limit, current)
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT {_columns(using)} FROM ({parts}) q {_log(using)}", params)  # noqa: S608
        return _portion(cursor.fetchall())


def _parts(using: str, after: Mapping[int, int], limit: int, current: Pass | None = None) -> tuple[str, list[int]]:
    """One short scan of the index for each partition, whatever the statistics say."""
    quote = connections[using].ops.quote_name
    partition, sequence, object_hash = map(quote, ("partition", "sequence", "object_hash"))
    columns = f"{partition}, {sequence}, {object_hash}, {quote('replay_to')}"
    parts: list[str] = []
    params: list[int] = []
    for number, last in after.items():
        where = f"{partition} = %s AND {sequence} > %s"
        params += [number, last]
        if current:
            left_out, its_params = _left_out(quote, current, number)
            where += f" AND {sequence} <= %s{left_out}"
            params += [current.top, *its_params]
        parts.append(
            f"SELECT * FROM (SELECT {columns} FROM {quote(QueueEntry._meta.db_table)} q "  # noqa: S608
            f"WHERE {where} ORDER BY {sequence} LIMIT {limit:d}) p{len(parts):d}"
        )
    return " UNION ALL ".join(parts), params


@cache
def _columns(using: str) -> str:
    quote = connections[using].ops.quote_name
    queue = ("partition", "sequence", "object_hash", "replay_to")
    return ", ".join([*(f"q.{quote(name)}" for name in queue), *(f"l.{quote(name)}" for name in LOG_COLUMNS)])


@cache
def _log(using: str) -> str:
    quote = connections[using].ops.quote_name
    return f"LEFT JOIN {quote(LogEntry._meta.db_table)} l ON l.{quote('sequence')} = q.{quote('sequence')}"


def _portion(rows: Iterable[Sequence[Any]]) -> Portion:
    found: Portion = []
    for row in rows:
        queued = Queued(*row[:4])
        try:
            found.append((queued, _event(queued.sequence, *row[4:]) if row[4] is not None else None))
        except UnreadableError as exc:
            found.append((queued, exc))
    return sorted(found, key=lambda item: item[0].sequence)  # of a UNION's parts no database promises to keep the order


def _event(sequence: int, *columns: Any) -> Event:
    try:
        return _made_of(sequence, *columns)
    except (AttributeError, OverflowError, TypeError, ValueError) as exc:
        raise UnreadableError(
            f"the log's row {sequence} can't be read as an event: {type(exc).__name__}: {exc}"
        ) from exc


def _made_of(  # noqa: PLR0913, PLR0917 - a row
    sequence: int, event_id: Any, service: str, name: str, key: str, body: str, headers: str, time: int
) -> Event:
    context = json.loads(headers) if headers != "{}" else {}
    if not isinstance(context, dict):
        raise TypeError("its headers are no JSON object")
    return Event(
        id=to_uuid(event_id),
        service=service,
        name=name,
        object=key,
        body=body,
        headers=context,
        time=from_microseconds(time),
        sequence=sequence,
    )


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


def load(using: str, sequence: int) -> Event:
    """The event of the log with this id.

    Raises:
        LogEntry.DoesNotExist: There is none.
        UnreadableError: It can't be read as an event.
    """
    return _event(*LogEntry.objects.using(using).values_list("sequence", *LOG_COLUMNS).get(sequence=sequence))
