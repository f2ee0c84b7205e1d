"""A backend that derives from Django's for PostgreSQL, as CockroachDB's does, or one of a company's own."""

from django.db.backends.postgresql.base import DatabaseWrapper as PostgreSQL

__all__ = ["DatabaseWrapper"]


class DatabaseWrapper(PostgreSQL):
    """Is called otherwise, and can do the same."""

    vendor = "another"
