"""Every statement on the outbox's tables that a guarantee rests on, but for the INSERT, which is in ``outbox``.

None of them leaves a transaction open: events are published in between.
"""

# Note [Why order holds]
# Of two events of one object, a before b, b's id was drawn after a had been committed: the object's row was locked
# until then. A *pass* asks for the highest id first and reads no further than that, in the order of ids. So when it
# comes upon b, a had been committed before the pass began, and was read before b or was gone. Without that bound, a
# long transaction could commit a below the point that the pass has reached, and b, written after that, go out first.
# What is committed during a pass is for the next one, which begins at the lowest id again: nothing is skipped.
#
# An object that waits (an event of its was refused, or could not be sent) waits to the end of the pass, whatever
# happens meanwhile: the pass may have gone by its next events.
#
# Only the holder of a partition's lease publishes its events. Two may do so for a moment, when a holder was suspended
# and its lease has run out. Then events go out twice, each time under the same id; the first to arrive of each are in
# order.

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.expressions import ExpressionWrapper
from django.db.models.fields import BooleanField

from django_events_sourcing.clock import MICROSECONDS, DatabaseNow, from_microseconds
from django_events_sourcing.events import Event
from django_events_sourcing.models import Failure, LogEntry, Partition, PublishedCount, QueueEntry
from django_events_sourcing.outbox import PARTITIONS

__all__ = [
    "MINUTE",
    "PURGE",
    "PartitionState",
    "Pass",
    "Queued",
    "Refusal",
    "RefusalPolicy",
    "back_off",
    "count_lost",
    "count_published",
    "ensure_partitions",
    "load",
    "look",
    "purge",
    "purge_counts",
    "read",
    "recovered",
    "refuse",
    "release",
    "renew",
    "settle",
    "start_pass",
    "take",
]

#: In microseconds.
MINUTE = 60 * MICROSECONDS

#: The lease on the purge of the log is kept beside those on the partitions, under this number.
PURGE = PARTITIONS

# Up to so many objects that wait are named in a query.
_FEW = 200


@dataclass(frozen=True, slots=True)
class PartitionState:
    """A partition as a relay sees it that looks for work.

    Attributes:
        owner: Who holds the lease, None when nobody does.
        is_due: Whether it has an event that may be published now.
        failures: How often in a row it met with trouble.
    """

    number: int
    owner: UUID | None
    is_due: bool
    failures: int


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
class RefusalPolicy:
    """What becomes of an event that was refused by itself.

    Attributes:
        max_attempts: After how many it is dead.
        delay: From the number of attempts, how many seconds to wait before the next.
    """

    max_attempts: int
    delay: Callable[[int], float]


@dataclass(frozen=True, slots=True)
class Refusal:
    """How often an event was refused by now, and whether it is dead."""

    attempts: int
    is_dead: bool


@dataclass(frozen=True, slots=True)
class Queued:
    """A row of the queue."""

    partition: int
    sequence: int
    object_hash: int


def look(using: str, *, dead_blocks: bool) -> list[PartitionState]:
    """Which partitions there is work in, and who is at it."""
    queue = QueueEntry.objects.filter(partition=OuterRef("number"))
    waits = _waiting(dead_blocks=dead_blocks).filter(
        partition=OuterRef("partition"), object_hash=OuterRef("object_hash")
    )
    rows = (
        Partition.objects.using(using)
        .filter(number__lt=PARTITIONS)
        .annotate(
            has_due=Exists(queue.filter(~Exists(waits))),
            leased=ExpressionWrapper(Q(owner__isnull=False, leased_until__gt=DatabaseNow()), BooleanField()),
            backs_off=ExpressionWrapper(Q(retry_at__isnull=False, retry_at__gt=DatabaseNow()), BooleanField()),
        )
        .order_by("number")
        .values_list("number", "owner", "failures", "has_due", "leased", "backs_off")
    )
    found = list(rows)
    if len(found) < PARTITIONS:  # the first look of all, or the table was emptied
        ensure_partitions(using)
        found = list(rows.all())
    return [
        PartitionState(number, owner if leased else None, bool(due and not backs_off), failures)
        for number, owner, failures, due, leased, backs_off in found
    ]


def ensure_partitions(using: str) -> None:
    """Have a row for each partition. What it holds is no part of what happened: one that was lost is made anew."""
    if Partition.objects.using(using).count() <= PURGE:
        every = [Partition(number=number) for number in (*range(PARTITIONS), PURGE)]
        Partition.objects.using(using).bulk_create(every, ignore_conflicts=True)


def take(using: str, owner: UUID, numbers: Collection[int], lease: float) -> set[int]:
    """Lease the partitions ``numbers`` for ``lease`` seconds, as far as they are free; returns those."""
    free = Q(owner__isnull=True) | Q(leased_until__lte=DatabaseNow())
    due = Q(retry_at__isnull=True) | Q(retry_at__lte=DatabaseNow())
    taken = (
        Partition.objects.using(using)
        .filter(free, due, number__in=numbers)
        .update(owner=owner, leased_until=DatabaseNow() + _microseconds(lease))
    )
    return set(numbers) if taken == len(numbers) else _owned(using, owner, numbers)


def renew(using: str, owner: UUID, numbers: Collection[int], lease: float) -> set[int]:
    """Have the leases last ``lease`` seconds from now; returns those that were not lost."""
    mine = Partition.objects.using(using).filter(owner=owner, number__in=numbers)
    renewed = mine.update(leased_until=DatabaseNow() + _microseconds(lease))
    return set(numbers) if renewed == len(numbers) else _owned(using, owner, numbers)


def release(using: str, owner: UUID, numbers: Collection[int], *, retry_in: float | None = None) -> None:
    """Give the leases back. What was committed before and not seen is for whoever looks next: look once more.

    Args:
        using: Alias of the database.
        owner: Who holds the leases.
        numbers: The partitions.
        retry_in: For how many seconds nobody is to take them; None leaves that as it is.
    """
    values = {} if retry_in is None else {"retry_at": DatabaseNow() + _microseconds(retry_in)}
    mine = Partition.objects.using(using).filter(owner=owner, number__in=numbers)
    mine.update(owner=None, leased_until=None, **values)


def count_lost(using: str, numbers: Collection[int]) -> None:
    """Count leases that ran out under a relay that was at work."""
    Partition.objects.using(using).filter(number__in=numbers).update(lost=F("lost") + 1)


def start_pass(using: str, numbers: Collection[int], *, dead_blocks: bool) -> Pass:
    """Begin a pass over the partitions ``numbers``. See Note [Why order holds]."""
    failures = Failure.objects.using(using).filter(partition__in=numbers)
    highest = LogEntry.objects.order_by("-sequence").values("sequence")[:1]
    row = (
        Partition.objects.using(using)
        .filter(number=min(numbers))
        .annotate(
            now=DatabaseNow(),
            highest=Subquery(highest),
            any_refused=Exists(failures.filter(retry_at__isnull=False)),
            any_dead=Exists(failures) if dead_blocks else Value(value=False),
        )
        .values_list("now", "highest", "any_refused", "any_dead")
        .first()
    )
    now, top, any_refused, any_dead = row or (0, None, False, False)  # emptied meanwhile: nothing is ours to read
    waiting: frozenset[int] = frozenset()
    if any_refused or any_dead:
        waits = _waiting(dead_blocks=dead_blocks).using(using).filter(partition__in=numbers)
        waiting = frozenset(waits.values_list("object_hash", flat=True))
    return Pass(now=now, top=top or 0, waiting=waiting, dead_blocks=dead_blocks, any_refused=any_refused)


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
    parts: list[str] = []
    params: list[int] = []
    for number, last in after.items():
        left_out, its_params = _left_out(quote, current, number)
        parts.append(
            f"SELECT * FROM (SELECT {partition}, {sequence}, {object_hash} FROM {quote(QueueEntry._meta.db_table)} q "  # noqa: S608
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
    dead = f" OR f.{quote('dead_at')} IS NOT NULL" if current.dead_blocks else ""
    its = f"f.{partition} = q.{partition} AND f.{object_hash} = q.{object_hash}"
    waits = f"(f.{quote('retry_at')} > %s{dead})"
    failures = quote(Failure._meta.db_table)
    return f" AND NOT EXISTS (SELECT 1 FROM {failures} f WHERE {its} AND {waits})", [current.now]  # noqa: S608


def load(using: str, sequences: Collection[int]) -> dict[int, Event]:
    """The events of the log with these ids."""
    fields = ("sequence", "event_id", "service", "name", "object", "body", "headers", "time")
    rows = LogEntry.objects.using(using).filter(sequence__in=sequences).values_list(*fields)
    return {
        sequence: Event(
            id=event_id,
            service=service,
            name=name,
            object=key,
            body=body,
            headers=json.loads(headers),
            time=from_microseconds(time),
            sequence=sequence,
        )
        for sequence, event_id, service, name, key, body, headers, time in rows
    }


def settle(using: str, published: Collection[Queued], *, any_refused: bool) -> None:
    """Take published events out of the queue; right also after the lease was lost, as it only saves duplicates.

    Args:
        using: Alias of the database.
        published: Rows whose own confirm has come.
        any_refused: Whether any of them may have been refused before.
    """
    by_partition: dict[int, list[int]] = {}
    for row in published:
        by_partition.setdefault(row.partition, []).append(row.sequence)
    rows = Q()
    for number, sequences in by_partition.items():
        rows |= Q(partition=number, sequence__in=sequences)
    _delete(QueueEntry.objects.using(using).filter(rows), using)
    if any_refused:
        _delete(Failure.objects.using(using).filter(sequence__in=[row.sequence for row in published]), using)


def count_published(using: str, now: int, partition: int, count: int) -> None:
    """Count published events, for the status. ``now`` is the database's time, ``partition`` one that is leased."""
    minute = now - now % MINUTE
    counts = PublishedCount.objects.using(using)
    if not counts.filter(minute=minute, partition=partition).update(count=F("count") + count):
        row = PublishedCount(minute=minute, partition=partition, count=count)
        counts.bulk_create([row], ignore_conflicts=True)


def recovered(using: str, owner: UUID, numbers: Collection[int]) -> None:
    """Forget the trouble of partitions that events were published from; others need not wait for its end any longer."""
    mine = Partition.objects.using(using).filter(owner=owner, number__in=numbers)
    mine.update(failures=0, retry_at=None, error="")
    Partition.objects.using(using).filter(number__lt=PARTITIONS, retry_at__isnull=False).update(retry_at=None)


def back_off(using: str, owner: UUID, number: int, delay: float, error: str) -> bool:
    """Leave a partition alone for ``delay`` seconds after trouble, which costs no event an attempt.

    Returns:
        False if the lease was lost: then this is for its new holder to say.
    """
    mine = Partition.objects.using(using).filter(owner=owner, number=number)
    retry_at = DatabaseNow() + _microseconds(delay)
    return bool(mine.update(failures=F("failures") + 1, retry_at=retry_at, error=error))


def refuse(using: str, owner: UUID, row: Queued, error: str, policy: RefusalPolicy) -> Refusal | None:
    """Count an attempt at an event that was refused by itself; the last one makes it dead.

    Args:
        using: Alias of the database.
        owner: Who holds the lease.
        row: The event.
        error: Why it was refused.
        policy: How often it is tried.

    Returns:
        What is known of the event, None if the lease was lost: then the attempt is not counted.
    """
    with transaction.atomic(using=using):
        # The row of the lease stays locked until the commit, so that nobody can take it over in between.
        if not Partition.objects.using(using).filter(owner=owner, number=row.partition).update(owner=owner):
            return None
        failures = Failure.objects.using(using).filter(sequence=row.sequence)
        before = failures.values_list("attempts", flat=True).first()
        attempts = (before or 0) + 1
        is_dead = attempts >= policy.max_attempts
        values: dict[str, Any] = {
            "attempts": attempts,
            "error": error,
            "retry_at": None if is_dead else DatabaseNow() + _microseconds(policy.delay(attempts)),
            "dead_at": DatabaseNow() if is_dead else None,
        }
        if before is None:
            keys = {"sequence": row.sequence, "partition": row.partition, "object_hash": row.object_hash}
            Failure.objects.using(using).bulk_create([Failure(**keys, **values)])
        else:
            failures.update(**values)
        if is_dead:
            queue = QueueEntry.objects.using(using).filter(partition=row.partition, sequence=row.sequence)
            _delete(queue, using)
    return Refusal(attempts, is_dead)


def purge(using: str, retention: float, after: int, limit: int) -> tuple[int, int | None]:
    """Delete a batch of the log's oldest events, as far as they were published and are older than ``retention``.

    Args:
        using: Alias of the database.
        retention: In seconds, from the time of the event.
        after: The id to go on from.
        limit: How many events to look at.

    Returns:
        How many were deleted, and the id to go on from, None if what follows is younger.
    """
    log = LogEntry.objects.using(using)
    is_old = ExpressionWrapper(Q(time__lt=DatabaseNow() - _microseconds(retention)), BooleanField())
    rows = log.filter(sequence__gt=after).annotate(is_old=is_old).order_by("sequence")[:limit]
    found = list(rows.values_list("sequence", "is_old"))
    old = {sequence for sequence, is_old in found if is_old}
    if not old:
        return 0, None
    span = {"sequence__gte": min(old), "sequence__lte": max(old)}
    every_partition = range(PARTITIONS)  # named, for the index begins with it
    old -= set(
        QueueEntry.objects.using(using).filter(partition__in=every_partition, **span).values_list("sequence", flat=True)
    )
    old -= set(Failure.objects.using(using).filter(**span).values_list("sequence", flat=True))
    _delete(log.filter(sequence__in=old), using)
    return len(old), found[-1][0] if len(found) == limit else None


def purge_counts(using: str) -> None:
    """Delete counts of published events that no status asks for any more."""
    _delete(PublishedCount.objects.using(using).filter(minute__lt=DatabaseNow() - 90 * MINUTE), using)


def _delete(rows: QuerySet[Any], using: str) -> None:
    """One DELETE, without the signals that a project's receivers for all models would get."""
    rows._raw_delete(using)  # noqa: SLF001


def _waiting(*, dead_blocks: bool) -> QuerySet[Failure]:
    """The failures whose objects wait."""
    waits = Q(retry_at__gt=DatabaseNow())
    return Failure.objects.filter(waits | Q(dead_at__isnull=False) if dead_blocks else waits)


def _owned(using: str, owner: UUID, numbers: Collection[int]) -> set[int]:
    mine = Partition.objects.using(using).filter(owner=owner, number__in=numbers)
    return set(mine.values_list("number", flat=True))


def _microseconds(seconds: float) -> int:
    return round(seconds * MICROSECONDS)
