"""A worker's life: the threads that relay start with its processes, and end with them.

At SIGTERM, Celery's main process sends ``worker_shutting_down``, by which ``stopping`` lets every relay know: each
brings to an end what is in flight, gives its leases back, and takes no others. Then Celery waits for the tasks and ends
its processes, and each waits for its threads, for ``_STOPPED_WITHIN`` seconds at most. A process of a pool that gets
SIGTERM by itself does the same before it dies.
"""

import logging
import os
import signal
import time
from collections.abc import Collection
from importlib import import_module
from time import monotonic
from typing import Any

from billiard.process import current_process
from celery import bootsteps
from celery.concurrency import prefork
from celery.signals import worker_process_init, worker_process_shutdown
from kombu.utils import functional

from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery.enqueue import missing_tasks
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.outbox.tables import outbox_databases
from django_events_sourcing.tasks.celery_broker import outlive_lost_connections
from django_events_sourcing.tasks.presence import presence
from django_events_sourcing.tasks.schedule import MOST_DATABASES
from django_events_sourcing.tasks.threads import RelayThread
from django_events_sourcing.types import Alias, PartitionNumber

__all__ = ["prepare", "relay_in_thread"]

logger = logging.getLogger(__name__)

# How long the end of a process waits for its threads, in seconds: for confirms on their way.
_STOPPED_WITHIN = 15.0


class _Threads:
    """All threads of this process."""

    def __init__(self) -> None:
        self.running: dict[str, RelayThread] = {}

    def start(self) -> None:
        """One for each database, in place of those of a parent process, which are not here."""
        aliases = outbox_databases()[:MOST_DATABASES]
        self.running = {alias: RelayThread(alias, place) for place, alias in enumerate(aliases)}

    def stop(self) -> None:
        """End them, in bounded time."""
        ends = monotonic() + _STOPPED_WITHIN
        for thread in self.running.values():
            thread.stop()
        for thread in self.running.values():
            thread.join(max(0.0, ends - monotonic()))
        self.running = {}


_threads = _Threads()


def relay_in_thread(using: Alias, seconds: float, partitions: Collection[PartitionNumber] = ()) -> bool:
    """Have this process' thread for database ``using`` relay, for so many seconds at most, and wait for it.

    Args:
        using: Alias of the database.
        seconds: How long at most.
        partitions: Where to look first.

    Returns:
        Whether there is such a thread; else nothing is done.
    """
    thread = _threads.running.get(using)
    if thread is not None:
        thread.relay(seconds, partitions)
    return thread is not None


class _RelayThreads(bootsteps.StartStopStep):  # type: ignore[misc]
    """The threads in the worker's main process, where that runs the tasks."""

    def start(self, parent: Any) -> None:
        if not issubclass(parent.pool_cls, prefork.TaskPool):
            # In a gevent pool kombu comes to be imported before time.sleep is patched, and would stop all greenlets
            # while it waits to try Celery's broker again.
            functional.sleep = time.sleep  # type: ignore[attr-defined]
            _threads.start()

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        _threads.stop()

    terminate = stop


class _Probes(bootsteps.StartStopStep):  # type: ignore[misc]
    """The worker's own metrics and health, in its main process, where the settings ask for them."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._server: Any = None

    def start(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        try:
            settings = get_settings()
        except ConfigurationError:  # the relay tells
            return
        if settings.metrics_port is None:
            return
        host = f"[{settings.metrics_host}]" if ":" in settings.metrics_host else settings.metrics_host
        address = f"{host}:{settings.metrics_port}"
        from django_events_sourcing.tasks.serving import ProbeServer  # noqa: PLC0415 - an HTTP server, where it is asked for

        try:
            self._server = ProbeServer(settings.metrics_host, settings.metrics_port)
        except OSError as exc:
            logger.error(  # noqa: TRY400 - one line
                "This worker serves no metrics and no health, as it cannot listen at %s: %s. Each worker of a machine "
                "needs an EVENTS_SOURCING['METRICS_PORT'] of its own.",
                address,
                exc,
            )
        else:
            logger.info("This worker's metrics and health are at http://%s, /metrics and /health.", address)

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        if self._server:
            self._server.stop()
            self._server = None

    terminate = stop


def prepare(worker: Any) -> None:
    """Have a worker of Celery's that is about to start relay, and answer to who asks."""
    import_module("django_events_sourcing.tasks.answering")  # here, as it loads what only a worker has of Celery
    outlive_lost_connections()
    presence.begin(worker.hostname)
    worker.app.steps["worker"].update({_RelayThreads, _Probes})
    if missing := missing_tasks(worker.app.tasks):
        logger.error(
            "This worker's Celery app lacks the tasks %s: it throws away the wake-ups for new events, and the events "
            "of the delivery 'direct'. Leave these names in its registry.",
            ", ".join(missing),
        )


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _start(**_kwargs: Any) -> None:
    if current_process().name == "MainProcess":  # of a solo pool, which sends this signal, too
        return
    _threads.start()
    # A service manager may signal all processes of a worker, and not the main process alone.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def _stop(**_kwargs: Any) -> None:
    _threads.stop()


def _terminate(number: int, _frame: object) -> None:
    _threads.stop()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
