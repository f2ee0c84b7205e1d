"""What an examination finds."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from django.db import connections

from django_events_sourcing.texts import without_passwords
from django_events_sourcing.types import Alias

__all__ = ["CLOCKS_DIFFER", "Finding", "Item", "Level", "bounded", "no_answer"]

#: By how much two clocks may differ without a word, in seconds.
CLOCKS_DIFFER = 2.0


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # it works, and might not for long, or not as meant
    FAILING = "failing"


class Item(StrEnum):
    """What was looked at."""

    SETTINGS = "settings"
    DATABASE = "database"
    CELERY = "celery"
    WORKER = "worker"
    RABBITMQ = "rabbitmq"
    QUEUE = "queue"
    CANARY = "canary"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        item: What it is part of.
        level: How bad it is.
        what: What was found, and what it means; no password.
        hint: What to do; empty where all is well.
        database: Alias of the database it is about, None if it is about none.
        seconds: Of a canary, how long each part of its way took; else None.
    """

    item: Item
    level: Level
    what: str
    hint: str = ""
    database: Alias | None = None
    seconds: dict[str, float] | None = None


def bounded(item: Item, look: Callable[[], Iterable[Finding]], within: float) -> list[Finding]:
    """What ``look`` finds, or that it takes too long, or fails.

    Args:
        item: What is looked at.
        look: It may ask servers that don't answer; it is left behind in a thread then.
        within: How long it may take, in seconds.
    """
    found: list[Finding] = []

    def run() -> None:
        try:
            found.extend(look())
        except Exception as exc:  # noqa: BLE001 - whatever it is, the rest is looked at
            problem = f"It cannot be looked at: {type(exc).__name__}: {without_passwords(exc)}"
            found.append(Finding(item, Level.FAILING, problem, "The error says more."))
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, name=f"events-doctor-{item}", daemon=True)
    thread.start()
    thread.join(within)
    return [*found, no_answer(item, within)] if thread.is_alive() else found


def no_answer(item: Item, within: float, database: Alias | None = None) -> Finding:
    """That it has not answered within so many seconds."""
    problem = f"It has not answered within {within:g} s."
    return Finding(item, Level.FAILING, problem, "It hangs, or the network to it does.", database)
