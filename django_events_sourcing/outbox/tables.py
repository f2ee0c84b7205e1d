"""Whether a database has the outbox's tables."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections, router
from django.db.utils import OperationalError, ProgrammingError

from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.models import (
    Failure,
    LogEntry,
    ObjectLock,
    Operation,
    Partition,
    PublishedCount,
    QueueEntry,
    Worker,
)
from django_events_sourcing.types import Alias

__all__ = [
    "TABLES",
    "has_tables",
    "is_forbidden",
    "is_read_only",
    "missing_tables",
    "outbox_databases",
    "raises_missing_tables",
]

#: Their names.
TABLES = {
    model._meta.db_table
    for model in (LogEntry, QueueEntry, Failure, Partition, ObjectLock, PublishedCount, Worker, Operation)
}
# Codes of PostgreSQL and of MySQL, and SQLite's words.
_NO_SUCH_TABLE: set[object] = {"42P01", 1146, "no such table"}
_READ_ONLY: set[object] = {"25006", 1290, 1792, 1836, "readonly database"}
_FORBIDDEN: set[object] = {"42501", 1142}


def has_tables(using: Alias) -> bool:
    """Whether events can be kept in database ``using``.

    Raises:
        django.db.Error: The database can't be asked.
    """
    connection = connections[using]
    with connection.cursor() as cursor:
        return set(connection.introspection.table_names(cursor)) >= TABLES


def outbox_databases() -> list[Alias]:
    """Aliases of the databases that may have the outbox's tables: all that no router keeps them from."""
    return [alias for alias in connections if router.allow_migrate_model(alias, LogEntry)]


def missing_tables(using: Alias) -> str:
    """What to report of a database that lacks the tables, and what to do about it."""
    if not router.allow_migrate_model(using, LogEntry):
        return (
            f"Database {using!r} lacks the outbox's tables ({LogEntry._meta.db_table} …), and a database router's "
            f"allow_migrate() says no to the app django_events_sourcing there: make it say yes, then run `manage.py "
            f"migrate --database={using}`."
        )
    return (
        f"Database {using!r} lacks the outbox's tables ({LogEntry._meta.db_table} …): run `manage.py migrate "
        f"--database={using}`."
    )


@contextmanager
def raises_missing_tables(using: Alias) -> Iterator[None]:
    """Within it, a table of the outbox's that database ``using`` lacks raises ``ConfigurationError``, which says so."""
    try:
        yield
    except (ProgrammingError, OperationalError) as exc:
        if _says(exc, _NO_SUCH_TABLE):
            raise ConfigurationError(missing_tables(using)) from exc
        raise


def is_read_only(exc: Exception) -> bool:
    """Whether an error of a database says that it is read-only: a replica, whose primary is relayed itself."""
    return _says(exc, _READ_ONLY)


def is_forbidden(exc: Exception) -> bool:
    """Whether an error of a database says that its user may not do what was asked."""
    return _says(exc, _FORBIDDEN)


def _says(exc: Exception, codes: set[object]) -> bool:
    cause = exc.__cause__
    code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or (exc.args or (None,))[0]
    return code in codes or any(isinstance(words, str) and words in str(exc) for words in codes)
