"""The worker's threads that relay: when a task asks for it, and when it is time to sweep."""

# Note [Where the relay runs]
# In a thread of each process that runs tasks, one for each database. A relay task asks that of its own process, and
# waits. So the connections to the database and to RabbitMQ outlive the task (Celery closes those of its own thread
# after each), no time limit raises an error in the middle of a batch, and what a thread does when it is asked, it also
# does by itself every SWEEP_INTERVAL, without Celery's broker.
#
# In a prefork pool the processes are the pool's: the main process goes on forking, and a connection or a lock of a
# thread of its own would be copied into each child. The processes of a worker share the time of the next sweep, so that
# the database is asked no more often for there being many of them. A database that hangs holds up no other.

import logging
import os
import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from billiard.process import current_process
from celery import bootsteps
from celery.concurrency import prefork
from celery.signals import worker_init, worker_process_init, worker_process_shutdown
from django.db import DEFAULT_DB_ALIAS, Error, connections
from kombu.utils import functional

from django_events_sourcing.conf import get_settings
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.operating import purge
from django_events_sourcing.outbox.tables import has_tables, missing_tables, outbox_databases
from django_events_sourcing.tasks.celery_broker import outlive_lost_connections
from django_events_sourcing.tasks.moments import SharedMoments
from django_events_sourcing.tasks.session import use_own_session
from django_events_sourcing.tasks.stopping import is_stopping
from django_events_sourcing.tasks.work import log_database_error, log_trouble, relay_database

__all__ = ["RelayThread", "relay_in_thread"]

logger = logging.getLogger(__name__)

#: How long a thread that is asked for nothing keeps its connection to the database, in seconds. With a new one, whose
#: plans are yet to be made, an event takes twice the time.
IDLE = 60.0

# Between two sweeps while the settings, which would say it, can't be read; in seconds.
_CONFIGURATION_DELAY = 60.0

# How long the end of a process waits for its threads, in seconds: for confirms on their way.
_STOPPED_WITHIN = 15.0

_MOST_DATABASES = 512


class _Due:
    """When something is due next in each database, for all processes of a worker."""

    def __init__(self) -> None:
        self._moments = SharedMoments(_MOST_DATABASES)

    def seconds(self, slot: int) -> float:
        """How long until then."""
        return max(0.0, self._moments[slot] - monotonic())

    def come(self, slot: int, interval: float) -> bool:
        """Whether it is due, which it then is no more for an interval: for any but the first to ask."""
        with self._moments.locked():
            if self.seconds(slot) > 0:
                return False
            self._moments[slot] = monotonic() + interval
            return True


_sweep_due = _Due()
_purge_due = _Due()


class RelayThread:
    """The thread of one process for one database. It begins with a sweep.

    Args:
        using: Alias of the database.
        slot: Its place among the databases, the same in each process of a worker.
    """

    def __init__(self, using: str, slot: int) -> None:
        self._using = using
        self._slot = slot
        self._has_tables = False
        self._changed = threading.Condition()
        self._is_stopped = False
        self._asked = self._answered = 0
        self._partitions: set[int] = set()
        self._until = 0.0
        self._keeps_connection_until: float | None = None
        self._purge_thread: threading.Thread | None = None
        self._thread = threading.Thread(target=self._run, name=f"events-relay-{using}", daemon=True)
        self._thread.start()

    def relay(self, seconds: float, partitions: Collection[int] = ()) -> None:
        """Have it relay now, for so many seconds at most, and wait until that is done.

        Args:
            seconds: How long at most.
            partitions: Where to look first.
        """
        with self._changed:
            self._asked += 1
            mine = self._asked
            self._partitions.update(partitions)
            self._until = monotonic() + seconds
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._answered >= mine or not self._thread.is_alive())

    def stop(self) -> None:
        """Have it end; what it is at is brought to an end first, the rest is left free."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def join(self, timeout: float) -> None:
        """Wait until it has ended, but not longer than ``timeout`` seconds."""
        ends = monotonic() + timeout
        self._thread.join(timeout)
        if self._purge_thread:
            self._purge_thread.join(max(0.0, ends - monotonic()))

    def _run(self) -> None:
        try:
            while not self._is_stopped:
                self._wait()
                if not self._is_stopped:
                    self._work()
        finally:
            self._close()
            with self._changed:
                self._answered = self._asked
                self._changed.notify_all()

    def _wait(self) -> None:
        """Until it is asked, or time for a sweep; and not with an idle connection."""
        if self._keeps_connection_until is not None and monotonic() >= self._keeps_connection_until:
            self._keeps_connection_until = None
        if self._keeps_connection_until is None:
            self._close()
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped or self._asked > self._answered, self._longest_wait())

    def _longest_wait(self) -> float | None:
        ends = [self._keeps_connection_until - monotonic()] if self._keeps_connection_until is not None else []
        if not is_stopping():  # else nothing is swept any more
            ends.append(_sweep_due.seconds(self._slot))
        return min(ends, default=None)

    def _work(self) -> None:
        with self._changed:
            asked, partitions = self._asked, self._partitions
            self._partitions = set()
        with self._trouble_logged():
            if asked > self._answered:
                self._keeps_connection_until = monotonic() + IDLE
                relay_database(self._using, lambda: self._must_end() or monotonic() >= self._until, partitions)
                self._purge()
                use_own_session(self._using)  # not before, as nobody waits now
            elif not is_stopping() and _sweep_due.come(self._slot, self._interval()):
                self._sweep()
        with self._changed:
            self._answered = asked
            self._changed.notify_all()

    @contextmanager
    def _trouble_logged(self) -> Iterator[None]:
        """Whatever goes wrong within it, the thread goes on."""
        try:
            yield
        except ConfigurationError as exc:
            log_trouble(self._using, exc)
        except Error as exc:
            log_database_error(self._using, exc)
        except Exception:
            logger.exception("The relay of database %r failed.", self._using)

    def _must_end(self) -> bool:
        return self._is_stopped or is_stopping()

    def _interval(self) -> float:
        try:
            return get_settings().sweep_interval
        except ConfigurationError:
            return _CONFIGURATION_DELAY

    def _sweep(self) -> None:
        self._has_tables = self._has_tables or has_tables(self._using)
        if self._has_tables:
            self._purge()
            relay_database(self._using, self._must_end)
        elif self._using == DEFAULT_DB_ALIAS and get_settings().delivery == "outbox":
            raise ConfigurationError(missing_tables(self._using))

    def _purge(self) -> None:
        """When it is time, beside the relay: neither waits for the other."""
        is_at_it = self._purge_thread is not None and self._purge_thread.is_alive()
        if not is_at_it and not self._must_end() and _purge_due.come(self._slot, purge.INTERVAL):
            self._purge_thread = threading.Thread(
                target=self._run_purge, name=f"events-purge-{self._using}", daemon=True
            )
            self._purge_thread.start()

    def _run_purge(self) -> None:
        with self._trouble_logged():
            purge.purge_database(self._using, get_settings(), self._must_end)
        self._close()

    def _close(self) -> None:
        """Of the thread that calls."""
        try:
            connections[self._using].close()
        except Error as exc:
            logger.debug("The connection to database %r could not be closed. %s", self._using, exc)


class _Threads:
    """All threads of this process."""

    def __init__(self) -> None:
        self.running: dict[str, RelayThread] = {}

    def start(self) -> None:
        """One for each database, in place of those of a parent process, which are not here."""
        aliases = outbox_databases()[:_MOST_DATABASES]
        self.running = {alias: RelayThread(alias, slot) for slot, alias in enumerate(aliases)}

    def stop(self) -> None:
        """End them, in bounded time."""
        ends = monotonic() + _STOPPED_WITHIN
        for thread in self.running.values():
            thread.stop()
        for thread in self.running.values():
            thread.join(max(0.0, ends - monotonic()))
        self.running = {}


_threads = _Threads()


def relay_in_thread(using: str, seconds: float, partitions: Collection[int] = ()) -> bool:
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


@worker_init.connect  # type: ignore[untyped-decorator]
def _add_step(sender: Any, **_kwargs: Any) -> None:
    outlive_lost_connections()
    sender.app.steps["worker"].add(_RelayThreads)


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
