"""The seam between the event and the way it takes: each delivery is one function, ``(event, using) -> None``."""

from django.utils.module_loading import import_string

from django_events_sourcing.conf import DELIVERIES, get_settings
from django_events_sourcing.events import Event

__all__ = ["deliver"]


def deliver(event: Event, using: str) -> None:
    """Hand ``event`` to the configured delivery.

    Args:
        event: What happened.
        using: Alias of the database it happened in, whose transaction the event shares the fate of.
    """
    import_string(DELIVERIES[get_settings().delivery])(event, using)
