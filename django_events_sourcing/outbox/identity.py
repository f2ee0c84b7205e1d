"""Which aliases lead to one outbox: a second role, or another way through a pooler."""

from collections.abc import Iterable

from django.db import Error, connections, transaction

from django_events_sourcing.models import QueueEntry
from django_events_sourcing.outbox.dialects import dialect
from django_events_sourcing.outbox.queries.common import delete
from django_events_sourcing.outbox.tables import outbox_databases
from django_events_sourcing.types import Alias

__all__ = ["one_of_each_outbox", "writable_twin"]

_QUEUE = QueueEntry._meta.db_table

# Which no event has.
_NO_SEQUENCE = -1

# What only connections to one and the same table are told alike; to ask needs no right to it. A standby is another one.
_ASK = {
    "postgresql": f"SELECT pg_postmaster_start_time(), current_database(), '{_QUEUE}'::regclass::oid",
    "mysql": "SELECT @@hostname, @@port, @@datadir, DATABASE()",
    "sqlite": "SELECT file FROM pragma_database_list WHERE name = 'main'",
}


def one_of_each_outbox(aliases: Iterable[Alias]) -> list[Alias]:
    """One alias for each outbox that these lead to; of several the first one that may write, if any does.

    Args:
        aliases: Of databases that have the tables. What can't be asked stands for itself.
    """
    by_identity: dict[object, list[Alias]] = {}
    for alias in aliases:
        by_identity.setdefault(_identity(alias), []).append(alias)
    return [next(filter(_may_write, same), same[0]) if len(same) > 1 else same[0] for same in by_identity.values()]


def writable_twin(using: Alias) -> Alias | None:
    """Another alias, which leads to the outbox of database ``using`` and may write; None if there is none."""
    identity = _identity(using)
    for alias in outbox_databases():
        had_session = connections[alias].connection is not None
        try:
            if alias != using and _identity(alias) == identity and _may_write(alias):
                return alias
        finally:
            if not had_session:
                connections[alias].close()
    return None


def _identity(using: Alias) -> object:
    """What other aliases of the same outbox have, too; where that is not to be had, the alias itself."""
    kind = dialect(connections[using])
    try:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            cursor.execute(_ASK[kind])
            found = cursor.fetchone()
    except Error:
        return using
    return (kind, *found) if all(found) else using  # a database in memory has no file


def _may_write(using: Alias) -> bool:
    try:
        with transaction.atomic(using=using):
            delete(QueueEntry.objects.using(using).filter(sequence=_NO_SEQUENCE), using)
    except Error:
        return False
    return True
