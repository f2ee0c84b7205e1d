"""What keeps PostgreSQL from clearing away the dead rows of the queue."""

from dataclasses import dataclass

from django.db import connections

from django_events_sourcing.types import Alias

__all__ = ["OldestTransaction", "oldest_transaction"]

# Whatever pins the horizon of VACUUM: https://www.postgresql.org/docs/current/routine-vacuuming.html. A role without
# pg_read_all_stats sees its own sessions only.
_OLDEST = """
SELECT holder, seconds FROM (
    SELECT
        concat_ws(
            ', ', 'pid ' || pid, 'user ' || usename, 'application ' || nullif(application_name, ''),
            'client ' || host(client_addr), state
        ) AS holder,
        extract(epoch FROM clock_timestamp() - xact_start) AS seconds,
        greatest(age(backend_xid), age(backend_xmin)) AS age
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'
    UNION ALL
    SELECT
        concat_ws(', ', 'prepared transaction ' || gid, 'user ' || owner),
        extract(epoch FROM clock_timestamp() - prepared),
        age(transaction)
    FROM pg_prepared_xacts
    WHERE database = current_database()
    UNION ALL
    SELECT 'replication slot ' || slot_name, NULL, age(xmin)
    FROM pg_replication_slots
) holders
WHERE age IS NOT NULL
ORDER BY age DESC, seconds DESC
LIMIT 1
"""


@dataclass(frozen=True)
class OldestTransaction:
    """The oldest transaction whose view of the database must be kept.

    Rows that were deleted since it began stay in the tables and their indexes.

    Attributes:
        holder: Whose it is: a session with its process id, a prepared transaction, or a replication slot.
        seconds: How long it has been open, None if that is not known.
    """

    holder: str
    seconds: float | None


def oldest_transaction(using: Alias) -> OldestTransaction | None:
    """The oldest transaction in database ``using``, this one left out; None without any, and where it isn't PostgreSQL.

    Raises:
        django.db.Error: The database can't be asked.
    """
    connection = connections[using]
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute(_OLDEST)
        row = cursor.fetchone()
    if row is None:
        return None
    holder, seconds = row
    return OldestTransaction(holder, None if seconds is None else float(seconds))
