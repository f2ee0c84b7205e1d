"""How many events a worker publishes in a second, if ``MAX_RATE`` bounds it."""

import time
from collections.abc import Callable

from django_events_sourcing.tasks.moments import SharedMoments

__all__ = ["PORTION", "RateLimit", "rate_limit"]

#: For how long a portion is that is published at once, in seconds.
PORTION = 0.1

# How often whoever waits looks after other things, in seconds.
_SLICE = 0.1


class RateLimit:
    """One bound for all processes that are forked after it was made, and all of their threads."""

    def __init__(self) -> None:
        self._free_from = SharedMoments()

    def wait(self, count: int, rate: float, while_waiting: Callable[[], bool]) -> bool:
        """Wait until ``count`` events may be published.

        Args:
            count: How many.
            rate: How many in a second.
            while_waiting: Called every so often; once it says no, the wait is given up.

        Returns:
            Whether they may.
        """
        while while_waiting():
            if (seconds := self._take(count / rate)) <= 0:
                return True
            time.sleep(min(seconds, _SLICE))
        return False

    def _take(self, duration: float) -> float:
        """Occupy the bound for ``duration`` seconds, if it is free; returns for how much longer it isn't."""
        with self._free_from.locked():
            now, free_from = time.monotonic(), self._free_from[0]
            if free_from <= now:
                # What a wait overslept is made up for, so that the rate is reached and not just kept below.
                self._free_from[0] = max(free_from, now - PORTION) + duration
            return free_from - now


#: This worker's.
rate_limit = RateLimit()
