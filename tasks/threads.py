"""The threads of a worker that relay: when a task asks for it, and when it is time to sweep."""

# Note [Where the relay runs]
# In a thread of each process that runs tasks, one for each database. A relay task asks that of its own process, and
# waits. So the connections to the database and to RabbitMQ outlive the task (Celery closes those of its own thread
# after each), no time limit raises an error in the middle of a batch, and what a thread does when it is asked, it also
# does by itself every SWEEP_INTERVAL, without Celery's broker.
#
# In a prefork pool the processes are the pool's: the main process goes on forking, and a connection or a lock of a
# thread of its own would be copied into each child. The processes of a worker share the time of the next sweep, so that
# the database is asked no more often for there being many of them. A database that hangs holds up no other.
#
# Who has no connection to RabbitMQ where others of the worker have one stands back (``standing_back``).
#
# A task waits only as long as its thread gets on: while a server hangs, the process is the project's own tasks'. They
# share, too, who tries when RabbitMQ is in trouble (``circuit``); whoever may not looks again soon, whether it is over.

import math
import threading
from collections.abc import Callable, Collection
from time import monotonic

from django.db import DEFAULT_DB_ALIAS

from django_events_sourcing.conf import get_settings
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.outbox.tables import has_tables, missing_tables
from django_events_sourcing.tasks.circuit import worker_circuit
from django_events_sourcing.tasks.heartbeats import Heartbeat, worker_heartbeats
from django_events_sourcing.tasks.neighbours import look_at_neighbours_if_due
from django_events_sourcing.tasks.presence import presence
from django_events_sourcing.tasks.purging import Purging
from django_events_sourcing.tasks.relaying import relay_database
from django_events_sourcing.tasks.schedule import Schedule
from django_events_sourcing.tasks.session import close_connection, has_session, use_own_session
from django_events_sourcing.tasks.standing_back import StandingBack
from django_events_sourcing.tasks.stopping import is_stopping
from django_events_sourcing.tasks.trouble import logs_trouble, logs_whatever_happens
from django_events_sourcing.tasks.untaken import UntakenWatch
from django_events_sourcing.types import Alias, PartitionNumber

__all__ = ["IDLE", "RelayThread"]

#: How long a thread that is asked for nothing keeps its connection to the database, in seconds. With a new one, whose
#: plans are yet to be made, an event takes twice the time.
IDLE = 60.0

# The longest between two signs of life of a thread that waits, in seconds.
_HEARTBEAT = 10.0

# Between two sweeps while the settings, which would say it, can't be read; in seconds.
_CONFIGURATION_DELAY = 60.0

# How long a task waits for a thread that publishes nothing, in seconds.
_STALLED = 1.0

# Between two looks, in seconds, whether RabbitMQ is well again, of a thread that has something to do, and may not try.
_LOOK_AGAIN, _SHORTEST_LOOK = 1.0, 0.05

_sweeps = Schedule()

# When the worker next writes down that it has looked: at each sweep, and no more often for there being wake-ups.
_looks = Schedule()
_OF_AN_INTERVAL = 0.9


class RelayThread:
    """The thread of one process for one database. It begins with a sweep.

    Args:
        using: Alias of the database.
        place: Its place in a ``Schedule``.
    """

    def __init__(self, using: Alias, place: int) -> None:
        self._using = using
        self._place = place
        self._has_tables = False
        self._changed = threading.Condition()
        self._is_stopped = False
        self._asked = self._answered = 0
        self._partitions: set[PartitionNumber] = set()
        self._until = 0.0
        self._progress: float | None = None  # the last; None while it is at nothing
        self._look_again: float | None = None  # when; None while it may try
        self._owes = False  # what it was asked for, when it might not try
        self._standing_back = StandingBack(place, _sweeps, worker_circuit)
        self._keeps_connection_until: float | None = None
        self._purging = Purging(using, place, self._must_end)
        self._untaken = UntakenWatch()
        self._heartbeat: Heartbeat  # from when the thread runs
        self._thread = threading.Thread(target=self._run, name=f"events-relay-{using}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        state = "stopped" if self._is_stopped else f"asked {self._asked} times, answered {self._answered}"
        return (
            f"<RelayThread of {self._using!r}: {state}, next sweep in {_sweeps.seconds_until_due(self._place):.1f} s>"
        )

    def relay(self, seconds: float, partitions: Collection[PartitionNumber] = ()) -> None:
        """Have it relay now, for so many seconds at most, and wait until that is done, or a server hangs.

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
            while not worker_circuit.is_open and not self._is_stalled():
                if self._changed.wait_for(lambda: self._answered >= mine or not self._thread.is_alive(), _STALLED):
                    return

    def _is_stalled(self) -> bool:
        return self._progress is not None and monotonic() - self._progress >= _STALLED

    def stop(self) -> None:
        """Have it end; what it is at is brought to an end first, the rest is left free."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def join(self, timeout: float) -> None:
        """Wait until it has ended, but not longer than ``timeout`` seconds."""
        ends = monotonic() + timeout
        self._thread.join(timeout)
        self._purging.join(max(0.0, ends - monotonic()))

    def _run(self) -> None:
        self._heartbeat = worker_heartbeats.begin(self._place)
        try:
            while not self._is_stopped:
                self._wait()
                if not self._is_stopped:
                    self._work()
            self._heartbeat.end()  # not of a thread that an error ends
        finally:
            close_connection(self._using)
            with self._changed:
                self._answered = self._asked
                self._changed.notify_all()

    def _wait(self) -> None:
        """Until it is asked, or time for a sweep; and not with an idle connection."""
        if self._keeps_connection_until is not None and monotonic() >= self._keeps_connection_until:
            self._keeps_connection_until = None
        if self._keeps_connection_until is None:
            close_connection(self._using)
        with self._changed:
            longest = self._longest_wait()
            ends = monotonic() + longest if longest is not None else math.inf
            interval = self._heartbeat_interval()
            while not self._changed.wait_for(
                lambda: self._is_stopped or self._asked > self._answered, min(interval, ends - monotonic())
            ):
                self._heartbeat.beat()
                if monotonic() >= ends:
                    break

    def _heartbeat_interval(self) -> float:
        try:
            return min(_HEARTBEAT, get_settings().health_max_age / 4)
        except ConfigurationError:
            return _HEARTBEAT

    def _longest_wait(self) -> float | None:
        ends = [self._keeps_connection_until - monotonic()] if self._keeps_connection_until is not None else []
        if self._look_again is not None:
            ends.append(self._look_again - monotonic())
        elif not is_stopping():  # else nothing is swept any more
            ends.append(self._standing_back.seconds_left or self._standing_back.seconds_until_sweep())
        return min(ends, default=None)

    def _work(self) -> None:
        with self._changed:
            asked, partitions = self._asked, self._partitions
            self._partitions = set()
            self._progress, self._look_again = monotonic(), None
        self._heartbeat.work()
        with logs_whatever_happens(self._using):
            is_asked = asked > self._answered
            is_due = not is_stopping() and _sweeps.seconds_until_due(self._place) <= 0
            owes = is_asked or self._owes
            if self._standing_back.seconds_left:
                if owes:
                    self._standing_back.hand_on()
                self._owes = False
            elif owes or is_due:
                with worker_circuit.attempt() as may_try:
                    self._owes = owes and not may_try
                    if not may_try:
                        self._wait_for_others()
                    elif is_asked:
                        self._relay_as_asked(partitions)
                    elif owes or _sweeps.claim_if_due(self._place, self._interval()):
                        self._sweep()
        self._heartbeat.rest()
        with self._changed:
            self._progress = None
            self._answered = asked
            self._changed.notify_all()

    def _wait_for_others(self) -> None:
        # At the moment of the next attempt one of those that wait is the first, and claims it.
        self._look_again = monotonic() + max(_SHORTEST_LOOK, min(_LOOK_AGAIN, worker_circuit.seconds_until_next))
        if self._has_tables:
            self._purging.start_if_due()

    def _relay_as_asked(self, partitions: Collection[PartitionNumber]) -> None:
        self._keeps_connection_until = monotonic() + IDLE
        self._relay(lambda: self._must_end() or monotonic() >= self._until, partitions)
        self._purging.start_if_due()
        if has_session(self._using):
            use_own_session(self._using)  # not before, as nobody waits now

    def _relay(self, stopping: Callable[[], bool], partitions: Collection[PartitionNumber] = ()) -> None:
        def must_end() -> bool:
            self._heartbeat.beat()  # a relay asks often
            return stopping()

        report = relay_database(
            self._using,
            must_end,
            partitions,
            circuit=worker_circuit,
            on_published=self._note_progress,
            stands_back=self._standing_back.begin,
        )
        if report is not None:
            worker_heartbeats.note_look(self._place)
            if report.retry_in is not None:
                _sweeps.bring_forward(self._place, report.retry_in)
        if _looks.claim_if_due(self._place, _OF_AN_INTERVAL * self._interval()):
            with logs_trouble(self._using):
                presence.note_look(self._using)

    def _note_progress(self, _count: int) -> None:
        self._progress = monotonic()

    def _must_end(self) -> bool:
        return self._is_stopped or is_stopping()

    def _interval(self) -> float:
        try:
            return get_settings().sweep_interval
        except ConfigurationError:
            return _CONFIGURATION_DELAY

    def _sweep(self) -> None:
        if self._place == 0:
            look_at_neighbours_if_due()
        self._has_tables = self._has_tables or has_tables(self._using)
        if self._has_tables:
            self._purging.start_if_due()
            self._relay(self._must_end)
            if self._place == 0 and get_settings().delivery == "outbox":
                self._untaken.look_if_due()
        elif self._using == DEFAULT_DB_ALIAS and get_settings().delivery == "outbox":
            raise ConfigurationError(missing_tables(self._using))
