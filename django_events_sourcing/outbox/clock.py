"""The database's time: the one clock that all processes share."""

from datetime import UTC, datetime

from django.db.models import BigIntegerField, Value
from django.db.models.expressions import Combinable

from django_events_sourcing.outbox.dialects import ByDialect
from django_events_sourcing.types import Microseconds

__all__ = [
    "MICROSECONDS",
    "MINUTE",
    "NOW",
    "DatabaseNow",
    "from_microseconds",
    "from_now",
    "in_microseconds",
    "known_moment",
    "seconds_since",
    "seconds_until",
    "to_microseconds",
]

# Note [Times are whole microseconds]
# The outbox's tables hold times as microseconds since 1970, UTC, not as Django's date columns: those are in the time
# zone of the connection or, with USE_TZ = False, of the project, where an hour of each autumn comes twice.

#: In a second.
MICROSECONDS = 1_000_000

#: In microseconds.
MINUTE = 60 * MICROSECONDS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


#: The time by a database's clock, when its statement began, in microseconds since 1970: by the database's dialect.
NOW = {
    "postgresql": "CAST(EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP()) * 1000000 AS BIGINT)",
    # NOW() is in the session's time zone
    "mysql": "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))",
    # whose clock ticks in milliseconds
    "sqlite": "CAST(ROUND((JULIANDAY('now') - 2440587.5) * 86400000) AS INTEGER) * 1000",
}


class DatabaseNow(ByDialect):
    """``NOW``, in a QuerySet."""

    output_field = BigIntegerField()
    words = NOW


def from_now(seconds: float) -> Combinable:
    """So many seconds after ``DatabaseNow``; before it, where they are negative."""
    # Else psycopg, where the server puts values in, would make 32 bits of it.
    return DatabaseNow() + Value(in_microseconds(seconds), output_field=BigIntegerField())


def in_microseconds(seconds: float) -> int:
    """A duration as the tables reckon."""
    return round(seconds * MICROSECONDS)


def seconds_since(moment: Microseconds, now: Microseconds) -> float:
    """How far back a moment is that a table holds."""
    return (now - moment) / MICROSECONDS


def seconds_until(moment: Microseconds | None, now: Microseconds) -> float | None:
    """How far ahead a moment is that a table holds; None if there is none, or it is over."""
    return (moment - now) / MICROSECONDS if moment is not None and moment > now else None


def to_microseconds(time: datetime) -> int:
    """An aware datetime as the tables hold it."""
    past = time - _EPOCH
    return (past.days * 86_400 + past.seconds) * MICROSECONDS + past.microseconds


def known_moment(microseconds: Microseconds | None) -> datetime | None:
    """The same as ``from_microseconds``, of a column that may be NULL."""
    return None if microseconds is None else from_microseconds(microseconds)


def from_microseconds(microseconds: Microseconds) -> datetime:
    """The datetime, in UTC, that ``to_microseconds`` was given."""
    seconds, rest = divmod(microseconds, MICROSECONDS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)
