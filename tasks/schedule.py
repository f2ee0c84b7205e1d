"""When something is due next in each database, for all processes of a worker together."""

from time import monotonic

from django_events_sourcing.tasks.moments import SharedMoments

__all__ = ["MOST_DATABASES", "Schedule"]

#: How many databases have a place in it.
MOST_DATABASES = 512


class Schedule:
    """At first, all is due.

    A database is given by its place among those that have an outbox, the same in each process of a worker.
    """

    def __init__(self) -> None:
        self._moments = SharedMoments(MOST_DATABASES)

    def seconds_until_due(self, place: int) -> float:
        """How long until then, 0 if it is due now."""
        return max(0.0, self._moments[place] - monotonic())

    def claim_if_due(self, place: int, interval: float) -> bool:
        """Whether it is due; if so, it is no more for ``interval`` seconds, and nobody else claims it."""
        with self._moments.locked():
            if self.seconds_until_due(place) > 0:
                return False
            self._moments[place] = monotonic() + interval
            return True

    def bring_forward(self, place: int, seconds: float) -> None:
        """Have it be due in so many seconds, if it were not before that."""
        with self._moments.locked():
            self._moments[place] = min(self._moments[place], monotonic() + seconds)
