"""How one event stands, and what it waits for."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django_events_sourcing.conf import get_settings
from django_events_sourcing.events import Event
from django_events_sourcing.models import Failure, LogEntry, Partition, QueueEntry
from django_events_sourcing.operating.listing import NO_FAILURE, state_of
from django_events_sourcing.operating.operations import queue_row
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.clock import DatabaseNow, known_moment, seconds_until
from django_events_sourcing.outbox.dialects import Letters
from django_events_sourcing.outbox.queries import Queued
from django_events_sourcing.outbox.queries.common import waiting_failures
from django_events_sourcing.outbox.tables import raises_missing_tables
from django_events_sourcing.texts import by_and_why, counted
from django_events_sourcing.types import Alias, Microseconds, PartitionNumber

__all__ = ["EventState", "facts", "inspect"]


@dataclass(frozen=True)
class EventState:
    """One event of the log.

    Attributes:
        event: The event; of its body as much as was asked for.
        body_length: How many characters its body has.
        state: "pending", "refused" (pending, to be tried again), "dead", "buried" or "published".
        partition: The number of its partition.
        attempts: How often it was refused.
        error: Why it was refused last; empty when it was not.
        dead_since: When it was found dead, None when it is not.
        buried_since: When it was buried, None when it is not.
        buried_by: By whom; empty where that is not known.
        buried_why: Why.
        waits_for: What keeps it from being published, the most decisive first; empty when it isn't pending.
    """

    event: Event
    body_length: int
    state: str
    partition: PartitionNumber
    attempts: int
    error: str
    dead_since: datetime | None
    buried_since: datetime | None
    buried_by: str
    buried_why: str
    waits_for: list[str]


def inspect(using: Alias, event_id: UUID, *, characters: int | None = None) -> EventState:
    """How the event stands.

    Args:
        using: Alias of the database.
        event_id: Of the event.
        characters: How much of its body to read; None for all of it.

    Raises:
        ConfigurationError: The database has no outbox, or a setting is wrong.
        OperationError: The log has no such event.
        django.db.Error: The database can't be asked.
    """
    with raises_missing_tables(using):
        row = queue_row(using, event_id)
        queries.ensure_partitions(using)
        partition = Partition.objects.using(using).annotate(now=DatabaseNow()).get(number=row.partition)
        now = partition.now
        failure = Failure.objects.using(using).filter(sequence=row.sequence).first()
        is_pending = QueueEntry.objects.using(using).filter(partition=row.partition, sequence=row.sequence).exists()
        event, body_length = queries.load(using, row.sequence, characters)
        known = failure or NO_FAILURE
        return EventState(
            event=event,
            body_length=body_length,
            state=state_of(failure, is_pending=is_pending),
            partition=row.partition,
            attempts=known.attempts,
            error=known.error,
            dead_since=known_moment(known.dead_at),
            buried_since=known_moment(known.buried_at),
            buried_by=known.buried_by or "",
            buried_why=known.buried_why or "",
            waits_for=_waits_for(using, partition, row, now) if is_pending else [],
        )


def facts(using: Alias, state: EventState) -> dict[str, str | list[str]]:
    """What there is to tell about an event of database ``using``, but for what it holds: each by its name for people.

    A fact is a line, or several; what isn't so, or not known, is left out.
    """
    event = state.event
    told: dict[str, str | list[str]] = {
        "state": state.state,
        "waits for": state.waits_for,
        "name": event.name,
        "service": event.service,
        "object": event.object,
        "time": event.time.isoformat(),
        "sequence": f"{event.sequence} in partition {state.partition} of database {using!r}",
        "attempts refused": str(state.attempts or ""),
        "last error": state.error,
        "dead since": state.dead_since.isoformat() if state.dead_since else "",
        "buried since": state.buried_since.isoformat() if state.buried_since else "",
        "buried by": state.buried_by,
        "buried because": state.buried_why,
    }
    return {name: value for name, value in told.items() if value}


def _waits_for(using: Alias, partition: Partition, row: Queued, now: Microseconds) -> list[str]:
    reasons = [*_partition_says(partition, now), *_object_says(using, row, now)]
    return reasons or ["it is due: the next wake-up or sweep takes it"]


def _partition_says(partition: Partition, now: Microseconds) -> list[str]:
    reasons = []
    if partition.paused_at is not None:
        whose = by_and_why(partition.paused_by or "", partition.paused_why or "")
        reasons.append(f"partition {partition.number} is paused{whose}; `manage.py events resume` lets it go on")
    if seconds := seconds_until(partition.retry_at, now):
        trouble = f" after trouble: {partition.error}" if partition.error else ""
        reasons.append(f"partition {partition.number} backs off for {seconds:.1f} s more{trouble}")
    if partition.owner and (seconds := seconds_until(partition.leased_until, now)):
        reasons.append(f"a relay is at work on partition {partition.number}, for {seconds:.1f} s more at most")
    return reasons


def _object_says(using: Alias, row: Queued, now: Microseconds) -> list[str]:
    reasons = []
    waiting = waiting_failures(dead_blocks=get_settings().dead_blocks_object).using(using)
    of_hash = waiting.filter(partition=row.partition, object_hash=row.object_hash)
    failures = [failure for failure in of_hash if failure.object in {None, row.object}]
    log = LogEntry.objects.using(using)
    ids = dict(log.filter(sequence__in=[each.sequence for each in failures]).values_list("sequence", "event_id"))
    for failure in failures:
        which = "it" if failure.sequence == row.sequence else f"event {ids.get(failure.sequence)} of its object"
        if failure.dead_at is not None:
            reasons.append(f"{which} is dead, and DEAD_BLOCKS_OBJECT is set: replay it, or bury it")
        elif seconds := seconds_until(failure.retry_at, now):
            reasons.append(f"{which} was refused {counted(failure.attempts, 'time')}; next attempt in {seconds:.1f} s")
    queue = QueueEntry.objects.using(using).filter(partition=row.partition, object_hash=row.object_hash)
    before = log.filter(sequence__in=queue.filter(sequence__lt=row.sequence).values("sequence"))
    if earlier := before.alias(letters=Letters("object")).filter(letters=row.object).count():
        reasons.append(f"{counted(earlier, 'earlier event')} of its object {'is' if earlier == 1 else 'are'} pending")
    return reasons
