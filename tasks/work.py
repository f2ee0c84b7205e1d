"""What both the task and the sweep do: relay a database, and log what keeps them from it."""

import logging
from collections.abc import Callable, Collection

from django.db import Error

from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery.enqueue import enqueue
from django_events_sourcing.delivery.waker import RELAY_TASK, wake
from django_events_sourcing.exceptions import EventsSourcingError
from django_events_sourcing.logs import log_once
from django_events_sourcing.outbox.tables import is_read_only, raises_missing_tables
from django_events_sourcing.tasks.relay import Relay
from django_events_sourcing.tasks.session import end_after
from django_events_sourcing.texts import without_passwords

__all__ = ["log_database_error", "log_trouble", "relay_database"]

logger = logging.getLogger(__name__)


def relay_database(using: str, stopping: Callable[[], bool], partitions: Collection[int] = ()) -> None:
    """Publish what is due in database ``using``.

    Trouble is logged, each kind once a minute at most; the events stay, and the next wake-up or sweep tries again.

    Args:
        using: Alias of the database.
        stopping: Asked often; once it says yes, the relay ends.
        partitions: Where to look first.
    """
    try:
        with raises_missing_tables(using):
            report = Relay(using, get_settings(), stopping=stopping, on_behind=lambda: wake(using)).run(partitions)
        if report.is_stopped:
            _leave_to_others(using)
    except EventsSourcingError as exc:
        log_trouble(using, exc)
    except Error as exc:
        log_database_error(using, exc)


def log_trouble(using: str, exc: EventsSourcingError) -> None:
    """Log what keeps a database from being relayed."""
    problem = f"The events of database {using!r} stay there for now. {exc}"
    log_once(logger, logging.ERROR, (using, type(exc).__name__), problem)


def log_database_error(using: str, exc: Error) -> None:
    """Log what a database has against being relayed, and don't use a broken connection again."""
    level, problem = logging.ERROR, f"The events of database {using!r} stay there for now: it can't be asked. "
    problem += f"{type(exc).__name__}: {exc}"
    if is_read_only(exc):
        level, problem = logging.INFO, f"Database {using!r} is read-only: its events are left to its primary's workers."
    log_once(logger, level, (using, type(exc).__name__), problem)
    end_after(using, exc)


def _leave_to_others(using: str) -> None:
    """Wake another relay; at once, for this process may be ending."""
    try:
        enqueue(RELAY_TASK, using)
    except Exception as exc:  # noqa: BLE001 - whatever it is, the sweep finds the rest
        logger.info(
            "The wake-up for the rest of the events in database %r was not sent. %s", using, without_passwords(exc)
        )
