"""Who may publish the events of which partition, and until when."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import F, Q
from django.db.models.functions import Coalesce

from django_events_sourcing.models import Partition
from django_events_sourcing.outbox.clock import MICROSECONDS, DatabaseNow, from_now, in_microseconds
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.outbox.queries.common import PURGE, WELL, to_uuid
from django_events_sourcing.outbox.sql import (
    LOOK,
    ONLY_WELL,
    RELEASE,
    TAKE,
    execute,
    rows,
    sql,
    waits,
    whole_numbers,
)
from django_events_sourcing.types import Alias, PartitionNumber

__all__ = [
    "PartitionState",
    "back_off",
    "count_lost",
    "end_backoff",
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
    "unreserve",
]

# How long a partition that an operator waits for is kept from relays, in seconds; he asks again well within that.
_RESERVED = 1.0


@dataclass(frozen=True, slots=True)
class PartitionState:
    """A partition as a relay sees it that looks for work.

    Attributes:
        owner: Who holds the lease, None when nobody does.
        is_due: Whether it has an event that may be published now.
        failures: How often in a row it met with trouble.
        retry_in: After how many seconds it is due, where it has an event, but backs off.
    """

    number: PartitionNumber
    owner: UUID | None
    is_due: bool
    failures: int
    retry_in: float | None = None


def look(using: Alias, *, dead_blocks: bool) -> list[PartitionState]:
    """Which partitions there is work in, and who is at it."""
    statement = sql(using, LOOK, partitions=PARTITIONS, waits=sql(using, waits(dead_blocks=dead_blocks)))
    found = rows(using, statement, {})
    if len(found) < PARTITIONS:  # the first look of all, or the table was emptied
        ensure_partitions(using)
        found = rows(using, statement, {})
    states = []
    for number, owner, failures, first, leased, paused, retry_in in found:
        has_work = first is not None and not paused
        states.append(
            PartitionState(
                number,
                to_uuid(owner) if leased else None,
                is_due=has_work and retry_in is None,
                failures=failures,
                retry_in=retry_in / MICROSECONDS if has_work and retry_in is not None else None,
            )
        )
    return states


def ensure_partitions(using: Alias) -> None:
    """Have a row for each partition. What it holds is no part of what happened: one that was lost is made anew."""
    if Partition.objects.using(using).count() <= PURGE:
        every = [Partition(number=number) for number in (*range(PARTITIONS), PURGE)]
        Partition.objects.using(using).bulk_create(every, ignore_conflicts=True)


def take(  # noqa: PLR0913
    using: Alias,
    owner: UUID,
    numbers: Collection[PartitionNumber],
    lease: float,
    *,
    holder: str = "",
    only_well: bool = False,
) -> set[PartitionNumber]:
    """Lease the partitions ``numbers`` for ``lease`` seconds, as far as they are free; returns those.

    Args:
        using: Alias of the database.
        owner: For whom.
        numbers: The partitions.
        lease: For how long, in seconds.
        holder: Who that is, for people.
        only_well: Leave out those that met with trouble last.
    """
    those, params = whole_numbers(using, "numbers", numbers)
    statement = sql(using, TAKE, numbers=those, only_well=ONLY_WELL if only_well else "")
    params |= {"owner": _owner(using, owner), "holder": holder, "lease": in_microseconds(lease)}
    taken = execute(using, statement, params)
    return set(numbers) if taken == len(numbers) else _owned(using, owner, numbers) if taken else set()


def reserve(using: Alias, owner: UUID, number: PartitionNumber, lease: float, holder: str = "") -> bool:
    """Lease a partition for an operator, also one that is paused or backs off.

    If a relay holds it, no relay takes it again when that one's turn is over, for a moment. Then try again.

    Returns:
        Whether it is leased.
    """
    partition = Partition.objects.using(using).filter(number=number)
    if partition.filter(_is_free()).update(owner=owner, holder=holder, leased_until=from_now(lease)):
        return True
    soon = from_now(_RESERVED)
    partition.filter(Q(retry_at__isnull=True) | Q(retry_at__lt=soon)).update(retry_at=soon)
    return False


def unreserve(using: Alias, owner: UUID, numbers: Collection[PartitionNumber]) -> None:
    """Give back what was reserved, or waited for; relays may take it again at once, but for what met with trouble."""
    partitions = Partition.objects.using(using).filter(number__in=numbers)
    partitions.filter(failures=0).update(retry_at=None)
    partitions.filter(owner=owner).update(owner=None, leased_until=None)


def pause(using: Alias, numbers: Collection[PartitionNumber], why: str, who: str) -> None:
    """Have no relay take the partitions until they are resumed; one that is paused already stays as it was."""
    running = Partition.objects.using(using).filter(number__in=numbers, paused_at__isnull=True)
    running.update(paused_at=DatabaseNow(), paused_by=who, paused_why=why)


def resume(using: Alias, numbers: Collection[PartitionNumber]) -> None:
    """Let relays take the partitions again."""
    Partition.objects.using(using).filter(number__in=numbers).update(paused_at=None, paused_by=None, paused_why=None)


def end_backoff(using: Alias, numbers: Collection[PartitionNumber]) -> None:
    """Let relays take the partitions though they met with trouble a moment ago."""
    Partition.objects.using(using).filter(number__in=numbers, retry_at__isnull=False).update(retry_at=None)


def leased(using: Alias, numbers: Collection[PartitionNumber]) -> set[PartitionNumber]:
    """Those of the partitions that somebody holds a lease on."""
    held = Partition.objects.using(using).filter(_is_leased(), number__in=numbers)
    return set(held.values_list("number", flat=True))


def renew(using: Alias, owner: UUID, numbers: Collection[PartitionNumber], lease: float) -> set[PartitionNumber]:
    """Have the leases last ``lease`` seconds from now; returns those that were not lost."""
    mine = Partition.objects.using(using).filter(owner=owner, number__in=numbers)
    renewed = mine.update(leased_until=from_now(lease))
    return set(numbers) if renewed == len(numbers) else _owned(using, owner, numbers)


def release(using: Alias, owner: UUID, numbers: Collection[PartitionNumber], *, retry_in: float | None = None) -> None:
    """Give the leases back. What was committed before and not seen is for whoever looks next: look once more.

    Args:
        using: Alias of the database.
        owner: Who holds the leases.
        numbers: The partitions.
        retry_in: For how many seconds nobody is to take them; None leaves that as it is.
    """
    if retry_in is None:
        those, params = whole_numbers(using, "numbers", numbers)
        execute(using, sql(using, RELEASE, numbers=those), {**params, "owner": _owner(using, owner)})
    else:
        mine = Partition.objects.using(using).filter(owner=owner, number__in=numbers)
        mine.update(owner=None, leased_until=None, retry_at=from_now(retry_in))


def count_lost(using: Alias, numbers: Collection[PartitionNumber]) -> None:
    """Count leases that ran out under a relay that was at work."""
    Partition.objects.using(using).filter(number__in=numbers).update(lost=F("lost") + 1)


def recovered(using: Alias, owner: UUID, numbers: Collection[PartitionNumber], rest_in: float | None = None) -> None:
    """Forget the trouble of partitions that events were published from; others need not wait for its end any longer.

    Args:
        using: Alias of the database.
        owner: Who holds the leases.
        numbers: The partitions.
        rest_in: After how many seconds the others are tried again, if not at once.
    """
    mine = Partition.objects.using(using).filter(owner=owner, number__in=numbers)
    mine.update(**WELL)
    if rest_in is None:
        end_backoff(using, range(PARTITIONS))
    else:
        later = Partition.objects.using(using).filter(number__lt=PARTITIONS, retry_at__gt=from_now(rest_in))
        later.update(retry_at=from_now(rest_in))


def back_off(  # noqa: PLR0913
    using: Alias, owner: UUID, number: PartitionNumber, delay: float, error: str, *, anew: bool = False
) -> bool:
    """Have a partition back off for ``delay`` seconds after trouble, which costs no event an attempt.

    Args:
        using: Alias of the database.
        owner: Who holds the lease.
        number: The partition.
        delay: For how long, in seconds.
        error: What the trouble is.
        anew: Whether it counts as the first in a row.

    Returns:
        False if the lease was lost: then this is for its new holder to say.
    """
    mine = Partition.objects.using(using).filter(owner=owner, number=number)
    since = Coalesce("failing_since", DatabaseNow())
    failures = 1 if anew else F("failures") + 1
    return bool(mine.update(failures=failures, failing_since=since, retry_at=from_now(delay), error=error))


def _is_leased() -> Q:
    return Q(owner__isnull=False, leased_until__gt=DatabaseNow())


def _is_free() -> Q:
    return Q(owner__isnull=True) | Q(leased_until__lte=DatabaseNow())


def _owned(using: Alias, owner: UUID, numbers: Collection[PartitionNumber]) -> set[PartitionNumber]:
    mine = Partition.objects.using(using).filter(owner=owner, number__in=numbers)
    return set(mine.values_list("number", flat=True))


def _owner(using: Alias, owner: UUID) -> Any:
    return Partition._meta.get_field("owner").get_db_prep_value(owner, connections[using])
