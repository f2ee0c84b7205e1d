"""How many events a worker publishes in a second, if ``MAX_RATE`` bounds it."""

import fcntl
import mmap
import os
import struct
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

__all__ = ["PORTION", "RateLimit", "rate_limit"]

#: For how long a portion is that is published at once, in seconds.
PORTION = 0.1

# How often whoever waits looks after other things, in seconds.
_SLICE = 0.1

_MOMENT = struct.Struct("d")


class RateLimit:
    """One bound for all processes that are forked after it was made, and all of their threads."""

    def __init__(self) -> None:
        self._next = mmap.mmap(-1, _MOMENT.size)  # by the machine's monotonic clock
        # A lock of the system's ends with the process that holds it, also with one that is killed.
        self._file = _anonymous_file()
        weakref.finalize(self, os.close, self._file)
        self._lock = threading.Lock()  # those of the system are for processes, not threads

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
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                (following,) = _MOMENT.unpack_from(self._next)
                now = time.monotonic()
                if following <= now:
                    # What a wait overslept is made up for, so that the rate is reached and not just kept below.
                    _MOMENT.pack_into(self._next, 0, max(following, now - PORTION) + duration)
                return float(following - now)
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("events-rate")
    descriptor, path = tempfile.mkstemp()
    Path(path).unlink()
    return descriptor


#: This worker's.
rate_limit = RateLimit()
