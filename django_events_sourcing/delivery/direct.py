"""The delivery "direct": after the commit, one Celery task an event."""

import logging
from collections.abc import Sequence
from functools import partial

from django.db import connections
from django.db.transaction import TransactionManagementError

from django_events_sourcing.delivery.enqueue import PUBLISH_TASK, enqueue
from django_events_sourcing.delivery.in_tests import is_withheld
from django_events_sourcing.delivery.transactions import is_in_foreign_transaction
from django_events_sourcing.events import Event
from django_events_sourcing.texts import without_passwords
from django_events_sourcing.types import Alias

__all__ = ["hand_over"]

logger = logging.getLogger(__name__)


def hand_over(events: Sequence[Event], using: Alias) -> None:
    """Enqueue for each event the task that publishes it, once the transaction in database ``using`` commits.

    Raises:
        django.db.transaction.TransactionManagementError: Django doesn't know when that is: the connection is not in
            autocommit mode, or in a transaction that was begun by hand.
    """
    connection = connections[using]
    # Within atomic(), Django remembers by an attribute of no public name whether the block began in autocommit mode.
    began_so = getattr(connection, "commit_on_exit", True)
    if not (began_so if connection.in_atomic_block else connection.get_autocommit()):
        raise TransactionManagementError(
            f"{events[0].label}: database {using!r} is in manual transaction management "
            "(set_autocommit(False)), in which on_commit() cannot be used, and with it the delivery 'direct'. Use "
            "transaction.atomic()."
        )
    if is_in_foreign_transaction(connection):
        raise TransactionManagementError(
            f"{events[0].label}: database {using!r} is in a transaction that was begun by hand. Django does not know "
            "when it commits, so that the delivery 'direct' cannot be used. Use transaction.atomic()."
        )
    if is_withheld(using):
        return
    for event in events:
        connection.on_commit(partial(_enqueue, event), robust=True)


def _enqueue(event: Event) -> None:
    try:
        enqueue(PUBLISH_TASK, event.to_message())
    except Exception as exc:  # noqa: BLE001 - whatever it is, the request goes on
        # without its traceback: the texts of other libraries in it may quote a password
        logger.error(  # noqa: TRY400
            "Event %s is lost: it is committed, but Celery's broker did not take its task. %s: %s",
            event.label,
            type(exc).__name__,
            without_passwords(exc),
            extra=event.log_fields,
        )
