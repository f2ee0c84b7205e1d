"""What became of events that were sent."""

from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections, transaction
from django.db.models import QuerySet
from django.db.models.functions import Coalesce

from django_events_sourcing.models import Failure, Partition, PublishedCount, QueueEntry
from django_events_sourcing.outbox.clock import MINUTE, DatabaseNow, from_now
from django_events_sourcing.outbox.queries.common import WELL, delete, fence
from django_events_sourcing.outbox.queries.passes import Queued
from django_events_sourcing.outbox.sql import COUNT, DELETE, THOSE, execute, sql, whole_numbers
from django_events_sourcing.types import Alias, Microseconds, PartitionNumber, SequenceNumber

__all__ = [
    "Refusal",
    "RefusalPolicy",
    "bury",
    "count_published",
    "refuse",
    "settle",
]


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


# Note [Settling without a transaction]
# Nearly always, none of the events that a relay settles has a failure, and the relay still holds its leases: then one
# DELETE is all it takes. `may_have_failures` says whether that is so, and is asked before and after it:
#
#                    | the lease is held before    | the lease ran out before
#   held after it    | one DELETE; nobody else may | cannot be
#                    | have counted a refusal      |
#   ran out by then  | whoever took over may have  | one transaction for both DELETEs: whoever refuses meanwhile waits
#                    | met the row, and counted a  | for the row's lock, finds it gone, and counts nothing
#                    | refusal just before it went:|
#                    | a second DELETE             |
#
# So no failure outlives its event's row of the queue; it would hold back the object for ever.


def settle(
    using: Alias, owner: UUID, published: Collection[Queued], may_have_failures: Callable[[], bool] = lambda: True
) -> None:
    """Take published events out of the queue.

    It is right also after the lease was lost, as it only saves duplicates: an event is pending for the first time only
    once. Not so a replay, which may be another by now: without the lease, it stays.

    Args:
        using: Alias of the database.
        owner: Who held the leases.
        published: Rows of events that were confirmed.
        may_have_failures: Whether any of them may have been refused, by this relay before or, where it lost its lease,
            by another: see the note above.
    """
    if first := [row for row in published if row.replay_to is None]:
        with transaction.atomic(using=using) if may_have_failures() else nullcontext():
            _delete_rows(using, first)
            if may_have_failures():
                delete(_failures(using, first), using)
    if again := [row for row in published if row.replay_to is not None]:
        with transaction.atomic(using=using):
            if fence(using, owner, {row.partition for row in again}):
                _delete_rows(using, again)
                delete(_failures(using, again), using)


def _delete_rows(using: Alias, published: Collection[Queued]) -> None:
    by_partition: dict[PartitionNumber, list[SequenceNumber]] = {}
    for row in published:
        by_partition.setdefault(row.partition, []).append(row.sequence)
    them: list[str] = []
    params: dict[str, Any] = {}
    for place, (number, sequences) in enumerate(by_partition.items()):
        name = f"number_{place}"
        is_one_of, its_params = whole_numbers(using, f"sequences_{place}", sequences)
        them.append(sql(using, THOSE, name=name, sequences=is_one_of))
        params |= {name: number, **its_params}
    is_null = "IS NULL" if _are_first(published) else "IS NOT NULL"
    execute(using, sql(using, DELETE, is_null=is_null, them=" OR ".join(them)), params)


def _failures(using: Alias, rows: Collection[Queued]) -> QuerySet[Failure]:
    sequences = [row.sequence for row in rows]
    return Failure.objects.using(using).filter(sequence__in=sequences, replay_to__isnull=_are_first(rows))


def _are_first(rows: Collection[Queued]) -> bool:
    return all(row.replay_to is None for row in rows)


def count_published(using: Alias, now: Microseconds, partition: PartitionNumber, count: int, unrouted: int = 0) -> None:
    """Count published events, for the status.

    Args:
        using: Alias of the database.
        now: The database's time.
        partition: One that is leased.
        count: How many were published.
        unrouted: How many of them RabbitMQ had no queue for.
    """
    minute = now - now % MINUTE
    values = {"minute": minute, "partition": partition, "count": count, "unrouted": unrouted, "last_at": now}
    if not execute(using, sql(using, COUNT), values):
        PublishedCount.objects.using(using).bulk_create([PublishedCount(**values)], ignore_conflicts=True)


def refuse(using: Alias, owner: UUID, row: Queued, error: str, policy: RefusalPolicy) -> Refusal | None:
    """Count an attempt at an event that was refused by itself; the last one makes it dead.

    Args:
        using: Alias of the database.
        owner: Who holds the lease.
        row: The event.
        error: Why it was refused.
        policy: How often it is tried.

    Returns:
        What is known of the event. None if the lease was lost, or an earlier holder of it has got the event published:
        then the attempt is not counted.
    """
    with transaction.atomic(using=using):
        if not (fence(using, owner, {row.partition}) and _lock(using, row)):
            return None
        failures = Failure.objects.using(using).filter(sequence=row.sequence)
        before = failures.values_list("attempts", flat=True).first()
        attempts = (before or 0) + 1
        # What is for one consumer only holds back nobody's events.
        is_dead = attempts >= policy.max_attempts or bool(row.replay_to)
        if is_dead:
            _wait_for_the_disk(using)
        values: dict[str, Any] = {
            "attempts": attempts,
            "error": error,
            "retry_at": None if is_dead else from_now(policy.delay(attempts)),
            "dead_at": DatabaseNow() if is_dead else None,
        }
        if before is None:
            Failure.objects.using(using).bulk_create([Failure(**_keys(row), **values)])
        else:
            failures.update(**values)
        if is_dead:
            delete(_its_row(using, row), using)
    return Refusal(attempts, is_dead)


def _wait_for_the_disk(using: Alias) -> None:
    """At the COMMIT of this transaction, also in a relay's own session."""
    connection = connections[using]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit = on")


def bury(using: Alias, owner: UUID, row: Queued, why: str, who: str) -> bool | None:
    """Take an event out of the way, as dead, for good.

    Args:
        using: Alias of the database.
        owner: Who holds the lease on its partition, so that it is not on its way just now.
        row: The event.
        why: Kept with it, beside the error that it was refused with.
        who: The same.

    Returns:
        Whether it was pending or dead; None if the lease was lost, so that nothing was done.
    """
    with transaction.atomic(using=using):
        if not fence(using, owner, {row.partition}):
            return None
        failures = Failure.objects.using(using).filter(sequence=row.sequence)
        was_refused = failures.exists()
        was_pending = _its_row(using, row).exists()
        burial = {"buried_at": DatabaseNow(), "buried_by": who, "buried_why": why}
        if was_refused:
            failures.update(retry_at=None, dead_at=Coalesce("dead_at", DatabaseNow()), **burial)
        elif was_pending:
            died = {"dead_at": DatabaseNow(), "attempts": 0, "error": ""}
            Failure.objects.using(using).bulk_create([Failure(**_keys(row), **died, **burial)])
        delete(_its_row(using, row), using)
        if not QueueEntry.objects.using(using).filter(partition=row.partition).exists():
            # Nothing is left that could show that the trouble is over.
            Partition.objects.using(using).filter(number=row.partition).update(**WELL)
    return was_pending or was_refused


def _keys(row: Queued) -> dict[str, Any]:
    return {
        "sequence": row.sequence,
        "partition": row.partition,
        "object_hash": row.object_hash,
        "object": row.object or None,
        "replay_to": row.replay_to,
    }


def _lock(using: Alias, row: Queued) -> bool:
    """Whether it is pending; until the commit nobody settles it."""
    return bool(_its_row(using, row).update(object_hash=row.object_hash))


def _its_row(using: Alias, row: Queued) -> QuerySet[QueueEntry]:
    return QueueEntry.objects.using(using).filter(partition=row.partition, sequence=row.sequence)
