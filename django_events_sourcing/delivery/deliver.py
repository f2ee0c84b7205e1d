"""The seam between events and the way they take: each delivery is one function, ``(events, using) -> None``."""

from collections.abc import Sequence

from django.utils.module_loading import import_string

from django_events_sourcing.conf import DELIVERIES, get_settings
from django_events_sourcing.events import Event
from django_events_sourcing.types import Alias

__all__ = ["deliver"]


def deliver(events: Sequence[Event], using: Alias) -> None:
    """Hand ``events`` to the configured delivery.

    Args:
        events: What happened, in that order; nothing is done if there are none.
        using: Alias of the database it happened in, whose transaction the events share the fate of.
    """
    if events:
        import_string(DELIVERIES[get_settings().delivery])(events, using)
