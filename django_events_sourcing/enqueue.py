"""Sending a task of ours to Celery's broker, from a process that must neither wait nor touch anything else."""

import os
import socket
from functools import lru_cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from celery import Celery, _state
from celery.signals import after_task_publish, before_task_publish, task_sent
from celery.utils import uuid
from celery.utils.saferepr import saferepr
from django.apps import apps
from django.core.signals import setting_changed
from kombu.connection import Connection
from kombu.pools import ProducerPool

from django_events_sourcing.conf import get_settings
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.uris import uri_problem

__all__ = ["ENQUEUE_TIMEOUT", "broker_problem", "current_project_app", "enqueue", "is_eager", "project_app"]

#: How long one operation on Celery's broker may take, in seconds, before it is given up; a request waits for it.
ENQUEUE_TIMEOUT = 2.0

_TASKS = "django_events_sourcing.tasks"

# What amqp asks for by itself (amqp.transport.DEFAULT_SOCKET_SETTINGS), redis only where it is told to: else a firewall
# would drop a connection that idles, and the first event after a calm would wait for a wake-up that got lost.
_KEEPALIVE = {
    getattr(socket, name): value
    for name, value in {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 9}.items()
    if hasattr(socket, name)
}


def enqueue(name: str, *args: Any, app: Celery | None = None) -> None:
    """Have a worker run the task ``name``; with ``CELERY_TASK_ALWAYS_EAGER`` run it here and now.

    Args:
        name: A task of the library's own.
        args: Its arguments, JSON types.
        app: The Celery app; None for the project's as this thread knows it.

    Raises:
        ConfigurationError: The process has no Celery app.
        Exception: Whatever Celery's broker or its client raises, after a few times ``ENQUEUE_TIMEOUT`` at most.
    """
    app = app or project_app()
    options: dict[str, Any] = {"queue": get_settings().queue, "serializer": "json", "retry": False}
    if is_eager(app):
        import_module(_TASKS)  # Celery runs only what is registered, and a web process need not have loaded the tasks
        app.signature(name, args=args).apply_async(**options)
        return
    _sender(app).send(name, args, options)


# Note [Celery's message]
# Between a task's name and arguments and the message, Celery asks its configuration, routers, queues and signals, which
# takes it longer than to send the message does; and a wake-up's is the same each time, but for its id and arguments.
# So Celery makes the first, and the next ones are made after it. Not where somebody has a part in each: a receiver of
# Celery's signals, a monitor of the events `task-sent`, a tracer that adds headers, or a task that is running, which
# would be the parent.


class _Sender:
    """Sends tasks to the broker of one app, in one process."""

    def __init__(self, app: Celery) -> None:
        if problem := broker_problem(app):
            raise ConfigurationError(problem)
        self._app = app
        limit = app.conf.broker_pool_limit
        connections = _bounded_connection(app).Pool(limit)  # type: ignore[no-untyped-call]
        self._producers = ProducerPool(connections, limit=limit)  # type: ignore[no-untyped-call]
        self._is_monitored = bool(app.conf.task_send_sent_event)
        self._first: dict[tuple[str, str], dict[str, Any]] = {}
        self._declared: WeakSet[Any] = WeakSet()

    def send(self, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Send one. See Note [Celery's message].

        Args:
            name: Of the task.
            args: Its arguments.
            options: As of ``send_task``.
        """
        key = (name, options["queue"])
        with self._producers.acquire(block=True, timeout=ENQUEUE_TIMEOUT) as producer:  # type: ignore[no-untyped-call]
            if self._is_monitored or any(signal.receivers for signal in _SIGNALS) or self._app.current_worker_task:
                self._send_by_celery(producer, name, args, options)
            elif key in self._first:
                self._send_after(self._first[key], producer, args)
            else:
                recorder = _Recorder(producer)
                self._send_by_celery(recorder, name, args, options)
                its_own = self._app.amqp.as_task_v2("", name)
                if recorder.published["headers"].keys() == its_own.headers.keys():
                    self._first[key] = recorder.published

    def _send_by_celery(self, producer: Any, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        # Task.apply_async would make the result backend, and subscribe to the result there
        self._app.send_task(
            name,
            args=args,
            producer=producer,
            ignore_result=True,
            result_cls=lambda _task_id: SimpleNamespace(),
            add_to_parent=False,
            **options,
        )

    def _send_after(self, first: dict[str, Any], producer: Any, args: tuple[Any, ...]) -> None:
        task_id = uuid()
        shown = repr(args)
        if len(shown) > (most := self._app.amqp.argsrepr_maxsize):
            shown = saferepr(args, most)
        headers = {**first["headers"], "id": task_id, "root_id": task_id, "argsrepr": shown}
        message = {**first, "body": (args, *first["body"][1:]), "headers": headers, "correlation_id": task_id}
        channel = producer.channel
        if channel in self._declared:
            message["declare"] = None
        else:
            _keep_clients(channel)
        producer.publish(**message)
        self._declared.add(channel)


def _keep_clients(channel: Any) -> None:
    # kombu makes one of redis-py's clients for each message, which takes as long as to send it; one for a pool will do
    if make := vars(channel).get("Client"):
        channel.Client = lru_cache(maxsize=2)(make)


_SIGNALS = (before_task_publish, after_task_publish, task_sent)


class _Recorder:
    """A producer that keeps what it was last asked to publish."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self.published: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def publish(self, body: Any, **options: Any) -> Any:
        """Publish it."""
        self.published = {"body": body, **options}
        return self._producer.publish(body, **options)


# What `task_always_eager` of the settings says, by app: Celery takes 40 us to look it up.
_eager_by_settings: WeakKeyDictionary[Celery, bool] = WeakKeyDictionary()


def is_eager(app: Celery) -> bool:
    """Whether tasks are run here and now."""
    set_later: bool | None = app.conf.changes.get("task_always_eager")
    if set_later is not None:
        return set_later
    if app not in _eager_by_settings:
        _eager_by_settings[app] = bool(app.conf.task_always_eager)
    return _eager_by_settings[app]


def _forget(*, setting: str, **_kwargs: object) -> None:
    if setting.lower().endswith("task_always_eager"):  # after the project's prefix
        _eager_by_settings.clear()


setting_changed.connect(_forget, dispatch_uid="django_events_sourcing.enqueue")


def project_app() -> Celery:
    """The project's Celery app: this thread's, or that which was there when Django started.

    Raises:
        ConfigurationError: There is none. Celery's own fallback would send the task to a RabbitMQ on localhost.
    """
    config: Any = apps.get_app_config("django_events_sourcing")
    app = current_project_app()
    if app is None:
        app = config.celery_app
    elif config.celery_app is None:
        config.celery_app = app
    if app is None:
        raise ConfigurationError(
            "This process has no Celery app: import it in <project>/__init__.py, as Celery's 'First steps with Django' "
            "shows."
        )
    return app


def current_project_app() -> Celery | None:
    """This thread's Celery app, None for the fallback that Celery makes for threads without one.

    Celery's ``current_app`` would make that fallback, and keep the project's own app from being the default.
    """
    app: Celery | None = _state._tls.current_app or _state.default_app  # noqa: SLF001 - there is no other way
    if app is None or (app.main == "default" and not app.conf.broker_url):
        return None
    return app


def broker_problem(app: Celery) -> str | None:
    """What is wrong with the URI of Celery's broker, None if nothing is. No part of the URI is in it."""
    # one whose scheme is the path of a transport class is Celery's to read
    uri = app.conf.broker_write_url or app.conf.broker_url
    if not uri or app.conf.broker_transport or (isinstance(uri, str) and ":" in uri.partition("://")[0]):
        return None
    problem = uri_problem(uri, needs_host=False)
    return f"Celery's broker URL (CELERY_BROKER_URL) {problem}." if problem else None


# By process: a forked one must neither use nor close the connections of its parent, so they stay in here. And by app,
# for to find out what its connection is like takes as long as to send a task.
_senders: dict[tuple[int, Celery], _Sender] = {}


def _sender(app: Celery) -> _Sender:
    key = (os.getpid(), app)
    return _senders.get(key) or _senders.setdefault(key, _Sender(app))


def _bounded_connection(app: Celery) -> Connection:
    """A connection to Celery's broker that fails rather than waits, unless the project's own options say otherwise."""
    options = {
        "socket_timeout": ENQUEUE_TIMEOUT,
        "socket_connect_timeout": ENQUEUE_TIMEOUT,
        "socket_keepalive": True,
        "socket_keepalive_options": _KEEPALIVE,
        "max_retries": 0,  # kombu would otherwise try again for seconds
    }
    connection: Connection = app.connection_for_write(
        transport_options={**options, **app.conf.broker_transport_options}
    )
    return connection
