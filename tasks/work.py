"""What both the task and the sweep do: relay a database, and tell what keeps them from it."""

import logging
from collections.abc import Callable, Collection
from time import monotonic

from django.db import Error
from django.utils.connection import ConnectionDoesNotExist

from django_events_sourcing.conf import get_settings
from django_events_sourcing.enqueue import enqueue
from django_events_sourcing.exceptions import EventsSourcingError
from django_events_sourcing.tables import is_read_only, missing_tables_told
from django_events_sourcing.tasks.relay import Relay
from django_events_sourcing.tasks.session import end_after
from django_events_sourcing.waker import RELAY_TASK, wake

__all__ = ["relay_database", "tell", "tell_database_error"]

logger = logging.getLogger(__name__)

_LOG_PAUSE = 60.0

# When each problem was last told, by its text: a worker is woken many times a second.
_told: dict[str, float] = {}


def relay_database(using: str, stopping: Callable[[], bool], partitions: Collection[int] = ()) -> None:
    """Publish what is due in database ``using``.

    Trouble is logged, each kind once a minute at most; the events stay, and the next wake-up or sweep tries again.

    Args:
        using: Alias of the database.
        stopping: Asked often; once it says yes, the relay ends.
        partitions: Where to look first.
    """
    try:
        with missing_tables_told(using):
            report = Relay(using, get_settings(), stopping=stopping, on_behind=lambda: wake(using)).run(partitions)
        if report.is_stopped:
            _leave_to_others(using)
    except ConnectionDoesNotExist:
        tell(f"The events of database {using!r} are not published here: this worker's DATABASES lacks it.")
    except EventsSourcingError as exc:
        tell(f"The events of database {using!r} stay there for now. {exc}")
    except Error as exc:
        tell_database_error(using, exc)


def tell_database_error(using: str, exc: Error) -> None:
    """Log what a database has against being relayed, and don't use a broken connection again."""
    if is_read_only(exc):
        tell(f"Database {using!r} is read-only: its events are left to those who reach its primary.", logging.INFO)
    else:
        tell(f"The events of database {using!r} stay there for now: it can't be asked. {type(exc).__name__}: {exc}")
    end_after(using, exc)


def _leave_to_others(using: str) -> None:
    """Wake another relay; at once, for this process may be ending."""
    try:
        enqueue(RELAY_TASK, using)
    except Exception as exc:  # noqa: BLE001 - whatever it is, the sweep finds the rest
        logger.info("The wake-up for the rest of the events in database %r was not sent. %s", using, exc)


def tell(problem: str, level: int = logging.ERROR) -> None:
    """Log ``problem``, unless this process did within the last minute."""
    if monotonic() - _told.get(problem, -_LOG_PAUSE) >= _LOG_PAUSE:
        _told[problem] = monotonic()
        logger.log(level, "%s", problem)
