"""What tasks try in threads: a server that hangs holds up the thread, and its process is the project's own tasks'."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context

__all__ = ["Attempts"]


class Attempts:
    """Those of one process.

    Each has a thread that nobody awaits as the process ends; those of ``ThreadPoolExecutor`` the interpreter does.
    """

    def __init__(self) -> None:
        self._left: list[Future[None]] = []
        self._lock = threading.Lock()

    @property
    def are_left(self) -> bool:
        """Whether any that nobody waits for any more is still under way."""
        return any(not attempt.done() for attempt in self._left)

    def run(self, do: Callable[[], None], patience: float | None) -> bool:
        """Do something in a thread of its own, and wait for it.

        Args:
            do: That. What becomes of it after it was left is its own to tell.
            patience: How long to wait, in seconds; None for until it is done.

        Returns:
            Whether it is done; if not, it is left to go on.

        Raises:
            Exception: Whatever ``do`` raises.
        """
        attempt: Future[None] = Future()
        threading.Thread(
            target=copy_context().run, args=(_run, do, attempt), name="events-attempt", daemon=True
        ).start()
        try:
            wait([attempt], patience)
        finally:  # a time limit of the project's may end the waiting, too
            if not attempt.done():
                self._leave(attempt)
        if not attempt.done():
            return False
        attempt.result()
        return True

    def _leave(self, attempt: Future[None]) -> None:
        with self._lock:
            self._left = [attempt, *(other for other in self._left if not other.done())]


def _run(do: Callable[[], None], attempt: Future[None]) -> None:
    try:
        do()
    except BaseException as exc:  # noqa: BLE001 - it is for the one who waits
        attempt.set_exception(exc)
    else:
        attempt.set_result(None)
