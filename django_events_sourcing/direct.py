"""The delivery "direct": after the commit, one Celery task an event."""

import logging
from functools import partial
from importlib import import_module

from celery import Celery, current_app
from django.db import transaction
from kombu import pools
from kombu.connection import Connection

from django_events_sourcing.conf import get_settings
from django_events_sourcing.events import Event

__all__ = ["ENQUEUE_TIMEOUT", "hand_over"]

#: How long one operation on Celery's broker may take, in seconds, before the event is given up; a request waits for it.
ENQUEUE_TIMEOUT = 2.0

_TASKS = "django_events_sourcing.tasks"

logger = logging.getLogger(__name__)


def hand_over(event: Event, using: str) -> None:
    """Enqueue the task that publishes ``event`` once the transaction in database ``using`` commits."""
    transaction.on_commit(partial(_enqueue, event), using=using, robust=True)


def _enqueue(event: Event) -> None:
    try:
        _send(current_app._get_current_object(), event)
    except Exception:
        logger.exception(
            "Event %s (%s, %s) is lost: it is committed, but Celery's broker did not take its task.",
            event.id,
            event.name,
            event.object,
        )


def _send(app: Celery, event: Event) -> None:
    options = {"queue": get_settings().queue, "serializer": "json", "retry": False}
    if app.conf.task_always_eager:
        import_module(_TASKS)  # Celery runs only what is registered, and a web process need not have loaded the tasks
    task = app.signature("django_events_sourcing.publish_event", args=[event.to_message()])
    if app.conf.task_always_eager:
        task.apply_async(**options)
        return
    with pools.producers[_bounded_connection(app)].acquire(block=True, timeout=ENQUEUE_TIMEOUT) as producer:
        task.apply_async(producer=producer, **options)


def _bounded_connection(app: Celery) -> Connection:
    """A connection to Celery's broker that fails rather than waits, unless the project's own options say otherwise."""
    options = {
        "socket_timeout": ENQUEUE_TIMEOUT,
        "socket_connect_timeout": ENQUEUE_TIMEOUT,
        "max_retries": 0,  # kombu would otherwise try again for seconds
    }
    connection: Connection = app.connection_for_write(
        transport_options={**options, **app.conf.broker_transport_options}
    )
    return connection
