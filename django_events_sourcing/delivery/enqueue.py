"""Sending a task of ours to Celery's broker, from a process that must neither wait nor touch anything else."""

import os
import socket
from collections.abc import Container, Mapping, Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from celery import Celery
from kombu.connection import Connection
from kombu.pools import ProducerPool

from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery.celery_app import broker_problem, broker_url, is_eager, project_app
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.uris import each_host_once

__all__ = [
    "ENQUEUE_TIMEOUT",
    "OPERATION_TASK",
    "PUBLISH_TASK",
    "RELAY_TASK",
    "REPORT",
    "enqueue",
    "missing_tasks",
    "queue_length",
    "queue_of",
    "repr_of",
]

#: How long one operation on Celery's broker may take, in seconds, before it is given up; a request waits for it.
ENQUEUE_TIMEOUT = 2.0

#: The names of the task that relays a database, and of the one that publishes an event.
RELAY_TASK, PUBLISH_TASK = "django_events_sourcing.relay", "django_events_sourcing.publish_event"

#: That of the one that does what was asked for in Django's admin.
OPERATION_TASK = "django_events_sourcing.operation"

#: What a worker is asked by Celery's remote control.
REPORT = "django_events_sourcing_report"

_TASKS = "django_events_sourcing.tasks"

# What amqp sets by itself (amqp.transport.DEFAULT_SOCKET_SETTINGS), redis only where it is asked to: else a firewall
# would drop a connection that idles, and the first event after a calm would wait for a wake-up that got lost.
_KEEPALIVE = {
    getattr(socket, name): value
    for name, value in {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 9}.items()
    if hasattr(socket, name)
}

# By process: a forked one must neither use nor close the connections of its parent, so they stay in here. And by app,
# because to find out what its connection is like takes as long as to send a task.
_pools: dict[tuple[int, Celery], ProducerPool] = {}


def enqueue(name: str, *args: Any, app: Celery | None = None) -> None:
    """Have a worker run the task ``name``; with ``CELERY_TASK_ALWAYS_EAGER`` run it here and now.

    Args:
        name: A task of the library's own.
        args: Its arguments, JSON types.
        app: The Celery app; None for the project's as this thread knows it.

    Raises:
        ConfigurationError: The process has no Celery app, or the URL of its broker is malformed.
        Exception: Whatever Celery's broker or its client raises, after a few times ``ENQUEUE_TIMEOUT`` at most.
    """
    app = app or project_app()
    options: dict[str, Any] = {"queue": get_settings().queue, "serializer": "json", "argsrepr": repr_of(args)}
    if is_eager(app):
        import_module(_TASKS)  # Celery runs only what is registered, and a web process need not have loaded the tasks
        app.signature(name, args=args).apply_async(**options, retry=False)
        return
    retry_policy = each_host_once(broker_url(app))
    with _pool(app).acquire(block=True, timeout=ENQUEUE_TIMEOUT) as producer:  # type: ignore[no-untyped-call]
        # Task.apply_async would make the result backend, and subscribe to the result there
        app.send_task(
            name,
            args=args,
            producer=producer,
            ignore_result=True,
            result_cls=lambda _task_id: SimpleNamespace(),
            add_to_parent=False,
            retry=retry_policy["max_retries"] > 0,
            retry_policy=retry_policy,
            **options,
        )


def repr_of(args: Sequence[Any]) -> str:
    """What Celery's logs, events and monitors show of a task's arguments: of an event, neither body nor headers."""
    shown = [f"event {each['id']}" if isinstance(each, Mapping) and "body" in each else repr(each) for each in args]
    return f"({', '.join(shown)})"


def missing_tasks(names: Container[str]) -> list[str]:
    """Which of the library's tasks are not among these names."""
    return [name for name in (RELAY_TASK, PUBLISH_TASK, OPERATION_TASK) if name not in names]


def queue_of(name: str, app: Celery) -> str | None:
    """The queue that Celery sends a task of the library's to; None for an exchange, which has it go who knows where.

    Raises:
        ConfigurationError: The settings are wrong.
    """
    queue = app.amqp.router.route({"queue": get_settings().queue}, name).get("queue")
    return None if queue is None else str(queue.name)


def queue_length(queue: str, app: Celery) -> int:
    """How many tasks wait in a queue of Celery's; 0 where its broker doesn't say, or not to everybody.

    Raises:
        ConfigurationError, Exception: As ``enqueue``.
    """
    with _pool(app).acquire(block=True, timeout=ENQUEUE_TIMEOUT) as producer:  # type: ignore[no-untyped-call]
        try:
            return int(producer.channel.queue_declare(queue=queue, passive=True).message_count)
        except producer.connection.channel_errors:
            return 0


def _pool(app: Celery) -> ProducerPool:
    key = (os.getpid(), app)
    return _pools.get(key) or _pools.setdefault(key, _make_pool(app))


def _make_pool(app: Celery) -> ProducerPool:
    if problem := broker_problem(app):
        raise ConfigurationError(problem)
    limit = app.conf.broker_pool_limit
    connections = _bounded_connection(app).Pool(limit)  # type: ignore[no-untyped-call]
    return ProducerPool(connections, limit=limit)  # type: ignore[no-untyped-call]


def _bounded_connection(app: Celery) -> Connection:
    """A connection to Celery's broker that fails rather than waits, unless the project's own options say otherwise."""
    options = {
        "socket_timeout": ENQUEUE_TIMEOUT,
        "socket_connect_timeout": ENQUEUE_TIMEOUT,
        "socket_keepalive": True,
        "socket_keepalive_options": _KEEPALIVE,
        **each_host_once(broker_url(app)),  # kombu would otherwise try again for seconds
    }
    connection: Connection = app.connection_for_write(
        transport_options={**options, **app.conf.broker_transport_options}
    )
    return connection
