"""Whether the sessions with a PostgreSQL database may keep prepared statements."""

# Note [Whose session it is]
# A pooler may give each transaction another session, where nothing is prepared. It tells its clients a process number
# that isn't the session's own; who prepares anything compares the two. One that tells no number of its own shows by its
# errors. What the project says of prepared statements is its own to say; and a pool's sessions are others' too.

from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["may_prepare", "tell_error"]

_OPTIONS = {"pool", "prepare_threshold"}

# Codes of PostgreSQL's for a prepared statement that isn't there, or is there already.
_SOMETHING_BETWEEN = {"26000", "42P05"}

# Databases whose sessions turned out not to be one's own.
_behind_something: set[str] = set()


def may_prepare(connection: BaseDatabaseWrapper) -> bool:
    """Whether a session of ``connection`` may, if it has the process number that it was told."""
    return connection.alias not in _behind_something and not _OPTIONS & connection.settings_dict["OPTIONS"].keys()


def tell_error(using: str, sqlstate: str | None) -> None:
    """Have this process prepare nothing more in a database, if an error says that prepared statements get lost there.

    Args:
        using: Alias of the database.
        sqlstate: PostgreSQL's code of the error, None if it has none.
    """
    if sqlstate in _SOMETHING_BETWEEN:
        _behind_something.add(using)
