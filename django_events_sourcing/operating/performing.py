"""What is asked for in one process, and done by a worker: replaying or burying many events takes its time."""

# Note [Operations are rows]
# Who asks writes a row, which holds the ids of all that was chosen, and sends a worker a task. If that gets lost, or
# the worker is killed, the row is still there: once a minute some worker takes up what nobody is at. Each portion is
# done once: what of it is done already, by whomever, is left out. `runner` is a fence: who was suspended, and comes
# back when another goes on with it, finds that out at the end of his portion, and counts nothing.

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID, uuid4

from django.db import DatabaseError, transaction
from django.db.models import F, Q, QuerySet

from django_events_sourcing.delivery.enqueue import OPERATION_TASK, enqueue
from django_events_sourcing.events import uuid7
from django_events_sourcing.exceptions import EventsSourcingError, OperationError
from django_events_sourcing.models import LogEntry, Operation
from django_events_sourcing.operating.operations import queued_row, reserved
from django_events_sourcing.operating.replay import put_back
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.clock import DatabaseNow, from_microseconds, from_now, known_moment
from django_events_sourcing.outbox.queries import Replayable
from django_events_sourcing.outbox.tables import raises_missing_tables
from django_events_sourcing.texts import without_passwords
from django_events_sourcing.types import Alias, SequenceNumber

__all__ = [
    "OperationState",
    "Request",
    "ask",
    "latest",
    "note",
    "perform",
    "perform_forgotten",
    "progress",
    "send",
    "stop",
]

logger = logging.getLogger(__name__)

# After so many seconds without a sign of life, another worker takes it up.
_FORGOTTEN = 60.0


@dataclass(frozen=True)
class OperationState:
    """An operation, and how far it has got.

    Attributes:
        id: Its id.
        kind: "replay", "bury", "pause", "resume" or "purge".
        what: What it is about, in words.
        who: Who asked for it.
        why: Why; empty where nobody said.
        state: "waiting" for a worker, "running", "ended" or "stopped".
        total: How many events it is about.
        looked_at: How many of them it has come to by now.
        done: How many of these it did something to; the others were pending already, say.
        asked: When it was asked for.
        ended: When it ended, None until then.
        error: What keeps it from going on, or who stopped it; empty when all is well.
    """

    id: UUID
    kind: str
    what: str
    who: str
    why: str
    state: str
    total: int
    looked_at: int
    done: int
    asked: datetime
    ended: datetime | None
    error: str


@dataclass(frozen=True)
class Request:
    """What somebody asks for.

    Attributes:
        kind: "replay" or "bury"; of what is only noted also "pause", "resume" or "purge".
        what: What it is about, in words.
        who: Who asks for it.
        why: Why.
    """

    kind: str
    what: str
    who: str
    why: str = ""


def ask(using: Alias, request: Request, sequences: Sequence[SequenceNumber]) -> OperationState:
    """Have a worker replay or bury events.

    It is a part of the transaction that it is called in. With ``CELERY_TASK_ALWAYS_EAGER`` it is done at the commit.

    Args:
        using: Alias of the database.
        request: What to do with them.
        sequences: Ids of the log, of the events in question. What may not be replayed or buried is left out.

    Raises:
        ConfigurationError: The database has no outbox.
        django.db.Error: It is in trouble.
    """
    if request.kind not in _PERFORMERS:
        raise ValueError(f"There is no operation {request.kind!r}: it is one of {', '.join(_PERFORMERS)}.")
    row = Operation(
        id=uuid7(),
        **vars(request),
        asked_at=DatabaseNow(),
        events=json.dumps(sorted(sequences)),
        total=len(sequences),
    )
    with raises_missing_tables(using), transaction.atomic(using=using):
        Operation.objects.using(using).bulk_create([row])
        transaction.on_commit(partial(send, using, row.id), using=using)
    return progress(using, row.id)


def note(using: Alias, request: Request, done: int = 0) -> None:
    """Keep who did what, where it is done already.

    Args:
        using: Alias of the database.
        request: What was done.
        done: To how many events.

    Raises:
        ConfigurationError: The database has no outbox.
        django.db.Error: It is in trouble.
    """
    now = DatabaseNow()
    row = Operation(id=uuid7(), **vars(request), asked_at=now, ended_at=now, total=done, position=done, done=done)
    with raises_missing_tables(using):
        Operation.objects.using(using).bulk_create([row])


def progress(using: Alias, operation_id: UUID) -> OperationState:
    """How far an operation has got.

    Raises:
        ConfigurationError: The database has no outbox.
        OperationError: It has no such operation.
        django.db.Error: It can't be asked.
    """
    with raises_missing_tables(using):
        row = _rows(using).filter(id=operation_id).first()
    if row is None:
        raise OperationError(f"Database {using!r} has no operation {operation_id}.")
    return _state(row)


def latest(using: Alias, limit: int) -> list[OperationState]:
    """The latest operations, the last one first.

    Raises:
        ConfigurationError: The database has no outbox.
        django.db.Error: It can't be asked.
    """
    with raises_missing_tables(using):
        return [_state(row) for row in _rows(using).order_by("-asked_at", "-id")[:limit]]


def stop(using: Alias, operation_id: UUID, who: str) -> bool:
    """Have an operation end after the portion that a worker may be at; the rest is not done.

    Returns:
        Whether it had not ended already.

    Raises:
        django.db.Error: The database is in trouble.
    """
    unended = Operation.objects.using(using).filter(id=operation_id, ended_at__isnull=True)
    return unended.update(ended_at=DatabaseNow(), events="", error=f"stopped by {who}") > 0


def perform(using: Alias, operation_id: UUID, stopping: Callable[[], bool] = lambda: False) -> bool:
    """Do what was asked for, or what is left of it, unless somebody is at it.

    What goes wrong is logged, and kept with it; it goes on after a minute.

    Args:
        using: Alias of the database.
        operation_id: Of the operation.
        stopping: Asked before each portion of events; once it says yes, the rest is left to whoever is asked next.

    Returns:
        Whether there is nothing left to do here: it has ended, or is another's.

    Raises:
        django.db.Error: The database is in trouble.
    """
    runner = uuid4()
    if not _unclaimed(using).filter(id=operation_id).update(runner=runner, seen_at=DatabaseNow()):
        return True
    mine = Operation.objects.using(using).filter(runner=runner)
    unended = mine.filter(ended_at__isnull=True)
    row = mine.get()
    sequences = json.loads(row.events)
    size, do = _PERFORMERS[row.kind]
    position = row.position
    try:
        while position < len(sequences):
            if stopping():
                return not unended.update(runner=None)
            portion = sequences[position : position + size]
            done = do(using, portion, row)
            position += len(portion)
            counted = mine.update(position=position, done=F("done") + done, seen_at=DatabaseNow())
            if not (counted and unended.update(error="")):
                return True  # another has taken it over, or somebody stopped it
    except (EventsSourcingError, DatabaseError) as exc:
        problem = without_passwords(exc)
        text = "The %s of %s, operation %s of database %r, goes on in a minute. %s"
        logger.warning(text, row.kind, row.what, row.id, using, problem, extra={"database": using})
        unended.update(error=problem, seen_at=DatabaseNow())
        return True
    unended.update(ended_at=DatabaseNow(), runner=None, events="")
    return True


def perform_forgotten(using: Alias, stopping: Callable[[], bool]) -> None:
    """Go on with operations that no worker is at: those that the task got lost of, or whose worker was killed.

    Raises:
        django.db.Error: The database is in trouble.
    """
    asked_before = _unclaimed(using).filter(asked_at__lt=from_now(-_FORGOTTEN))
    for operation_id in list(asked_before.order_by("asked_at").values_list("id", flat=True)):
        perform(using, operation_id, stopping)


def send(using: Alias, operation_id: UUID) -> None:
    """Tell a worker of an operation. If Celery's broker does not take that, it is logged; a worker finds it anyway."""
    try:
        enqueue(OPERATION_TASK, using, str(operation_id))
    except Exception as exc:  # noqa: BLE001 - whatever it is, the operation is there
        text = "Celery's broker did not take operation %s of database %r: a worker finds it within a minute or two. %s"
        logger.warning(text, operation_id, using, without_passwords(exc), extra={"database": using})


def _rows(using: Alias) -> QuerySet[Operation]:
    return Operation.objects.using(using).defer("events")


def _unclaimed(using: Alias) -> QuerySet[Operation]:
    nobody = Q(runner__isnull=True) | Q(seen_at__lt=from_now(-_FORGOTTEN))
    return Operation.objects.using(using).filter(nobody, ended_at__isnull=True)


def _state(row: Operation) -> OperationState:
    state = "waiting" if row.runner is None else "running"
    if row.ended_at is not None:
        state = "stopped" if row.error else "ended"
    return OperationState(
        id=row.id,
        kind=row.kind,
        what=row.what,
        who=row.who,
        why=row.why,
        state=state,
        total=row.total,
        looked_at=row.position,
        done=row.done,
        asked=from_microseconds(row.asked_at),
        ended=known_moment(row.ended_at),
        error=row.error,
    )


def _replay(using: Alias, sequences: list[SequenceNumber], _row: Operation) -> int:
    log = LogEntry.objects.using(using).filter(sequence__in=sequences).order_by("sequence")
    return put_back(using, [Replayable(*each) for each in log.values_list(*Replayable.COLUMNS)])


def _bury(using: Alias, sequences: list[SequenceNumber], row: Operation) -> int:
    log = LogEntry.objects.using(using).filter(sequence__in=sequences).order_by("sequence")
    queued = [queued_row(*each) for each in log.values_list("sequence", "object")]
    count = 0
    with reserved(using, {each.partition for each in queued}) as owner:
        for each in queued:
            found = queries.bury(using, owner, each, row.why, row.who)
            if found is None:
                raise OperationError(f"The lease on partition {each.partition} of database {using!r} ran out.")
            count += found
    return count


# How many events are a portion, and what is done to one.
_PERFORMERS: dict[str, tuple[int, Callable[[Alias, list[SequenceNumber], Operation], int]]] = {
    "replay": (500, _replay),
    "bury": (50, _bury),
}
