"""The ways without the library. See the package's docstring for their letters."""

import time
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models.signals import post_save
from kombu.connection import Connection
from kombu.messaging import Producer
from nameko.standalone.events import event_dispatcher, get_event_exchange

from tests.bench.models import Enqueued, Inserted
from tests.bench.serializers import EnqueuedSerializer
from tests.bench.tasks import publish

__all__ = ["TOGETHER", "connect", "nameko_loop", "pipelined_loop"]

#: Of how many messages (e) awaits the confirms together.
TOGETHER = 200


def connect() -> None:
    """Have (b) and (c) hear of saves."""
    post_save.connect(_insert, sender=Inserted)
    post_save.connect(_enqueue, sender=Enqueued)


def _insert(*, instance: Inserted, created: bool, **_: Any) -> None:
    if created:
        return
    body = vars(instance)["body_text"]  # made beforehand, so that all that is measured is the INSERT
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO bench_body (body) VALUES (%s)", [body])


def _enqueue(*, instance: Enqueued, created: bool, **_: Any) -> None:
    vars(instance)["committed_at"] = time.time()
    name = "enqueued__created" if created else "enqueued__updated"
    publish.delay(name, EnqueuedSerializer(instance).data)


def nameko_loop(bodies: list[dict[str, Any]]) -> float:
    """(d): publish each; returns how many seconds it took."""
    dispatch = event_dispatcher(settings.NAMEKO_CONFIG)
    began = time.monotonic()
    for body in bodies:
        dispatch(settings.SERVICE_NAME, "told__updated", body)
    return time.monotonic() - began


def pipelined_loop(bodies: list[str], properties: dict[str, Any]) -> float:
    """(e): publish each body with the properties; returns how many seconds it took."""
    exchange = get_event_exchange(settings.SERVICE_NAME, settings.NAMEKO_CONFIG)
    with Connection(settings.NAMEKO_CONFIG["AMQP_URI"]) as connection:
        channel: Any = connection.channel()
        producer = Producer(channel, exchange, auto_declare=False)
        channel.confirm_select()
        unconfirmed: set[int] = set()

        def on_ack(tag: int, multiple: bool) -> None:
            confirmed = {each for each in unconfirmed if each <= tag} if multiple else {tag}
            unconfirmed.difference_update(confirmed)

        channel.events["basic_ack"].add(on_ack)
        began = time.monotonic()
        for tag, body in enumerate(bodies, start=1):
            unconfirmed.add(tag)
            producer.publish(
                body,
                routing_key="told__updated",
                content_type="application/json",
                content_encoding="utf-8",
                delivery_mode=2,
                **properties,
            )
            while len(unconfirmed) >= TOGETHER:
                connection.drain_events()
        while unconfirmed:
            connection.drain_events()
        return time.monotonic() - began
