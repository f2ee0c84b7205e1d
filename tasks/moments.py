"""What the processes of a worker share: a lock, and moments."""

import fcntl
import mmap
import os
import struct
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["SharedLock", "SharedMoments"]

_MOMENT = struct.Struct("d")


class SharedLock:
    """A lock for all processes that are forked after it was made, and their threads."""

    def __init__(self) -> None:
        # A lock of the system's ends with the process that holds it, also with one that is killed.
        self._file = _anonymous_file()
        weakref.finalize(self, os.close, self._file)
        self._lock = threading.Lock()  # those of the system are for processes, not threads

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within it no other thread or process is in here."""
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)


class SharedMoments(SharedLock):
    """Moments by the machine's monotonic clock, 0 at first, for all processes that are forked after they were made.

    Args:
        number: How many.
    """

    def __init__(self, number: int = 1) -> None:
        super().__init__()
        self._shared = mmap.mmap(-1, _MOMENT.size * number)

    def __getitem__(self, place: int) -> float:
        return float(_MOMENT.unpack_from(self._shared, place * _MOMENT.size)[0])

    def __setitem__(self, place: int, moment: float) -> None:
        _MOMENT.pack_into(self._shared, place * _MOMENT.size, moment)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("events-lock")
    descriptor, path = tempfile.mkstemp()
    Path(path).unlink()
    return descriptor
