"""The session that a relay's thread has with PostgreSQL: it keeps the plans of what runs again and again."""

# Note [Kept plans]
# To plan the statements for a lone event takes PostgreSQL twice as long as to run them. psycopg prepares what is run
# again, but Django has it not, for a pooler may stand between. Here it does, where none does. (See Note [Whose session
# it is].)
#
# A plan that is kept was made for the tables as they were: the queue may have been empty, and holds a million rows by
# now. So these sessions go by indexes, in nested loops, whatever there is; that's right for all that a relay asks. (The
# purge, and whoever else asks the database, has sessions of his own.)

from importlib import import_module
from typing import Any

from django.db import Error, connections

from django_events_sourcing.prepared_statements import may_prepare, tell_error

__all__ = ["end_after", "keep_plans"]

# Of psycopg's connection: whether it keeps plans.
_KEEPS_PLANS = "_django_events_sourcing_keeps_plans"

# How often psycopg is to run a statement before it prepares it.
_THRESHOLD = 1

_IF_DIRECT = """
SELECT set_config('enable_seqscan', 'off', false),
    set_config('enable_hashjoin', 'off', false),
    set_config('enable_mergejoin', 'off', false)
WHERE pg_backend_pid() = %s
"""


def keep_plans(using: str) -> None:
    """Have this thread's session with database ``using`` keep plans from now on, if it's one that can.

    Raises:
        django.db.Error: The database can't be asked.
    """
    connection: Any = connections[using]
    if (
        connection.vendor != "postgresql"
        or not may_prepare(connection)
        or "server_side_binding" in connection.settings_dict["OPTIONS"]  # it has its say on how values are told
    ):
        return
    connection.ensure_connection()
    session = connection.connection
    if hasattr(session, _KEEPS_PLANS):
        return
    django = import_module("django.db.backends.postgresql.base")
    if not hasattr(django, "ServerBindingCursor"):  # with psycopg 2
        return
    is_direct = False
    if session.cursor_factory is django.Cursor:  # and not somebody's who counts, say
        with connection.cursor() as cursor:
            cursor.execute(_IF_DIRECT, [session.info.backend_pid])
            is_direct = bool(cursor.fetchall())
    setattr(session, _KEEPS_PLANS, is_direct)
    if is_direct:
        session.cursor_factory = django.ServerBindingCursor
        session.prepare_threshold = _THRESHOLD


def end_after(using: str, exc: Error) -> None:
    """End this thread's session with database ``using``, if it isn't sure that it works after an error."""
    connection = connections[using]
    if not getattr(connection.connection, _KEEPS_PLANS, False):
        connection.close_if_unusable_or_obsolete()
        return
    tell_error(using, getattr(exc.__cause__, "sqlstate", None))
    connection.close()  # a plan may no longer fit the tables
