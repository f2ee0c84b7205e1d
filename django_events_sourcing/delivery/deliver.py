"""The seam between events and the way they take: each delivery is one function, ``(events, using) -> None``."""

from collections.abc import Sequence

from django.utils.module_loading import import_string

from django_events_sourcing.conf import DELIVERIES, get_settings
from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import PayloadTooLarge
from django_events_sourcing.types import Alias

__all__ = ["deliver"]

# All headers have to fit into one frame of AMQP's, of 128 KiB.
_LONGEST_KEY = 16_000


def deliver(events: Sequence[Event], using: Alias) -> None:
    """Hand ``events`` to the configured delivery.

    Args:
        events: What happened, in that order; nothing is done if there are none.
        using: Alias of the database it happened in, whose transaction the events share the fate of.

    Raises:
        PayloadTooLarge: One has a body of more than ``MAX_PAYLOAD_BYTES``, or a key that is too long; none was handed
            over.
    """
    if events:
        settings = get_settings()
        _check_sizes(events, settings.max_payload_bytes)
        import_string(DELIVERIES[settings.delivery])(events, using)


def _check_sizes(events: Sequence[Event], most: int | None) -> None:
    for event in events:
        if len(event.object) > _LONGEST_KEY:
            raise PayloadTooLarge(
                f"The object of {event.name[:80]!r}, {event.object[:80]!r}…, has a key of {len(event.object):,} "
                f"characters, more than the {_LONGEST_KEY:,} that a message's headers take."
            )
        if most is None:
            continue
        body = event.body
        size = len(body) if body.isascii() else len(body.encode())
        if size > most:
            raise PayloadTooLarge(
                f"The body of {event.name[:80]!r} of {event.object[:80]!r} has {size:,} bytes, more than "
                f"EVENTS_SOURCING['MAX_PAYLOAD_BYTES'], {most:,}. Have it name what is large, a file say, in place of "
                "holding it; or raise the setting, up to what RabbitMQ takes (max_message_size)."
            )
