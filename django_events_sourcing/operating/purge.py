"""Purging the log of what is older than ``RETENTION``."""

import logging
from collections.abc import Callable
from time import monotonic, sleep

from django_events_sourcing.conf import Settings, get_settings
from django_events_sourcing.exceptions import OperationError
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.leases import Leases
from django_events_sourcing.outbox.tables import raises_missing_tables
from django_events_sourcing.texts import counted
from django_events_sourcing.types import Alias, SequenceNumber

__all__ = [
    "BATCH_SIZE",
    "INTERVAL",
    "count_buried",
    "count_purgeable",
    "purge_buried",
    "purge_database",
    "purge_now",
]

logger = logging.getLogger(__name__)

#: How many events are deleted by one statement.
BATCH_SIZE = 1000

#: How long no other worker purges after one did, in seconds.
INTERVAL = 60.0

# The longest pause between two statements, in seconds.
_LONGEST_PAUSE = 1.0


def purge_database(using: Alias, settings: Settings, stopping: Callable[[], bool], holder: str = "") -> int:
    """Delete what was published and is older than ``RETENTION``; nothing while another worker does, or just did.

    Args:
        using: Alias of the database.
        settings: All of them.
        stopping: Asked before each batch; once it says yes, the purge ends.
        holder: As of ``Leases``.

    Returns:
        How many events were deleted.

    Raises:
        django.db.Error: The database is in trouble.
    """
    leases = Leases(using, settings.lease, holder)
    leases.take({queries.PURGE})
    return _purge(using, leases, settings.retention, stopping) if leases.numbers else 0


def purge_now(using: Alias, retention: float | None = None, *, stopping: Callable[[], bool] = lambda: False) -> int:
    """Delete what was published and is older than ``retention``, though a worker just did so.

    Args:
        using: Alias of the database.
        retention: In seconds; None for the setting ``RETENTION``.
        stopping: Asked before each batch; once it says yes, the purge ends.

    Returns:
        How many events were deleted.

    Raises:
        ConfigurationError: The database has no outbox, or a setting is wrong.
        OperationError: Another process is at it.
        django.db.Error: The database is in trouble.
    """
    settings = get_settings()
    with raises_missing_tables(using):
        queries.ensure_partitions(using)
        leases = Leases(using, settings.lease)
        if not leases.reserve(queries.PURGE):
            raise OperationError(f"The log of database {using!r} is being purged already, by another process.")
        return _purge(using, leases, settings.retention if retention is None else retention, stopping)


def _purge(using: Alias, leases: Leases, retention: float, stopping: Callable[[], bool]) -> int:
    purged = 0
    after: SequenceNumber | None = 0
    try:
        queries.purge_counts(using)
        while after is not None and leases.numbers and not stopping():
            leases.keep()
            begun = monotonic()
            deleted, after = queries.purge(using, retention, after, BATCH_SIZE)
            purged += deleted
            if after is not None:  # there is no hurry: half of the time is for those who write and relay
                sleep(min(monotonic() - begun, _LONGEST_PAUSE))
    finally:
        leases.release(retry_in=INTERVAL)
    if purged:
        text = "Purged %s from the log of database %r."
        logger.info(text, counted(purged, "event"), using, extra={"database": using})
    return purged


def count_purgeable(using: Alias, retention: float | None = None) -> int:
    """How many events ``purge_now`` would delete.

    Args:
        using: Alias of the database.
        retention: In seconds; None for the setting ``RETENTION``.

    Raises:
        ConfigurationError: The database has no outbox, or a setting is wrong.
        django.db.Error: It can't be asked.
    """
    if retention is None:
        retention = get_settings().retention
    count = 0
    after: SequenceNumber | None = 0
    with raises_missing_tables(using):
        while after is not None:
            found, after = queries.purgeable(using, retention, after, BATCH_SIZE)
            count += len(found)
    return count


def purge_buried(using: Alias, age: float = 0.0, *, stopping: Callable[[], bool] = lambda: False) -> int:
    """Delete events that were buried, for good.

    Args:
        using: Alias of the database.
        age: Those only that were buried so many seconds ago.
        stopping: Asked before each batch; once it says yes, the rest stays.

    Returns:
        How many events were deleted.

    Raises:
        ConfigurationError: The database has no outbox.
        django.db.Error: It is in trouble; what was deleted until then is.
    """
    purged = 0
    with raises_missing_tables(using):
        while not stopping() and (deleted := queries.purge_buried(using, age, BATCH_SIZE)):
            purged += deleted
    return purged


def count_buried(using: Alias, age: float = 0.0) -> int:
    """How many events ``purge_buried`` would delete.

    Raises:
        ConfigurationError: The database has no outbox.
        django.db.Error: It can't be asked.
    """
    with raises_missing_tables(using):
        return queries.buried(using, age).count()
