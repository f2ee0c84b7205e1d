"""The ways without the library. See the package's docstring for their letters."""

import time
from functools import partial
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models.signals import post_save
from kombu.connection import Connection
from kombu.messaging import Producer
from nameko.standalone.events import event_dispatcher, get_event_exchange

from tests.bench.models import Enqueued, EnqueuedByMethods, Inserted, Order
from tests.bench.serializers import EnqueuedByMethodsSerializer, EnqueuedSerializer
from tests.bench.tasks import publish

__all__ = ["ENQUEUED", "TOGETHER", "connect", "nameko_loop", "pipelined_loop"]

#: The models of (c), with their serializers.
ENQUEUED = {Enqueued: EnqueuedSerializer, EnqueuedByMethods: EnqueuedByMethodsSerializer}

#: Of how many messages (e) awaits the confirms together.
TOGETHER = 200


def connect() -> None:
    """Have (b) and (c) hear of saves."""
    post_save.connect(_insert, sender=Inserted)
    for model, serializer_class in ENQUEUED.items():
        post_save.connect(partial(_enqueue, serializer_class), sender=model, weak=False)


def _insert(*, instance: Inserted, created: bool, **_: Any) -> None:
    if created:
        return
    body = vars(instance)["body_text"]  # made beforehand, so that all that is measured is the INSERT
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO bench_body (body) VALUES (%s)", [body])


def _enqueue(serializer_class: Any, *, instance: Order, created: bool, **_: Any) -> None:
    name = "enqueued__created" if created else "enqueued__updated"
    transaction.on_commit(partial(publish.delay, name, serializer_class(instance).data))


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
