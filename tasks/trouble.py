"""Logging what keeps the events of a database where they are, each kind of trouble once a minute at most."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, connections

from django_events_sourcing.exceptions import EventsSourcingError
from django_events_sourcing.logs import log_once
from django_events_sourcing.outbox.identity import writable_twin
from django_events_sourcing.outbox.tables import is_forbidden, is_read_only
from django_events_sourcing.tasks.session import end_after
from django_events_sourcing.types import Alias

__all__ = ["logs_trouble", "logs_whatever_happens"]

logger = logging.getLogger(__name__)


@contextmanager
def logs_trouble(using: Alias) -> Iterator[None]:
    """Log what may keep a database from being relayed: the settings, RabbitMQ, or the database itself."""
    try:
        yield
    except EventsSourcingError as exc:
        problem = f"The events of database {using!r} stay there for now. {exc}"
        log_once(logger, logging.ERROR, (using, type(exc).__name__), problem, extra={"database": using})
    except Error as exc:
        _log_database_error(using, exc)
        end_after(using, exc)


@contextmanager
def logs_whatever_happens(using: Alias) -> Iterator[None]:
    """The same, and a thread goes on also after what nobody foresaw."""
    try:
        with logs_trouble(using):
            yield
    except Exception:
        logger.exception("The relay of database %r failed.", using, extra={"database": using})


def _log_database_error(using: Alias, exc: Error) -> None:
    level, problem = logging.ERROR, f"The events of database {using!r} stay there for now: it cannot be asked. "
    problem += f"{type(exc).__name__}: {exc}"
    if is_read_only(exc):
        level, problem = logging.INFO, f"Database {using!r} is read-only: its events are left to its primary's workers."
    elif is_forbidden(exc):
        if twin := writable_twin(using):
            level = logging.INFO
            problem = f"Database {using!r} is {twin!r} with a user who may not write: {twin!r} has its events relayed."
        else:
            problem += (
                f". Let the user {connections[using].settings_dict['USER']!r} read and write the tables "
                "django_events_sourcing_*."
            )
    log_once(logger, level, (using, type(exc).__name__), problem, extra={"database": using})
