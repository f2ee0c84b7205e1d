"""An event that goes the whole way, and is nobody's: through table, wake-up, relay and RabbitMQ, and back."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from django.db import Error, transaction
from django.db.models import Q, QuerySet

from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery.celery_app import is_eager, project_app
from django_events_sourcing.delivery.enqueue import RELAY_TASK, enqueue
from django_events_sourcing.doctor.findings import Finding, Item, Level
from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import EventsSourcingError, PublishError
from django_events_sourcing.models import Failure, LogEntry, Partition, QueueEntry
from django_events_sourcing.operating.operations import queue_row, reserved
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.clock import DatabaseNow
from django_events_sourcing.outbox.partitioning import PARTITIONS, partition_of
from django_events_sourcing.outbox.queries.common import delete
from django_events_sourcing.tasks.access import TemporaryQueue, temporary_queue
from django_events_sourcing.texts import without_passwords
from django_events_sourcing.types import Alias

__all__ = ["send_canary"]

# How long it may take to be settled after it has arrived, in seconds.
_SETTLED_WITHIN = 5.0

# An event that a wake-up was sent for takes less, in seconds; else a sweep found it.
_WOKEN_WITHIN = 2.0

# Between two looks at its row, in seconds.
_POLL = 0.005

# Where it passes.
_HOPS = ("table", "wake-up", "relay and RabbitMQ", "settled")

_NAME = "doctor__canary"


def send_canary(alias: Alias, within: float) -> Iterator[Finding]:
    """Have an event go through database ``alias``, to a queue of its own, and take away what is left of it.

    It is counted as published.

    Args:
        alias: Of the database.
        within: How long it may take, in seconds.
    """
    try:
        settings = get_settings()
        if settings.delivery != "outbox" or is_eager(project_app()):
            text = "None is sent: the events of this process do not go through the outbox and a worker."
            yield Finding(Item.CANARY, Level.OK, text, database=alias)
            return
        with temporary_queue(settings) as queue:
            yield _flown(alias, settings.service_name or _NAME, queue, within)
    except PublishError as exc:
        hint = "RabbitMQ must answer, and allow the user to declare and read a queue of its own (amq.gen-…)."
        yield Finding(Item.CANARY, Level.FAILING, f"It cannot be awaited: {exc}", hint, alias)
    except (EventsSourcingError, Error) as exc:
        problem = f"It failed: {type(exc).__name__}: {without_passwords(exc)}"
        hint = "The error says what to do. If the event stays in the queue, `manage.py events bury` takes it out."
        yield Finding(Item.CANARY, Level.FAILING, problem, hint, alias)


def _flown(alias: Alias, service: str, queue: TemporaryQueue, within: float) -> Finding:
    key = _key(alias)
    if key is None:
        text = "None is sent: every partition is paused, or waits after trouble."
        return Finding(Item.CANARY, Level.WARNING, text, "`manage.py events status` says why.", alias)
    event = Event(name=_NAME, service=service, object=key, body="{}")
    moments = [time.monotonic()]
    with _taken_away(alias, event):
        with transaction.atomic(using=alias):
            queries.insert(alias, [event])
            row = queue_row(alias, event.id)
            mine = QueueEntry.objects.using(alias).filter(partition=row.partition, sequence=row.sequence)
            mine.update(replay_to=queue.name, queued_at=DatabaseNow())
        moments.append(time.monotonic())
        try:
            enqueue(RELAY_TASK, alias, [row.partition], int(time.time()))
        except Exception as exc:  # noqa: BLE001 - whatever the transport raises; the sweep may find it
            unsent = f" Its wake-up was not sent: {type(exc).__name__}: {without_passwords(exc)}."
        else:
            unsent = ""
        moments.append(time.monotonic())
        has_arrived = queue.wait_for(str(event.id), within)
        moments.append(time.monotonic())
        if not has_arrived:
            error = Failure.objects.using(alias).filter(sequence=row.sequence).values_list("error", flat=True).first()
            because = f" RabbitMQ refused it: {error}." if error else ""
            return Finding(
                Item.CANARY,
                Level.FAILING,
                f"It was saved, and has not come back from RabbitMQ within {within:g} s.{unsent}{because}",
                "What fails above says why. If nothing does, workers are busy, or have another database or RabbitMQ.",
                alias,
            )
        is_settled = _is_gone(mine, _SETTLED_WITHIN)
        moments.append(time.monotonic())
    took = {hop: ends - begins for hop, begins, ends in zip(_HOPS, moments, moments[1:], strict=False)}
    text = f"It came back: {', '.join(f'{hop} {1000 * seconds:.0f} ms' for hop, seconds in took.items())}.{unsent}"
    level, hint = Level.OK, ""
    if not is_settled:
        level, hint = Level.WARNING, "Its row is still in the queue: see what holds up the database."
    elif unsent or took["relay and RabbitMQ"] > _WOKEN_WITHIN:
        level = Level.WARNING
        hint = "A sweep found it, and no wake-up: check Celery's broker and queue, or run more workers."
    return Finding(Item.CANARY, level, text, hint, alias, took)


def _key(alias: Alias) -> str | None:
    """An object that nobody has, in a partition where events go out."""
    queries.ensure_partitions(alias)
    waits = Q(paused_at__isnull=False) | Q(retry_at__gt=DatabaseNow())
    partitions = Partition.objects.using(alias).filter(number__lt=PARTITIONS).exclude(waits)
    free = set(partitions.values_list("number", flat=True))
    keys = (f"doctor.canary:{uuid4()}" for _ in range(PARTITIONS**2))
    return next((key for key in keys if partition_of(key) in free), None)


@contextmanager
def _taken_away(alias: Alias, event: Event) -> Iterator[None]:
    """Whatever becomes of the event within it, nothing is left of it."""
    try:
        yield
    finally:
        sequences = list(LogEntry.objects.using(alias).filter(event_id=event.id).values_list("sequence", flat=True))
        partition = partition_of(event.object)
        mine = QueueEntry.objects.using(alias).filter(partition=partition, sequence__in=sequences)
        if mine.exists():
            with reserved(alias, {partition}):  # between two turns of relays, so that it is not on its way
                delete(mine, alias)
        delete(Failure.objects.using(alias).filter(sequence__in=sequences), alias)
        delete(LogEntry.objects.using(alias).filter(sequence__in=sequences), alias)


def _is_gone(rows: QuerySet[QueueEntry], within: float) -> bool:
    ends = time.monotonic() + within
    while rows.exists():
        if time.monotonic() > ends:
            return False
        time.sleep(_POLL)
    return True
