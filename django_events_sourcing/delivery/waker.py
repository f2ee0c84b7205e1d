"""Waking the relay, by a thread: a request waits for Celery's broker as little as it fails with it.

A wake-up may get lost. The worker's sweep finds what it was for.
"""

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Collection
from contextlib import nullcontext, suppress
from typing import Any

from celery import Celery

from django_events_sourcing.delivery.celery_app import is_eager, project_app
from django_events_sourcing.delivery.enqueue import RELAY_TASK, enqueue
from django_events_sourcing.delivery.in_tests import is_withheld
from django_events_sourcing.delivery.untaken import WakeUpQueue
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.logs import HOUR, LOG_PAUSE, log_once
from django_events_sourcing.texts import without_passwords
from django_events_sourcing.types import Alias, PartitionNumber

__all__ = ["EXPIRES", "FLUSH_TIMEOUT", "wake"]

#: Between two wake-ups that a process sends, in seconds; what is committed meanwhile shares one. Sending one takes a
#: busy process more than a millisecond, so it is longer where more than 250 transactions are committed in a second.
PAUSE, PAUSE_FOR_EACH, LONGEST_PAUSE = 0.015, 0.004, 0.06

#: How long the end of a process waits for the wake-ups on their way, in seconds.
FLUSH_TIMEOUT = 2.0

#: A wake-up that waited longer than this for a worker is dropped, in seconds: the sweep has been there by then. It is
#: far more than the clocks of two machines may differ by. Celery's own way to say so takes it 2 ms for each task.
EXPIRES = 600.0

#: A wake-up that is for more partitions than this has the relay look for itself.
_FEW = 4

logger = logging.getLogger(__name__)


def wake(using: Alias, partitions: Collection[PartitionNumber] = ()) -> None:
    """Have a worker relay the events of database ``using`` soon; in eager mode, do it here and now.

    It waits for nothing, and raises nothing. A test database's wake-ups reach no real broker.

    Args:
        using: Alias of the database.
        partitions: Where to look first.
    """
    if is_withheld(using) or _is_to_be_forked_by_uwsgi():
        return
    try:
        app = project_app()  # of this thread: the waker's may know another
        if is_eager(app):
            enqueue(RELAY_TASK, *_arguments(using, partitions), app=app)
            return
    except ConfigurationError as exc:
        _log_failure(exc)
        return
    except Exception:
        text = "The events in database %r stay there for now: the relay failed."
        logger.exception(text, using, extra={"database": using})
        return
    _of_this_process().wake(using, app, partitions)


def _arguments(using: Alias, partitions: Collection[PartitionNumber]) -> list[Any]:
    return [using, sorted(partitions) if len(partitions) <= _FEW else [], int(time.time())]


def _log_failure(exc: Exception) -> None:
    problem = f"The wake-up for new events was not sent; the workers' sweep will find them. {type(exc).__name__}: {exc}"
    log_once(logger, logging.WARNING, ("wake-up",), problem)


class _Waker:
    """One process's. Its thread starts with the first wake-up."""

    def __init__(self) -> None:
        self._trouble = _Trouble()
        self._queues: dict[Celery, WakeUpQueue] = {}
        self._changed = threading.Condition()
        self._waiting: dict[tuple[Alias, Celery], set[PartitionNumber]] = {}
        self._is_sending = self._has_sent = False
        self._thread: threading.Thread | None = None
        self._asked = 0

    def wake(self, using: Alias, app: Celery, partitions: Collection[PartitionNumber]) -> None:
        with self._changed:
            self._asked += 1
            self._waiting.setdefault((using, app), set()).update(partitions)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="django-events-sourcing-waker", daemon=True)
                try:
                    thread.start()
                except RuntimeError as exc:  # the interpreter is ending, or the system has no threads left
                    _log_failure(exc)
                    return
                self._thread = thread
            self._changed.notify_all()

    def flush(self, timeout: float) -> None:
        """Wait until all is sent, but not longer than ``timeout`` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._is_sending, timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                taken, self._waiting, self._is_sending = self._waiting, {}, True
                asked, self._asked = self._asked, 0
            try:
                with nullcontext() if self._has_sent else _first_time:
                    for (using, app), partitions in taken.items():
                        self._send(using, app, partitions)
                self._has_sent = True
                self._trouble.ends()
            except Exception as exc:  # noqa: BLE001 - whatever it is, the thread goes on
                self._trouble.lasts(exc)
            with self._changed:
                self._is_sending = False
                self._changed.notify_all()
            time.sleep(min(max(PAUSE, PAUSE_FOR_EACH * asked), LONGEST_PAUSE))

    def _send(self, using: Alias, app: Celery, partitions: Collection[PartitionNumber]) -> None:
        queue = self._queues.get(app) or self._queues.setdefault(app, WakeUpQueue(app))
        if queue.takes_one_more():
            enqueue(RELAY_TASK, *_arguments(using, partitions), app=app)
        else:
            log_once(logger, logging.WARNING, ("untaken",), queue.problem, every=HOUR)


class _Trouble:
    """With Celery's broker. The log has a line when it begins, once a minute, and when it ends."""

    def __init__(self) -> None:
        self._began = self._logged = 0.0
        self._failed = 0

    def lasts(self, exc: Exception) -> None:
        now = time.monotonic()
        if not self._failed:
            self._began, self._logged = now, -LOG_PAUSE
        self._failed += 1
        if now - self._logged < LOG_PAUSE:
            return
        self._logged = now
        logger.warning(
            "Wake-ups for new events are not sent%s; the workers' sweep finds the events. (Logged when this begins, "
            "once a minute, and when it ends.) %s: %s",
            f", for {now - self._began:.0f} s by now" if self._failed > 1 else "",
            type(exc).__name__,
            without_passwords(exc),
        )

    def ends(self) -> None:
        if self._failed:
            seconds = time.monotonic() - self._began
            logger.warning("Wake-ups are sent again, after %.1f s and %d that were not sent.", seconds, self._failed)
            self._failed = 0


# Note [A fork waits for the thread]
# A web server may fork its processes while the thread of the one that loaded the application sends its first wake-up: a
# child would have for ever the modules that are half imported by then, and the locks that nobody is there to release,
# for all that the project itself does with Celery. uWSGI (2.0.31) calls no hooks, and forks with Python's own lock held
# by whichever thread runs: what is saved before is left to the sweep.
_first_time = threading.RLock()


def _is_to_be_forked_by_uwsgi() -> bool:
    uwsgi = sys.modules.get("uwsgi")
    return uwsgi is not None and uwsgi.worker_id() == 0 and uwsgi.masterpid() in {0, os.getpid()}


def _before_fork() -> None:
    _first_time.acquire(timeout=FLUSH_TIMEOUT)


def _after_fork_in_parent() -> None:
    with suppress(RuntimeError):  # it was not to be had
        _first_time.release()


def _after_fork_in_child() -> None:
    global _first_time  # noqa: PLW0603 - the parent's thread may hold it
    _first_time = threading.RLock()


if hasattr(os, "register_at_fork"):  # where there are forks
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)

# By process: a forked one has not the thread of its parent, and its lock may be held by nobody who is there.
_wakers: dict[int, _Waker] = {}


def _of_this_process() -> _Waker:
    return _wakers.get(os.getpid()) or _wakers.setdefault(os.getpid(), _Waker())


def _flush() -> None:
    if waker := _wakers.get(os.getpid()):
        waker.flush(FLUSH_TIMEOUT)


atexit.register(_flush)
