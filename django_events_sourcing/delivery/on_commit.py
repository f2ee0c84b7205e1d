"""Waking the relay when a transaction commits, once for all of its events."""

import logging
from collections.abc import Collection

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from django_events_sourcing.delivery.in_tests import is_test_database, is_withheld
from django_events_sourcing.delivery.transactions import is_in_foreign_transaction
from django_events_sourcing.delivery.waker import wake
from django_events_sourcing.types import Alias, PartitionNumber

__all__ = ["wake_on_commit"]

# Of a connection: Django's list of what to call. Where it is another, the hook is registered for each event.
_CALLBACKS = "run_on_commit"

# In the attributes of a connection.
_HOOK = "_django_events_sourcing_hook"

logger = logging.getLogger(__name__)


def wake_on_commit(connection: BaseDatabaseWrapper, partitions: Collection[PartitionNumber]) -> None:
    """Wake the relay once when the transaction in a database commits, however often it was asked for.

    In manual transaction management, or after a ``BEGIN`` by hand, Django doesn't know when that is; the sweep finds
    what was committed.

    Args:
        connection: With the database.
        partitions: In which there are events then.
    """
    if is_in_foreign_transaction(connection):
        logger.debug("No wake-up from a transaction in database %r that Django does not know of.", connection.alias)
        return
    hook = vars(connection).get(_HOOK)
    if hook is None:
        hook = vars(connection)[_HOOK] = _Hook(connection.alias)
    hook.partitions.update(partitions)
    # A TestCase never commits: captureOnCommitCallbacks() calls what was registered since it began.
    if not hook.is_registered(connection) or is_test_database(connection.alias):
        if is_withheld(connection.alias):
            return
        try:
            hook.register(connection)
        except TransactionManagementError:
            logger.debug("No wake-up from manual transaction management in database %r.", connection.alias)


class _Hook:
    """Of one connection. What it holds of transactions that were rolled back does no harm.

    Django forgets it along with the savepoint in which it was registered, and then has those behind it move up. So it
    looks at one place only, however many callbacks a transaction has, and is at times registered twice.
    """

    def __init__(self, using: Alias) -> None:
        self._using = using
        self._place: int | None = None
        self.partitions: set[PartitionNumber] = set()
        self.__qualname__ = f"{wake.__module__}.{wake.__name__}"  # what Django calls it by, should it fail

    def is_registered(self, connection: BaseDatabaseWrapper) -> bool:
        """Whether it surely is called at the next commit."""
        callbacks = getattr(connection, _CALLBACKS, ())
        return self._place is not None and self._place < len(callbacks) and callbacks[self._place][1] is self

    def register(self, connection: BaseDatabaseWrapper) -> None:
        """Have it called at the next commit.

        Raises:
            TransactionManagementError: Django doesn't know when that is.
        """
        self._place = len(getattr(connection, _CALLBACKS, ()))
        connection.on_commit(self, robust=True)

    def __call__(self) -> None:
        self._place = None  # a TestCase leaves it in the list, and calls what is behind it
        partitions, self.partitions = self.partitions, set()
        if partitions:
            wake(self._using, partitions)
