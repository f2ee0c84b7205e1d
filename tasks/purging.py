"""What a worker does once a minute, the purge above all: beside the relay, neither waits for the other."""

import threading
from collections.abc import Callable

from django_events_sourcing.conf import get_settings
from django_events_sourcing.operating import purge
from django_events_sourcing.operating.performing import perform_forgotten
from django_events_sourcing.tasks.presence import presence
from django_events_sourcing.tasks.schedule import Schedule
from django_events_sourcing.tasks.session import close_connection
from django_events_sourcing.tasks.trouble import logs_whatever_happens
from django_events_sourcing.types import Alias

__all__ = ["Purging"]

_schedule = Schedule()


class Purging:
    """Of one process, for one database; a thread of its own while it is at it.

    Args:
        using: Alias of the database.
        place: Its place in a ``Schedule``.
        stopping: Asked often; once it says yes, the purge ends, and none begins.
    """

    def __init__(self, using: Alias, place: int, stopping: Callable[[], bool]) -> None:
        self._using = using
        self._place = place
        self._stopping = stopping
        self._thread: threading.Thread | None = None

    def start_if_due(self) -> None:
        """Begin, when it is time and the last one has ended."""
        is_at_it = self._thread is not None and self._thread.is_alive()
        if not is_at_it and not self._stopping() and _schedule.claim_if_due(self._place, purge.INTERVAL):
            self._thread = threading.Thread(target=self._run, name=f"events-purge-{self._using}", daemon=True)
            self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait until it has ended, but not longer than ``timeout`` seconds."""
        if self._thread:
            self._thread.join(timeout)

    def _run(self) -> None:
        with logs_whatever_happens(self._using):
            purge.purge_database(self._using, get_settings(), self._stopping, presence.holder)
            perform_forgotten(self._using, self._stopping)
        close_connection(self._using)
