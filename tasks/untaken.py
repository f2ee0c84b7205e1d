"""Wake-ups that nobody takes, told by a worker, which sweeps meanwhile."""

import logging
from time import monotonic

from django_events_sourcing.delivery.celery_app import project_app
from django_events_sourcing.delivery.untaken import WakeUpQueue
from django_events_sourcing.logs import HOUR
from django_events_sourcing.tasks.schedule import Schedule
from django_events_sourcing.texts import without_passwords

__all__ = ["UntakenWatch"]

# Between two looks of a process, in seconds.
_EVERY = 60.0

logger = logging.getLogger(__name__)

# When a process of this worker may tell it again.
_tellings = Schedule()


class UntakenWatch:
    """That of one thread."""

    def __init__(self) -> None:
        self._queue: WakeUpQueue | None = None
        self._next = 0.0

    def look_if_due(self) -> None:
        """Once a minute, look whether anybody takes the wake-ups; once an hour, have the worker's log say if not."""
        if monotonic() < self._next:
            return
        self._next = monotonic() + _EVERY
        queue = self._queue = self._queue or WakeUpQueue(project_app())
        try:
            queue.look()
        except Exception as exc:  # noqa: BLE001 - Celery itself tells of trouble with its broker
            logger.debug("The queue of wake-ups cannot be looked at. %s", without_passwords(exc))
            return
        if queue.problem and _tellings.claim_if_due(0, HOUR):
            logger.warning("%s (Logged once an hour at most.)", queue.problem)
