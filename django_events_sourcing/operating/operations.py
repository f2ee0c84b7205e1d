"""What operators do to a database's outbox: plain functions behind ``manage.py events``, for any other code, too."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from uuid import UUID, uuid4

from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery.waker import wake
from django_events_sourcing.exceptions import OperationError
from django_events_sourcing.models import LogEntry
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.leases import this_process
from django_events_sourcing.outbox.partitioning import PARTITIONS, object_hash, partition_of
from django_events_sourcing.outbox.queries import Queued
from django_events_sourcing.outbox.tables import raises_missing_tables
from django_events_sourcing.types import Alias, PartitionNumber, SequenceNumber

__all__ = [
    "ALL",
    "WITHOUT_DELAY",
    "bury",
    "end_backoff",
    "named_partitions",
    "pause",
    "queue_row",
    "queued_row",
    "reserved",
    "resume",
]

#: Every partition.
ALL = frozenset(range(PARTITIONS))

#: What is said of partitions that were resumed ``now``.
WITHOUT_DELAY = ", without its delay after trouble"

# Between two looks at whether a relay's turn is over, in seconds.
_POLL = 0.05

# How long after the end of the longest lease an operator's command still waits for it, in seconds.
_PATIENCE = 5.0


def pause(
    using: Alias,
    numbers: Collection[PartitionNumber] = ALL,
    *,
    why: str = "",
    who: str = "",
    stopping: Callable[[], bool] = lambda: False,
) -> bool:
    """Keep relays from partitions, until ``resume``. What is written meanwhile waits.

    Args:
        using: Alias of the database.
        numbers: The partitions.
        why: What is shown to whoever finds them paused.
        who: The same.
        stopping: Asked often; once it says yes, the end of the relays' turns is not awaited any longer.

    Returns:
        Whether the relays that were at work have ended their turns, so that nothing is on its way any more.

    Raises:
        ConfigurationError: The database has no outbox, or a setting is wrong.
        OperationError: There is no such partition.
        django.db.Error: It can't be asked.
    """
    with _prepared(using, numbers):
        queries.pause(using, numbers, why, who)
        ends = monotonic() + get_settings().lease + _PATIENCE
        while queries.leased(using, numbers):
            if stopping() or monotonic() > ends:
                return False
            sleep(_POLL)
    return True


def resume(using: Alias, numbers: Collection[PartitionNumber] = ALL, *, now: bool = False) -> None:
    """Let relays publish again what is in the partitions.

    Args:
        using: Alias of the database.
        numbers: The partitions.
        now: Also what waits after trouble. A worker whose circuit is open goes on when its next attempt is due.

    Raises:
        ConfigurationError: The database has no outbox, or a setting is wrong.
        OperationError: There is no such partition.
        django.db.Error: It can't be asked.
    """
    with _prepared(using, numbers):
        queries.resume(using, numbers)
        if now:
            queries.end_backoff(using, numbers)
    wake(using)


def end_backoff(using: Alias, numbers: Collection[PartitionNumber] = ALL) -> None:
    """Have what waits after trouble be due at once, as after a repair; it wakes nobody.

    Args:
        using: Alias of the database.
        numbers: The partitions.

    Raises:
        ConfigurationError: The database has no outbox, or a setting is wrong.
        OperationError: There is no such partition.
        django.db.Error: It can't be asked.
    """
    with _prepared(using, numbers):
        queries.end_backoff(using, numbers)


def bury(using: Alias, event_id: UUID, why: str, who: str = "") -> None:
    """Take an event that stands in the way out of it, as dead: it is not published, and holds back no other.

    Args:
        using: Alias of the database.
        event_id: Of the event, which is pending or dead.
        why: What is kept with it, beside the error that it was refused with.
        who: The same.

    Raises:
        ConfigurationError: The database has no outbox, or a setting is wrong.
        OperationError: There is no such event, it was published, or its partition can't be had.
        django.db.Error: The database can't be asked.
    """
    with raises_missing_tables(using):
        row = queue_row(using, event_id)
        with reserved(using, {row.partition}) as owner:
            found = queries.bury(using, owner, row, why, who)
    if found is None:
        raise OperationError(f"Event {event_id} was not buried: the lease on its partition ran out. Try again.")
    if not found:
        raise OperationError(f"Event {event_id} has been published: there is nothing to bury.")


def named_partitions(numbers: Collection[PartitionNumber]) -> str:
    """What they are called, "partitions 3, 5"."""
    if len(set(numbers)) == PARTITIONS:
        return "all partitions"
    return f"partition{'s' if len(numbers) > 1 else ''} {', '.join(map(str, sorted(numbers)))}"


def queue_row(using: Alias, event_id: UUID) -> Queued:
    """Where an event is in the queue, if it is there.

    Raises:
        OperationError: The log has no such event.
    """
    found = LogEntry.objects.using(using).filter(event_id=event_id).values_list("sequence", "object").first()
    if found is None:
        raise OperationError(f"The log of database {using!r} has no event {event_id}.")
    return queued_row(*found)


def queued_row(sequence: SequenceNumber, key: str) -> Queued:
    """Where the event of an object is in the queue, if it is there."""
    return Queued(partition_of(key), sequence, object_hash(key), object=key)


@contextmanager
def reserved(using: Alias, numbers: Collection[PartitionNumber]) -> Iterator[UUID]:
    """Hold partitions between the turns of relays, so that nothing in them is on its way.

    Yields:
        The owner of their leases.

    Raises:
        OperationError: They can't be had, as a relay holds on to them.
    """
    queries.ensure_partitions(using)
    owner, holder, lease = uuid4(), f"a command, {this_process()}", get_settings().lease
    ends = monotonic() + lease + _PATIENCE
    asked_for: list[PartitionNumber] = []
    try:
        for number in sorted(numbers):  # the same way for all, so that no two wait for each other
            asked_for.append(number)
            while not queries.reserve(using, owner, number, lease, holder):
                if monotonic() > ends:
                    raise OperationError(
                        f"Partition {number} of database {using!r} could not be leased: a relay holds it. Nothing was "
                        "done; `manage.py events status` shows for how long."
                    )
                if held := asked_for[:-1]:
                    queries.renew(using, owner, held, lease)
                sleep(_POLL)
        yield owner
    finally:
        queries.unreserve(using, owner, asked_for)
        wake(using)  # whatever came of it: relays that were woken meanwhile have been turned away


@contextmanager
def _prepared(using: Alias, numbers: Collection[PartitionNumber]) -> Iterator[None]:
    if unknown := sorted(set(numbers) - ALL):
        raise OperationError(f"There is no partition {unknown[0]}: they are numbered 0 to {PARTITIONS - 1}.")
    with raises_missing_tables(using):
        queries.ensure_partitions(using)
        yield
