"""Who may publish the events of which partition, and until when."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.db.models.expressions import CombinedExpression, ExpressionWrapper
from django.db.models.fields import BooleanField
from django.db.models.sql import Query

from django_events_sourcing.clock import DatabaseNow, from_now, in_microseconds
from django_events_sourcing.models import Partition, QueueEntry
from django_events_sourcing.outbox import PARTITIONS
from django_events_sourcing.queries.common import PURGE, waiting_failures
from django_events_sourcing.queries.compiled import Argument, arguments, compiled, to_uuid, update

__all__ = [
    "PartitionState",
    "back_off",
    "count_lost",
    "ensure_partitions",
    "leased",
    "look",
    "pause",
    "recovered",
    "release",
    "renew",
    "reserve",
    "resume",
    "take",
    "taken",
    "taking",
    "unreserve",
]

_OWNER = Argument("owner", Partition._meta.get_field("owner"))
_LEASED_UNTIL = CombinedExpression(DatabaseNow(), "+", Argument("lease"))

# How long a partition that an operator waits for is kept from relays, in seconds; he asks again well within that.
_RESERVED = 1.0


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


def look(using: str, *, dead_blocks: bool) -> list[PartitionState]:
    """Which partitions there is work in, and who is at it."""
    found = _look(using, dead_blocks=dead_blocks).rows(using)
    if len(found) < PARTITIONS:  # the first look of all, or the table was emptied
        ensure_partitions(using)
        found = _look(using, dead_blocks=dead_blocks).rows(using)
    return [
        PartitionState(
            number, to_uuid(owner) if leased else None, first is not None and not (paused or backs_off), failures
        )
        for number, owner, failures, first, leased, paused, backs_off in found
    ]


@compiled
def _look(*, dead_blocks: bool) -> Query:
    queue = QueueEntry.objects.filter(partition=OuterRef("number"))
    waits = waiting_failures(dead_blocks=dead_blocks).filter(
        partition=OuterRef("partition"), object_hash=OuterRef("object_hash")
    )
    return (
        Partition.objects.filter(number__lt=PARTITIONS)
        .annotate(
            # In place of EXISTS, for which PostgreSQL would read the table from its start, dead rows and all.
            first_due=Subquery(queue.filter(~Exists(waits)).order_by("sequence").values("sequence")[:1]),
            leased=ExpressionWrapper(_is_leased(), BooleanField()),
            paused=ExpressionWrapper(Q(paused_at__isnull=False), BooleanField()),
            backs_off=ExpressionWrapper(Q(retry_at__isnull=False, retry_at__gt=DatabaseNow()), BooleanField()),
        )
        .order_by("number")
        .values_list("number", "owner", "failures", "first_due", "leased", "paused", "backs_off")
        .query
    )


def ensure_partitions(using: str) -> None:
    """Have a row for each partition. What it holds is no part of what happened: one that was lost is made anew."""
    if Partition.objects.using(using).count() <= PURGE:
        every = [Partition(number=number) for number in (*range(PARTITIONS), PURGE)]
        Partition.objects.using(using).bulk_create(every, ignore_conflicts=True)


def take(using: str, owner: UUID, numbers: Collection[int], lease: float, *, only_well: bool = False) -> set[int]:
    """Lease the partitions ``numbers`` for ``lease`` seconds, as far as they are free; returns those.

    Args:
        using: Alias of the database.
        owner: For whom.
        numbers: The partitions.
        lease: For how long, in seconds.
        only_well: Leave out those that met with trouble last.
    """
    sql, params = taking(using, owner, list(numbers), lease, only_well=only_well)
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        return taken(using, owner, numbers, cursor.rowcount)


def taking(
    using: str, owner: UUID, numbers: list[int], lease: float, *, only_well: bool = False
) -> tuple[str, list[Any]]:
    """The statement of ``take``, and its parameters."""
    statement = _take(using, len(numbers), only_well=only_well)
    return statement.sql, statement.filled(using, owner=owner, numbers=numbers, lease=in_microseconds(lease))


def taken(using: str, owner: UUID, numbers: Collection[int], count: int) -> set[int]:
    """Those of the partitions that were leased, where so many were."""
    if count in {0, len(numbers)}:
        return set(numbers) if count else set()
    return _owned(using, owner, numbers)


@compiled
def _take(count: int, *, only_well: bool) -> Query:
    due = Q(retry_at__isnull=True) | Q(retry_at__lte=DatabaseNow())
    free = Partition.objects.filter(_is_free(), due, paused_at__isnull=True, number__in=arguments("numbers", count))
    if only_well:
        free = free.filter(failures=0)
    return update(free, owner=_OWNER, leased_until=_LEASED_UNTIL)


def reserve(using: str, owner: UUID, number: int, lease: float) -> bool:
    """Lease a partition for an operator, also one that is paused or let alone after trouble.

    If a relay holds it, no relay takes it again when that one's turn is over, for a moment. Then try again.

    Returns:
        Whether it is leased.
    """
    partition = Partition.objects.using(using).filter(number=number)
    if partition.filter(_is_free()).update(owner=owner, leased_until=from_now(lease)):
        return True
    soon = from_now(_RESERVED)
    partition.filter(Q(retry_at__isnull=True) | Q(retry_at__lt=soon)).update(retry_at=soon)
    return False


def unreserve(using: str, owner: UUID, numbers: Collection[int]) -> None:
    """Give back what was reserved, or waited for; relays may take it again at once, but for what met with trouble."""
    partitions = Partition.objects.using(using).filter(number__in=numbers)
    partitions.filter(failures=0).update(retry_at=None)
    partitions.filter(owner=owner).update(owner=None, leased_until=None)


def pause(using: str, numbers: Collection[int]) -> None:
    """Have no relay take the partitions until they are resumed."""
    Partition.objects.using(using).filter(number__in=numbers, paused_at__isnull=True).update(paused_at=DatabaseNow())


def resume(using: str, numbers: Collection[int]) -> None:
    """Let relays take the partitions again."""
    Partition.objects.using(using).filter(number__in=numbers).update(paused_at=None)


def leased(using: str, numbers: Collection[int]) -> set[int]:
    """Those of the partitions that somebody holds a lease on."""
    held = Partition.objects.using(using).filter(_is_leased(), number__in=numbers)
    return set(held.values_list("number", flat=True))


def renew(using: str, owner: UUID, numbers: Collection[int], lease: float) -> set[int]:
    """Have the leases last ``lease`` seconds from now; returns those that were not lost."""
    mine = Partition.objects.using(using).filter(owner=owner, number__in=numbers)
    renewed = mine.update(leased_until=from_now(lease))
    return set(numbers) if renewed == len(numbers) else _owned(using, owner, numbers)


def release(using: str, owner: UUID, numbers: Collection[int], *, retry_in: float | None = None) -> None:
    """Give the leases back. What was committed before and not seen is for whoever looks next: look once more.

    Args:
        using: Alias of the database.
        owner: Who holds the leases.
        numbers: The partitions.
        retry_in: For how many seconds nobody is to take them; None leaves that as it is.
    """
    if retry_in is None:
        _release(using, len(numbers)).count(using, owner=owner, numbers=list(numbers))
    else:
        mine = Partition.objects.using(using).filter(owner=owner, number__in=numbers)
        mine.update(owner=None, leased_until=None, retry_at=from_now(retry_in))


@compiled
def _release(count: int) -> Query:
    mine = Partition.objects.filter(owner=_OWNER, number__in=arguments("numbers", count))
    return update(mine, owner=None, leased_until=None)


def count_lost(using: str, numbers: Collection[int]) -> None:
    """Count leases that ran out under a relay that was at work."""
    Partition.objects.using(using).filter(number__in=numbers).update(lost=F("lost") + 1)


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
    retry_at = from_now(delay)
    return bool(mine.update(failures=F("failures") + 1, retry_at=retry_at, error=error))


def _is_leased() -> Q:
    return Q(owner__isnull=False, leased_until__gt=DatabaseNow())


def _is_free() -> Q:
    return Q(owner__isnull=True) | Q(leased_until__lte=DatabaseNow())


def _owned(using: str, owner: UUID, numbers: Collection[int]) -> set[int]:
    mine = Partition.objects.using(using).filter(owner=owner, number__in=numbers)
    return set(mine.values_list("number", flat=True))
