"""The task of (c)."""

from celery import shared_task
from django.conf import settings
from nameko.standalone.events import event_dispatcher


@shared_task(name="bench.publish")
def publish(event_type, data):
    event_dispatcher(settings.NAMEKO_CONFIG)(settings.SERVICE_NAME, event_type, data)
