"""The session that a relay's thread has with PostgreSQL."""

# Note [The relay's own session]
# To plan the statements for a lone event takes PostgreSQL twice as long as to run them, and to wait for the disk at
# each COMMIT longer than both. So a relay's thread has a connection of its own, made by Django as any other, whose
# OPTIONS say three things more:
#
# - Statements are prepared, and their plans kept. A plan is made for the tables as they are then: the queue may be
#   empty, and hold a million rows later. So these sessions go by indexes, in nested loops, whatever there is; that's
#   right for all that a relay asks. Nor are plans compiled to machine code, which would be done anew at each execution.
#   (The purge, and whoever else asks the database, has sessions of his own.)
# - A COMMIT doesn't wait for the disk. What a server that crashes may lose by that is that a partition was leased, or
#   an event published: then it comes again under its id. (An event that is found dead does wait.)
#
# Behind a pooler each transaction may get another session, where nothing is prepared, and what is set there stays for
# others. It gives its clients a process number that isn't the session's own, so that number is asked for first, on an
# ordinary session. One that hides even that shows by its errors: any error ends the session, and the thread begins with
# an ordinary one again. What the project itself says of prepared statements is its own to say.

import logging
from typing import Any

from django.db import Error, connections

from django_events_sourcing.types import Alias

__all__ = ["close_connection", "close_if_dead", "end_after", "has_session", "use_own_session"]

logger = logging.getLogger(__name__)

# Of a DatabaseWrapper: whether it is a relay's own.
_IS_OWN = "_django_events_sourcing_is_own"

_ON_ITS_OWN = {"pool", "prepare_threshold", "server_side_binding"}

_SETTINGS = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off -c synchronous_commit=off"

# How often psycopg is to run a statement before it prepares it.
_THRESHOLD = 1

# Codes of PostgreSQL's for a prepared statement that isn't there, or is there already.
_SOMETHING_BETWEEN = {"26000", "42P05"}

# Databases whose sessions turned out not to be one's own.
_behind_something: set[str] = set()


def use_own_session(using: Alias) -> None:
    """Give this thread a session of its own with database ``using``, if it's one that can be.

    Raises:
        django.db.Error: The database can't be asked.
    """
    connection: Any = connections[using]
    options = connection.settings_dict["OPTIONS"]
    if (
        connection.vendor != "postgresql"
        or connection.Database.__name__ != "psycopg"  # but psycopg 2
        or vars(connection).get(_IS_OWN)
        or using in _behind_something
        or _ON_ITS_OWN & options.keys()
    ):
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        if cursor.fetchone() != (connection.connection.info.backend_pid,):
            _behind_something.add(using)
            return
    given = connection.connection.info.options  # those of PGOPTIONS and of a service file, too
    connection.close()
    own: Any = connections.create_connection(using)
    more = {"server_side_binding": True, "prepare_threshold": _THRESHOLD}
    settings = f"{given} {_SETTINGS}".strip()
    own.settings_dict = {**own.settings_dict, "OPTIONS": {**options, **more, "options": settings}}
    setattr(own, _IS_OWN, True)
    connections[using] = own


def end_after(using: Alias, exc: Error) -> None:
    """End this thread's session with database ``using``, if it isn't sure that it works after an error."""
    connection = connections[using]
    if not vars(connection).get(_IS_OWN):
        connection.close_if_unusable_or_obsolete()
        return
    if getattr(exc.__cause__, "sqlstate", None) in _SOMETHING_BETWEEN:
        _behind_something.add(using)
    connection.close()  # a plan may no longer fit the tables
    del connections[using]


def has_session(using: Alias) -> bool:
    """Whether this thread has a session with database ``using``, dead or alive."""
    return connections[using].connection is not None


def close_if_dead(using: Alias) -> bool:
    """Whether, after an error, this thread's session with database ``using`` is dead; the next one is of its kind."""
    if has_session(using) and connections[using].is_usable():
        return False
    connections[using].close()
    return True


def close_connection(using: Alias) -> None:
    """Close this thread's connection to database ``using``."""
    try:
        connections[using].close()
    except Error as exc:
        logger.debug("The connection to database %r could not be closed. %s", using, exc)
