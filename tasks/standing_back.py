"""Processes for which RabbitMQ has no connection left, and those of the worker that have one."""

# Note [Fewer connections than processes]
# A limit of a vhost's or a user's may leave a worker fewer connections than it has processes, and whoever has one
# keeps it. The others stand back: they try nothing for SWEEP_INTERVAL. What they are asked for meanwhile is to be swept
# at once, by somebody who doesn't stand back; as long as anybody does, or just did, those look for that often. Only if
# nobody has published anything when a process tries again, it is trouble for all (``circuit``).

import logging
from time import monotonic

from django_events_sourcing.conf import get_settings
from django_events_sourcing.logs import HOUR, log_once
from django_events_sourcing.tasks.circuit import Circuit
from django_events_sourcing.tasks.moments import SharedMoments
from django_events_sourcing.tasks.schedule import MOST_DATABASES, Schedule

__all__ = ["StandingBack", "tell"]

# How often it is looked for what those who stand back were asked for, in seconds.
_LOOK_EVERY = 0.1

logger = logging.getLogger(__name__)

# By the place of a database: until when those who have a connection look often for what they are handed.
_until = SharedMoments(MOST_DATABASES)


def tell(problem: object) -> None:
    """Log, once an hour, that this process has no connection."""
    text = f"This process has no connection to RabbitMQ; others of the worker publish in its place. {problem}"
    log_once(logger, logging.WARNING, ("no connection",), text, every=HOUR)


class StandingBack:
    """Whether one thread, of one process for one database, stands back.

    Args:
        place: The database's, in a ``Schedule``.
        sweeps: The worker's.
        circuit: The worker's.
    """

    def __init__(self, place: int, sweeps: Schedule, circuit: Circuit) -> None:
        self._place = place
        self._sweeps = sweeps
        self._circuit = circuit
        self._began = self._ends = 0.0

    @property
    def seconds_left(self) -> float:
        """For how long it does; 0 if it doesn't."""
        return max(0.0, self._ends - monotonic())

    def seconds_until_sweep(self) -> float:
        """How long to wait before it looks for a sweep that is due."""
        seconds = self._sweeps.seconds_until_due(self._place)
        return min(seconds, _LOOK_EVERY) if _until[self._place] > monotonic() else seconds

    def begin(self, problem: object) -> bool:
        """Stand back over a connection that is not to be had, and have others do what there is to do.

        Returns:
            Whether it does; not if nobody published in its place the last time.
        """
        now, interval = monotonic(), get_settings().sweep_interval
        if self._ends <= now <= self._ends + interval and self._circuit.last_success < self._began:
            return False
        self._began, self._ends = now, now + interval
        with _until.locked():
            # And for as long again, in which this one tries anew: who has begun to wait for a whole sweep learns of
            # nothing that is handed on.
            _until[self._place] = max(_until[self._place], self._ends + interval)
        tell(problem)
        self.hand_on()
        return True

    def hand_on(self) -> None:
        """Have others do what this thread was asked for."""
        self._sweeps.bring_forward(self._place, 0.0)
