"""The delivery "outbox": events are written to the log and the queue, in the transaction of the change they report."""

# Note [The user's session]
# In a request the library does nothing to the database session but ordinary statements by Django's own API and
# `on_commit`. Each is waited for, and its error is raised by the call that caused it, so that Django knows of it before
# any code of the project's goes on. (To send the INSERT without waiting for its answer was tried: the request was no
# faster under a web server, and an error that belonged to a call which had returned rolled back what Django took for
# committed.)

from collections.abc import Sequence
from contextlib import nullcontext

from django.db import connections

from django_events_sourcing.delivery.on_commit import wake_on_commit
from django_events_sourcing.delivery.transactions import own_transaction
from django_events_sourcing.events import Event
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.tables import raises_missing_tables
from django_events_sourcing.types import Alias

__all__ = ["hand_over"]


def hand_over(events: Sequence[Event], using: Alias) -> None:
    """Write events into database ``using``, within a transaction as a part of it, and wake the relay at its commit.

    Raises:
        ConfigurationError: The database lacks the outbox's tables.
        django.db.Error: Whatever else the database has against it.
    """
    needs_none = queries.is_one_statement(using, events)
    with raises_missing_tables(using), nullcontext() if needs_none else own_transaction(using):
        partitions = queries.insert(using, events)
    wake_on_commit(connections[using], partitions)
