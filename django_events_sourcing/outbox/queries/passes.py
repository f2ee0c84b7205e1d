"""Reading the queue, and the log. See Note [Why order holds]."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F
from django.db.models.functions import Left, Length

from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import EventsSourcingError
from django_events_sourcing.models import LogEntry, QueueEntry
from django_events_sourcing.outbox.clock import from_microseconds
from django_events_sourcing.outbox.queries.common import to_uuid, waiting_failures
from django_events_sourcing.outbox.sql import (
    ANY_DEAD,
    NOT_WAITING,
    ORDERED,
    PART,
    READ,
    START_PASS,
    rows,
    sql,
    waits,
    whole_numbers,
)
from django_events_sourcing.types import Alias, Microseconds, ObjectHash, PartitionNumber, SequenceNumber

__all__ = [
    "LargeEvent",
    "Pass",
    "Portion",
    "Queued",
    "UnreadableError",
    "complete",
    "count_pending",
    "load",
    "read",
    "start_pass",
]

# Of the log's columns after the body's: which is the object.
_OBJECT = 3


@dataclass(frozen=True, slots=True)
class Queued:
    """A row of the queue, as ``models.QueueEntry`` describes it.

    Attributes:
        object: What the event is about; empty where it was not asked for, or the log lacks it.
    """

    partition: PartitionNumber
    sequence: SequenceNumber
    object_hash: ObjectHash
    replay_to: str | None = None
    object: str = ""


class UnreadableError(EventsSourcingError):
    """A row of the log holds no event: somebody changed it by hand, or the database is damaged."""


@dataclass(frozen=True, slots=True)
class LargeEvent:
    """An event whose body has not been read yet.

    Attributes:
        octets: How many bytes its body has.
        columns: What the log has of it, without the body.
    """

    octets: int
    columns: tuple[Any, ...]

    @property
    def time(self) -> Microseconds:
        """When it happened."""
        time: Microseconds = self.columns[-1]
        return time


#: Rows of the queue in the order of ids, with their events; None for one that the log lacks.
Portion = list[tuple[Queued, Event | LargeEvent | UnreadableError | None]]


@dataclass(frozen=True, slots=True)
class Pass:
    """One reading of the queue, from its lowest ids to those that were there when it began.

    Attributes:
        now: The database's time when it began, in microseconds.
        top: The id to read up to.
        first: Its first portion, as by ``read``; None where that is still to be read.
        waiting: The objects that wait; a hash among them stands for all objects of it.
        dead_blocks: Whether objects with a dead event are among them.
        any_refused: Whether any event that is pending was refused before.
    """

    now: Microseconds
    top: SequenceNumber
    first: Portion | None
    waiting: frozenset[str | ObjectHash]
    dead_blocks: bool
    any_refused: bool


def start_pass(using: Alias, numbers: Collection[PartitionNumber], limit: int, most: int, *, dead_blocks: bool) -> Pass:
    """Begin a pass over the partitions ``numbers``. See Note [Why order holds].

    Args:
        using: Alias of the database.
        numbers: The partitions.
        limit: How many rows of each to read at once.
        most: How many bytes to read of their bodies.
        dead_blocks: Whether an object with a dead event waits.
    """
    those, params = whole_numbers(using, "numbers", numbers)
    any_dead = sql(using, ANY_DEAD, numbers=those) if dead_blocks else "1 = 0"
    parts, its_params = _parts(using, dict.fromkeys(numbers, 0), limit)
    statement = sql(using, START_PASS, numbers=those, any_dead=any_dead, parts=parts)
    of_each = _of_each(most, limit, numbers)
    found = rows(using, statement, {**params, **its_params, **of_each, "first": min(numbers)})
    now, top, any_refused, is_any_dead = found[0][:4] if found else (0, None, False, False)
    waiting: frozenset[str | ObjectHash] = frozenset()
    first: Portion | None = None
    if any_refused or is_any_dead:
        failures = waiting_failures(dead_blocks=dead_blocks).using(using).filter(partition__in=numbers)
        found_waiting = failures.values_list("object", "object_hash")
        waiting = frozenset(number if key is None else key for key, number in found_waiting)
    else:
        first = _portion([row[4:] for row in found if row[4] is not None])
    return Pass(now, top or 0, first, waiting, dead_blocks=dead_blocks, any_refused=bool(any_refused))


def read(
    using: Alias, current: Pass, after: Mapping[PartitionNumber, SequenceNumber], limit: int, most: int
) -> Portion:
    """The next rows of the queue, with their events.

    Args:
        using: Alias of the database.
        current: What the rows are read for. The objects that wait are left out, however many events of theirs there
            are; but one that stopped waiting after the pass began may be among the rows.
        after: For each partition the id to read on from.
        limit: How many rows of each partition at most.
        most: How many bytes of their bodies at most; those that are larger than the share of a row are left out.
    """
    parts, params = _parts(using, after, limit, current)
    return _portion(rows(using, sql(using, READ, parts=parts), params | _of_each(most, limit, after)))


def complete(using: Alias, portion: Portion) -> Portion:
    """The same with the bodies that have not been read yet, by one statement."""
    large = [row.sequence for row, event in portion if isinstance(event, LargeEvent)]
    if not large:
        return portion
    bodies = dict(LogEntry.objects.using(using).filter(sequence__in=large).values_list("sequence", "body"))
    return [
        (row, _with_body(row.sequence, event, bodies.get(row.sequence)) if isinstance(event, LargeEvent) else event)
        for row, event in portion
    ]


def _with_body(sequence: SequenceNumber, event: LargeEvent, body: str | None) -> Event | UnreadableError | None:
    return None if body is None else _event_or_problem(sequence, body, *event.columns)


def _of_each(most: int, limit: int, numbers: Collection[PartitionNumber]) -> dict[str, int]:
    return {"most_of_each": max(1, most // (limit * len(numbers)))}


def _parts(
    using: Alias, after: Mapping[PartitionNumber, SequenceNumber], limit: int, current: Pass | None = None
) -> tuple[str, dict[str, int]]:
    parts: list[str] = []
    params: dict[str, int] = {}
    more = ""
    if current:
        more = sql(using, ORDERED, left_out=_left_out(using, current))
        params["top"] = current.top
    for number, last in after.items():
        name = f"part{len(parts)}"
        params |= {f"{name}_number": number, f"{name}_after": last}
        parts.append(sql(using, PART, name=name, limit=limit, more=more))
    return " UNION ALL ".join(parts), params


def _portion(found: Iterable[Sequence[Any]]) -> Portion:
    portion: Portion = []
    for row in found:
        partition, sequence, object_hash, replay_to, body, octets, *columns = row
        queued = Queued(partition, sequence, object_hash, replay_to, columns[_OBJECT] or "")
        if octets is None:
            portion.append((queued, None))
        elif body is None:
            portion.append((queued, LargeEvent(octets, tuple(columns))))
        else:
            portion.append((queued, _event_or_problem(queued.sequence, body, *columns)))
    return sorted(portion, key=lambda item: item[0].sequence)  # of a UNION's parts no database promises the order


def _event_or_problem(sequence: SequenceNumber, body: str, *columns: Any) -> Event | UnreadableError:
    try:
        return _event(sequence, body, *columns)
    except UnreadableError as exc:
        return exc


def _event(sequence: SequenceNumber, body: str, *columns: Any) -> Event:
    try:
        return _made_of(sequence, body, *columns)
    except (AttributeError, OverflowError, TypeError, ValueError) as exc:
        raise UnreadableError(
            f"the log's row {sequence} cannot be read as an event: {type(exc).__name__}: {exc}"
        ) from exc


def _made_of(  # noqa: PLR0913, PLR0917 - a row
    sequence: SequenceNumber,
    body: str,
    event_id: Any,
    service: str,
    name: str,
    key: str,
    headers: str,
    time: Microseconds,
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


def _left_out(using: Alias, current: Pass) -> str:
    if not current.waiting:
        return ""
    those_that_wait = waits(dead_blocks=current.dead_blocks).format(now=current.now)  # as when the pass began
    return sql(using, NOT_WAITING, waits=those_that_wait)


def count_pending(using: Alias) -> int:
    """How many events are pending; it takes the longer, the more there are."""
    return QueueEntry.objects.using(using).count()


def load(using: Alias, sequence: SequenceNumber, characters: int | None = None) -> tuple[Event, int]:
    """The event of the log with this id.

    Args:
        using: Alias of the database.
        sequence: The id.
        characters: How much of its body to read; None for all of it.

    Returns:
        The event, and how many characters its body has.

    Raises:
        LogEntry.DoesNotExist: There is none.
        UnreadableError: It can't be read as an event.
    """
    rows = LogEntry.objects.using(using).annotate(
        length=Length("body"), start=F("body") if characters is None else Left("body", characters)
    )
    columns = ("length", "sequence", "start", "event_id", "service", "name", "object", "headers", "time")
    length, *found = rows.values_list(*columns).get(sequence=sequence)
    return _event(*found), length
