"""Whether a database takes no writes."""

from django.db.models import BooleanField

from django_events_sourcing.outbox.dialects import ByDialect

__all__ = ["IsReadOnly"]


class IsReadOnly(ByDialect):
    """In a QuerySet, whether the database takes no writes now: a standby's, or a primary's that is set so.

    SQLite's is its file's, which only a write shows.
    """

    output_field = BooleanField()
    words = {  # noqa: RUF012 - of the base class
        "postgresql": "current_setting('transaction_read_only') = 'on'",
        "mysql": "@@read_only",
        "sqlite": "0",
    }
