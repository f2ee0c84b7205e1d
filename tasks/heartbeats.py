"""Signs of life of the threads that relay, which all processes of a worker see."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from time import monotonic, time

from django_events_sourcing.tasks.moments import SharedMoments
from django_events_sourcing.tasks.schedule import MOST_DATABASES

__all__ = ["Heartbeat", "Heartbeats", "Sign", "worker_heartbeats"]

# Of how many threads they are kept at once.
_MOST_THREADS = 1024


class _Of(IntEnum):
    """What is kept of a thread."""

    PROCESS = 0  # a number; 0 while the place is free
    THREAD = 1  # the system's number of it
    DATABASE = 2  # its place in a Schedule
    BEAT = 3  # the last moment
    WORK = 4  # 1 while it is at anything; 0 while it waits to be asked


@dataclass(frozen=True)
class Sign:
    """A thread's last sign of life.

    Attributes:
        process: Its process' number.
        thread: The system's number of it.
        place: Its database's, in a ``Schedule``.
        silent: For how long it has given none, in seconds.
        is_at_work: Whether it was at anything, and not waiting to be asked.
    """

    process: int
    thread: int
    place: int
    silent: float
    is_at_work: bool


class Heartbeats:
    """Those of a worker, of threads of processes that are forked after it was made."""

    def __init__(self) -> None:
        self._moments = SharedMoments(len(_Of) * _MOST_THREADS)
        self._looks = SharedMoments(MOST_DATABASES)

    def begin(self, place: int) -> "Heartbeat":
        """That of the thread that calls it.

        Args:
            place: Its database's, in a ``Schedule``.
        """
        process = os.getpid()
        with self._moments.locked():
            first = self._free(process, place)
            heartbeat = Heartbeat(self._moments, first)
            heartbeat.beat()
            self._moments[first + _Of.WORK] = 0
            self._moments[first + _Of.THREAD] = threading.get_native_id()
            self._moments[first + _Of.DATABASE] = place
            self._moments[first + _Of.PROCESS] = process
        return heartbeat

    def _free(self, process: int, place: int) -> int:
        """Where there is room: at last, in the place of another one."""
        for first in range(0, len(_Of) * _MOST_THREADS, len(_Of)):
            holder = int(self._moments[first + _Of.PROCESS])
            is_own = (holder, self._moments[first + _Of.DATABASE]) == (process, place)  # or of one that had the number
            if is_own or not holder or not _exists(holder):
                break
        return first

    def signs(self) -> Iterator[Sign]:
        """The last of each thread, as a worker's main process sees them: those of its own, and of its children.

        It takes no lock, as one would be forked as it stands.
        """
        for first in range(0, len(_Of) * _MOST_THREADS, len(_Of)):
            if self._moments[first + _Of.PROCESS]:
                process, thread, place, beat, work = (self._moments[first + each] for each in _Of)
                if _is_ours(int(process)):
                    silent = max(0.0, monotonic() - beat)
                    yield Sign(int(process), int(thread), int(place), silent, is_at_work=bool(work))

    def note_look(self, place: int) -> None:
        """A thread has just looked for events, in that place's database."""
        self._looks[place] = time()

    def last_look(self, place: int) -> float:
        """When any thread did so last, in seconds since 1970; 0 if never."""
        return self._looks[place]


class Heartbeat:
    """That of one thread.

    Args:
        moments: Where it is kept.
        first: The place there of its first number.
    """

    def __init__(self, moments: SharedMoments, first: int) -> None:
        self._moments = moments
        self._first = first

    def beat(self) -> None:
        """Give a sign of life."""
        self._moments[self._first + _Of.BEAT] = monotonic()

    def work(self) -> None:
        """Begin to be at work."""
        self.beat()
        self._moments[self._first + _Of.WORK] = 1

    def rest(self) -> None:
        """Be at nothing any more."""
        self.beat()
        self._moments[self._first + _Of.WORK] = 0

    def end(self) -> None:
        """Be none any more: no sign is expected from now on."""
        self._moments[self._first + _Of.PROCESS] = 0


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_ours(process: int) -> bool:
    """Whether it is this process, or a child of it that has not ended; its number may be somebody else's by now."""
    if process == os.getpid():
        return True
    if not hasattr(os, "waitid"):  # on macOS before Python 3.13
        return _exists(process)
    try:
        return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


#: Those of this process and all that it forks: a worker's.
worker_heartbeats = Heartbeats()
