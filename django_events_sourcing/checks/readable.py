"""The settings, where another check reports that they can't be read."""

from django_events_sourcing.conf import Settings, get_settings
from django_events_sourcing.exceptions import ConfigurationError

__all__ = ["readable_settings"]


def readable_settings() -> Settings | None:
    """The settings, or None where they can't be read, which another check reports."""
    try:
        return get_settings()
    except ConfigurationError:
        return None
