"""A nameko service that runs Django's code: it handles an event, and emits one in turn."""

import os

import django
from nameko.events import event_handler

django.setup()

from django_events_sourcing import emit  # noqa: E402 - Django must be set up
from django_events_sourcing.nameko import EventContext  # noqa: E402


class Billing:
    name = "billing"
    events = EventContext()

    @event_handler(os.environ["SERVICE_NAME"], "order__placed")
    def bill(self, order):
        emit("order__billed", order, key=f"project.order:{order['id']}")
