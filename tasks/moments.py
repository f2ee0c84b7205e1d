"""Moments that the processes of a worker share."""

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

__all__ = ["SharedMoments"]

_MOMENT = struct.Struct("d")


class SharedMoments:
    """Moments by the machine's monotonic clock, 0 at first, for all processes that are forked after they were made.

    Args:
        number: How many.
    """

    def __init__(self, number: int = 1) -> None:
        self._shared = mmap.mmap(-1, _MOMENT.size * number)
        # A lock of the system's ends with the process that holds it, also with one that is killed.
        self._file = _anonymous_file()
        weakref.finalize(self, os.close, self._file)
        self._lock = threading.Lock()  # those of the system are for processes, not threads

    def __getitem__(self, place: int) -> float:
        return float(_MOMENT.unpack_from(self._shared, place * _MOMENT.size)[0])

    def __setitem__(self, place: int, moment: float) -> None:
        _MOMENT.pack_into(self._shared, place * _MOMENT.size, moment)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within it no other thread or process is in here."""
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("events-moments")
    descriptor, path = tempfile.mkstemp()
    Path(path).unlink()
    return descriptor
