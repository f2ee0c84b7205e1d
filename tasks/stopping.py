"""Whether the worker is shutting down: known in each of its processes and threads, so that relays end in time."""

import mmap
from typing import Any

from celery.signals import worker_init, worker_shutting_down

__all__ = ["is_stopping"]

# Shared with the processes that a prefork worker forks, now or later. Celery waits for their tasks, but doesn't let
# them know that it does.
_is_stopping = mmap.mmap(-1, 1)


def is_stopping() -> bool:
    """Whether this process' worker was asked to shut down."""
    return _is_stopping[0] != 0


@worker_init.connect  # type: ignore[untyped-decorator]
def _start(**_kwargs: Any) -> None:
    _is_stopping[0] = 0


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _stop(**_kwargs: Any) -> None:
    _is_stopping[0] = 1
