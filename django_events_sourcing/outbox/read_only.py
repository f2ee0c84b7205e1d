"""Whether a database takes no writes."""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, Func
from django.db.models.sql.compiler import SQLCompiler

from django_events_sourcing.outbox.dialects import dialect

__all__ = ["IsReadOnly"]

# Of a standby, or a primary that is set so. SQLite's is the file's, which only a write shows.
_IS_READ_ONLY = {
    "postgresql": "current_setting('transaction_read_only') = 'on'",
    "mysql": "@@read_only",
    "sqlite": "0",
}


class IsReadOnly(Func):
    """In a QuerySet, whether the database takes no writes now."""

    output_field = BooleanField()

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *args: Any, **extra: Any) -> Any:  # noqa: ARG002
        """The database's own."""
        return _IS_READ_ONLY[dialect(connection)], ()
