"""The session that a relay's thread has with PostgreSQL: it keeps the plans of what runs again and again."""

# Note [Kept plans]
# To plan the statements for a lone event takes PostgreSQL twice as long as to run them. psycopg prepares what is run
# again, but Django has it not, for a pooler may give each transaction another session, where nothing is prepared. Here
# it does, where nothing stands between: a pooler tells its clients a process number that isn't the session's own.
#
# A plan that is kept was made for the tables as they were: the queue may have been empty, and holds a million rows by
# now. So these sessions go by indexes, in nested loops, whatever there is; that's right for all that a relay asks. (The
# purge, and whoever else asks the database, has sessions of his own.)

from typing import Any

from django.db import Error, connections
from django.db.backends.signals import connection_created

__all__ = ["end_after", "keep_plans"]

# Of a connection whose sessions keep plans.
_KEEPS_PLANS = "_django_events_sourcing_keeps_plans"

# What the project says of it is its own to say. A pool's sessions are others' too.
_OPTIONS = {"cursor_factory", "pool", "prepare_threshold", "server_side_binding"}

# What psycopg is to run once before it prepares it.
_THRESHOLD = 1

# Codes of PostgreSQL's for a prepared statement that isn't there, or is there already.
_SOMETHING_BETWEEN = {"26000", "42P05"}

_IF_DIRECT = """
SELECT set_config('enable_seqscan', 'off', false),
    set_config('enable_hashjoin', 'off', false),
    set_config('enable_mergejoin', 'off', false)
WHERE pg_backend_pid() = %s
"""


def keep_plans(using: str) -> None:
    """Have the sessions that this thread has with database ``using`` from now on keep plans, if it's one that can."""
    connection = connections[using]
    if connection.vendor == "postgresql" and not _OPTIONS & connection.settings_dict["OPTIONS"].keys():
        connection.close()
        vars(connection)[_KEEPS_PLANS] = True


def end_after(using: str, exc: Error) -> None:
    """End this thread's session with database ``using``, if it isn't sure that it works after an error."""
    connection = connections[using]
    if not vars(connection).get(_KEEPS_PLANS):
        connection.close_if_unusable_or_obsolete()
        return
    if getattr(exc.__cause__, "sqlstate", None) in _SOMETHING_BETWEEN:  # a pooler that tells no number of its own
        vars(connection)[_KEEPS_PLANS] = False
    connection.close()  # a plan may no longer fit the tables


def _on_connected(*, connection: Any, **_: Any) -> None:
    if not vars(connection).get(_KEEPS_PLANS):
        return
    try:
        from django.db.backends.postgresql.base import ServerBindingCursor  # noqa: PLC0415 - psycopg may not be there
    except ImportError:  # with psycopg 2
        return
    session = connection.connection
    with connection.cursor() as cursor:
        cursor.execute(_IF_DIRECT, [session.info.backend_pid])
        is_direct = bool(cursor.fetchall())
    if is_direct:
        session.cursor_factory = ServerBindingCursor
        session.prepare_threshold = _THRESHOLD


connection_created.connect(_on_connected, dispatch_uid="django_events_sourcing.tasks.session")
