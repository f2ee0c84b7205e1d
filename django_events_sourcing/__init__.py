"""Turns the life of Django models into events on RabbitMQ that nameko services handle."""

from django_events_sourcing.events import Event

__all__ = ["Event"]
__version__ = "1.0.0.dev0"
