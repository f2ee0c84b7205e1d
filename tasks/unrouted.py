"""Events that were published while no queue was bound for them: nobody gets them."""

import logging
from collections.abc import Iterable

from django_events_sourcing.logs import HOUR
from django_events_sourcing.tasks.schedule import Schedule
from django_events_sourcing.texts import printable

__all__ = ["tell_of_unrouted"]

# How many names a line of the log has at most.
_MOST = 5

logger = logging.getLogger(__name__)

# When a process of this worker may tell of any again.
_tellings = Schedule()


def tell_of_unrouted(events: Iterable[tuple[str, str]]) -> None:
    """Have the worker's log say, once an hour, that these services and names of events are bound to no queue."""
    if not _tellings.claim_if_due(0, HOUR):
        return
    names = sorted(f"{name} of {service}" for service, name in events)
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    logger.warning(
        "RabbitMQ has no queue bound for events %s%s: they were published, and nobody gets them. A nameko service that "
        "handles them makes its queue as it starts. With EVENTS_SOURCING['MANDATORY'] such events are kept. (Logged "
        "once an hour at most.)",
        printable(", ".join(names[:_MOST])),
        more,
    )
