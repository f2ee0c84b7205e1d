"""Whether RabbitMQ takes anything, known to all processes of a worker together: a circuit breaker."""

# Note [One tries for all]
# While RabbitMQ is away, hangs, or blocks those who publish, an attempt may take a minute, and fails. So the first one
# that fails opens the circuit, for all processes of the worker; from then on one of them at a time tries, with backoff,
# and the others have their time for the project's own tasks. What is published first closes it.
#
# Backoff grows no further than to SWEEP_INTERVAL (but never below RETRY_BACKOFF), as one attempt costs nobody anything:
# so long the first event may wait when the trouble is over. Libraries for circuit breakers (pybreaker, circuitbreaker)
# know one process, or need a Redis, which Celery's broker need not be.

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from time import monotonic

from django_events_sourcing.conf import Settings
from django_events_sourcing.logs import LOG_PAUSE
from django_events_sourcing.tasks.moments import SharedMoments
from django_events_sourcing.tasks.retry import delay
from django_events_sourcing.texts import counted

__all__ = ["Circuit", "worker_circuit"]

logger = logging.getLogger(__name__)

# How long an attempt may take, in seconds; after that, whoever was at it is taken for dead.
_LONGEST_ATTEMPT = 60.0


class _Of(IntEnum):
    """Places of moments; those that are 0 are not."""

    BEGIN = 0  # of the trouble
    ATTEMPTS = 1  # that failed: a number
    NEXT = 2  # attempt, by whoever is the first then
    CLAIM = 3  # by who is at an attempt
    LOG = 4  # the last line
    SUCCESS = 5  # the last one


class Circuit:
    """Closed, while all is well; open, while RabbitMQ is in trouble."""

    def __init__(self) -> None:
        self._moments = SharedMoments(len(_Of))

    def __repr__(self) -> str:
        state = f"open, next attempt in {self.seconds_until_next:.1f} s" if self.is_open else "closed"
        return f"<Circuit: {state}>"

    @property
    def is_open(self) -> bool:
        """Whether the last thing that was heard of RabbitMQ is that it is in trouble."""
        return self._moments[_Of.BEGIN] > 0

    @property
    def seconds_tried(self) -> float:
        """For how long somebody has been at an attempt, which shows whether the trouble is over; 0 if nobody is."""
        claim = self._moments[_Of.CLAIM]
        return monotonic() - claim if claim else 0.0

    @property
    def seconds_until_next(self) -> float:
        """How long until somebody may try again; 0 if that is now."""
        return max(0.0, self._moments[_Of.NEXT] - monotonic())

    @property
    def last_success(self) -> float:
        """When something was published for the last time, by the machine's monotonic clock; 0 if never."""
        return self._moments[_Of.SUCCESS]

    @contextmanager
    def attempt(self) -> Iterator[bool]:
        """An attempt to publish, if there may be one now; yields whether.

        While the circuit is open, nobody else tries until this one has failed, succeeded, or is over.
        """
        claim = monotonic()
        may_try = not self.is_open or self._claim(claim)
        try:
            yield may_try
        finally:
            if self.is_open:
                self._give_back(claim)

    def _claim(self, now: float) -> bool:
        moments = self._moments
        with moments.locked():
            if not self.is_open:
                return True
            if moments[_Of.NEXT] > now:
                return False
            moments[_Of.CLAIM], moments[_Of.NEXT] = now, now + _LONGEST_ATTEMPT
            return True

    def _give_back(self, claim: float) -> None:
        moments = self._moments
        with moments.locked():
            if moments[_Of.CLAIM] == claim:
                moments[_Of.CLAIM], moments[_Of.NEXT] = 0, monotonic()

    def failed(self, problem: object, settings: Settings, waiting: Callable[[], str] = lambda: "") -> float:
        """Learn that RabbitMQ, or the way to it, is in trouble.

        Args:
            problem: What the trouble is.
            settings: For the delay.
            waiting: Asked, if there is a line for the log, what is not published: empty, or to be followed by more.

        Returns:
            After how many seconds somebody may try again.
        """
        moments = self._moments
        with moments.locked():
            now = monotonic()
            begins = not self.is_open
            if begins:
                moments[_Of.BEGIN], moments[_Of.ATTEMPTS] = now, 0
            elif not moments[_Of.CLAIM]:  # it began before somebody else's, which has been counted
                return self.seconds_until_next
            moments[_Of.ATTEMPTS] += 1
            attempts = int(moments[_Of.ATTEMPTS])
            longest = max(settings.retry_backoff, settings.sweep_interval)
            seconds = delay(attempts, settings, longest)
            moments[_Of.CLAIM], moments[_Of.NEXT] = 0, now + seconds
            is_told = not moments[_Of.LOG] or now - moments[_Of.LOG] >= LOG_PAUSE  # also where it comes and goes
            if is_told:
                moments[_Of.LOG] = now
            lasts = now - moments[_Of.BEGIN]
        if is_told:
            logger.warning(
                "RabbitMQ is in trouble%s; %sthe next attempt is in %.1f s. (Logged when it begins, once a minute, and "
                "when it ends.) %s",
                "" if begins else f" for {lasts:.0f} s and {counted(attempts, 'attempt')} by now",
                waiting(),
                seconds,
                problem,
            )
        return seconds

    def succeeded(self, waiting: Callable[[], str] = lambda: "") -> None:
        """Learn that something was published.

        Args:
            waiting: The same.
        """
        moments = self._moments
        moments[_Of.SUCCESS] = monotonic()
        if not self.is_open:
            return
        with moments.locked():
            if not self.is_open:
                return
            lasted, attempts = monotonic() - moments[_Of.BEGIN], int(moments[_Of.ATTEMPTS])
            was_told = moments[_Of.LOG] >= moments[_Of.BEGIN]
            moments[_Of.BEGIN] = moments[_Of.CLAIM] = moments[_Of.NEXT] = 0
        if was_told:
            logger.warning(
                "RabbitMQ is well again, after %.1f s and %s; %sevents go out.",
                lasted,
                counted(attempts, "attempt"),
                waiting(),
            )


#: That of this process and all that it forks: a worker's.
worker_circuit = Circuit()
