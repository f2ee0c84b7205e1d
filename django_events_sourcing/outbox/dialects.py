"""Which SQL a database speaks."""

from typing import Any, ClassVar

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Func
from django.db.models.sql.compiler import SQLCompiler

from django_events_sourcing.exceptions import ConfigurationError

__all__ = ["ByDialect", "Letters", "dialect", "letters", "speaks"]

# Of each backend of Django's, by its module.
_DIALECTS = {
    "django.db.backends.postgresql.base": "postgresql",
    "django.db.backends.mysql.base": "mysql",
    "django.db.backends.sqlite3.base": "sqlite",
}


def dialect(connection: BaseDatabaseWrapper) -> str:
    """``"postgresql"``, ``"mysql"`` (MariaDB, too) or ``"sqlite"``.

    Args:
        connection: By a backend of Django's, or by one that derives from it, whatever ``vendor`` it calls itself.

    Raises:
        ConfigurationError: By any other.
    """
    spoken = _spoken(connection)
    if spoken is not None:
        return spoken
    raise ConfigurationError(
        f"Database {connection.alias!r} is {connection.display_name}: the outbox needs PostgreSQL, MariaDB, MySQL or "
        "SQLite. Set EVENTS_SOURCING['DELIVERY'] to 'direct'."
    )


def speaks(connection: BaseDatabaseWrapper, spoken: str) -> bool:
    """Whether that is the dialect of a database, which may be of any kind."""
    return _spoken(connection) == spoken


def _spoken(connection: BaseDatabaseWrapper) -> str | None:
    if connection.vendor in _DIALECTS.values():
        return connection.vendor
    return next((_DIALECTS[cls.__module__] for cls in type(connection).__mro__ if cls.__module__ in _DIALECTS), None)


def letters(spoken: str, text: str) -> str:
    """A text, in a dialect's SQL, to be compared letter by letter: MySQL may take no notice of case."""
    return f"CAST({text} AS BINARY)" if spoken == "mysql" else text


class Letters(Func):
    """The same in a QuerySet."""

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *args: Any, **extra: Any) -> Any:
        """In the database's own words."""
        template = letters(dialect(connection), "%(expressions)s")
        return super().as_sql(compiler, connection, *args, **{**extra, "template": template})


class ByDialect(Func):
    """In a QuerySet, an expression without arguments that each database has in its own words."""

    #: By its dialect.
    words: ClassVar[dict[str, str]]

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *args: Any, **extra: Any) -> Any:  # noqa: ARG002
        """The database's own."""
        return self.words[dialect(connection)], ()
