"""The project's own tasks."""

import os
import time
from pathlib import Path

from celery import shared_task

__all__ = ["note_delay", "occupy"]


@shared_task
def note_delay(sent: float) -> None:
    """Write down how many seconds after ``sent`` it runs."""
    with Path(os.environ["DELAYS"]).open("a") as file:
        file.write(f"{time.time() - sent}\n")


@shared_task
def occupy(seconds: float) -> None:
    """Occupy a process of the worker."""
    time.sleep(seconds)
