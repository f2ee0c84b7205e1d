"""Whether the worker is shutting down: known in each of its processes and threads, so that relays end in time."""

import mmap
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from celery.signals import worker_init, worker_shutting_down

__all__ = ["is_stopping", "stoppable"]

# Shared with the processes that a prefork worker forks, now or later. Celery waits for their tasks, but doesn't tell
# them that it does.
_is_stopping = mmap.mmap(-1, 1)


def is_stopping() -> bool:
    """Whether this process' worker was asked to shut down."""
    return _is_stopping[0] != 0


@contextmanager
def stoppable() -> Iterator[Callable[[], bool]]:
    """Within it a SIGTERM asks to stop, and takes effect afterwards; gives what tells whether to stop.

    A service manager that signals all processes of a worker would otherwise end its children in the middle. Where
    somebody else handles the signal, as Celery does in the main process, that is left as it is.
    """
    terminated = False

    def terminate(_number: int, _frame: object) -> None:
        nonlocal terminated
        terminated = True

    takes_signals = threading.current_thread() is threading.main_thread()
    if not (takes_signals and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL):
        yield is_stopping
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield lambda: terminated or is_stopping()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if terminated:
            os.kill(os.getpid(), signal.SIGTERM)


@worker_init.connect  # type: ignore[untyped-decorator]
def _start(**_kwargs: Any) -> None:
    _is_stopping[0] = 0


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop(**_kwargs: Any) -> None:
    _is_stopping[0] = 1
