"""Turns the life of Django models into events on RabbitMQ that nameko services handle."""

from django_events_sourcing.context import event_context
from django_events_sourcing.domain_events import aemit, emit
from django_events_sourcing.events import Event
from django_events_sourcing.querysets import EventManager, EventQuerySet

__all__ = ["Event", "EventManager", "EventQuerySet", "aemit", "emit", "event_context"]
__version__ = "1.0.0.dev0"
