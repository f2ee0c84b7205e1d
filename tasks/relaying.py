"""What both the task and the sweep do: relay a database."""

import logging
from collections.abc import Callable, Collection

from django.db import Error

from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery.enqueue import RELAY_TASK, enqueue
from django_events_sourcing.delivery.waker import wake
from django_events_sourcing.exceptions import PublishError
from django_events_sourcing.outbox.tables import raises_missing_tables
from django_events_sourcing.tasks.circuit import Circuit
from django_events_sourcing.tasks.relay import Relay
from django_events_sourcing.tasks.report import Report
from django_events_sourcing.tasks.session import close_if_dead, has_session
from django_events_sourcing.tasks.trouble import logs_trouble
from django_events_sourcing.texts import without_passwords
from django_events_sourcing.types import Alias, PartitionNumber

__all__ = ["relay_database"]

logger = logging.getLogger(__name__)


def relay_database(  # noqa: PLR0913
    using: Alias,
    stopping: Callable[[], bool],
    partitions: Collection[PartitionNumber] = (),
    *,
    circuit: Circuit | None = None,
    on_published: Callable[[int], None] = lambda _count: None,
    stands_back: Callable[[PublishError], bool] = lambda _trouble: False,
) -> Report | None:
    """Publish what is due in database ``using``.

    Trouble is logged; the events stay, and the next wake-up or sweep tries again.

    Args:
        using: Alias of the database.
        stopping: Asked often; once it says yes, the relay ends.
        partitions: Where to look first.
        circuit: As of ``Relay``.
        on_published: As of ``Relay``.
        stands_back: As of ``Relay``.

    Returns:
        What was done; None if the database, or something unforeseen, kept it from being looked for.
    """

    def run() -> Report:
        with raises_missing_tables(using):
            return Relay(
                using,
                get_settings(),
                circuit=circuit,
                stopping=stopping,
                on_published=on_published,
                stands_back=stands_back,
                on_behind=lambda: wake(using),
            ).run(partitions)

    with logs_trouble(using):
        had_session = has_session(using)
        try:
            report = run()
        except Error:
            # One that idled until the server, or a proxy, ended it is no trouble.
            if not (had_session and close_if_dead(using)):
                raise
            report = run()
        if report.is_stopped:
            _leave_to_others(using)
        return report
    return None


def _leave_to_others(using: Alias) -> None:
    """Wake another relay; at once, because this process may be ending."""
    try:
        enqueue(RELAY_TASK, using)
    except Exception as exc:  # noqa: BLE001 - whatever it is, the sweep finds the rest
        logger.info(
            "The wake-up for the rest of the events in database %r was not sent. %s",
            using,
            without_passwords(exc),
            extra={"database": using},
        )
