"""A Django process that does what it is asked to, one request a line, and answers with a line: both are JSON.

    python -m tests.bench.actor

A request is the name of a function below, and its arguments.
"""

import json
import random
import re
import resource
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from html import unescape
from itertools import cycle
from statistics import median
from typing import Any
from urllib.parse import urlencode, urljoin
from uuid import uuid4

import django

django.setup()

from django.conf import settings  # noqa: E402 - Django must be set up
from django.contrib.auth.models import User  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.db.models import F  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import reverse  # noqa: E402
from kombu.connection import Connection  # noqa: E402
from kombu.entity import Queue  # noqa: E402
from kombu.messaging import Consumer  # noqa: E402
from nameko.standalone.events import get_event_exchange  # noqa: E402
from rest_framework.renderers import JSONRenderer  # noqa: E402

from django_events_sourcing.delivery.waker import wake  # noqa: E402
from django_events_sourcing.models import LogEntry  # noqa: E402
from django_events_sourcing.outbox.clock import from_microseconds  # noqa: E402
from django_events_sourcing.outbox.queries import STATES  # noqa: E402
from tests.bench.baselines import nameko_loop, pipelined_loop  # noqa: E402
from tests.bench.load import load  # noqa: E402
from tests.bench.models import (  # noqa: E402
    Enqueued,
    EnqueuedByMethods,
    Inserted,
    Order,
    Silent,
    Told,
    ToldByMethods,
    ToldInBulk,
)
from tests.bench.serializers import EnqueuedSerializer, ToldSerializer  # noqa: E402
from tests.bench.tasks import publish  # noqa: E402

BLOCK = 100
BULK = 1000

_kept: dict[Any, Any] = {}


def _objects(model: Any) -> Any:
    """Its objects, one after the other, again and again: no row has a long history within one transaction."""
    if model not in _kept:
        rows = [
            model(number=str(number), customer="Ada Lovelace", total="12.50", quantity=3, note="none")
            for number in range(BULK)
        ]
        model.objects.bulk_create(rows)
        rows = list(model.objects.order_by("-pk")[:BULK])  # and none of those that a view has made
        for row in rows:
            vars(row)["body_text"] = JSONRenderer().render(EnqueuedSerializer(row).data).decode()
        _kept[model] = cycle(rows)
    return _kept[model]


def _save(model: Any) -> None:
    instance = next(_objects(model))
    instance.quantity += 1
    with transaction.atomic():
        instance.save()


def saves() -> dict[str, float]:
    """Seconds for a save in each way, each in a transaction of its own; ``bulk_…`` where a thousand share one."""
    found: dict[str, float] = {}
    models: list[Any] = [Silent, Inserted, Enqueued, Told, EnqueuedByMethods, ToldByMethods]
    random.shuffle(models)
    for model in models:
        _save(model)
        began = time.perf_counter()
        for _ in range(BLOCK):
            _save(model)
        found[model.__name__] = (time.perf_counter() - began) / BLOCK
    for model in (each for each in models if each in {Silent, Inserted, Told}):
        objects = _objects(model)
        began = time.perf_counter()
        with transaction.atomic():
            for _ in range(BULK):
                instance = next(objects)
                instance.quantity += 1
                instance.save()
        found[f"bulk_{model.__name__}"] = (time.perf_counter() - began) / BULK
    return found


def bulk_writes(number: int) -> dict[str, float]:
    """Seconds for bulk writes of so many rows, without events and with; and what memory these took beside, in MiB."""
    found: dict[str, float] = {}
    for size in (1000, number):  # the first time, modules are imported
        peaks = []
        for model in (Silent, ToldInBulk):
            rows = [
                model(number=str(each), customer="Ada Lovelace", total=Decimal("12.50"), quantity=each, note="none")
                for each in range(size)
            ]
            objects: Any = getattr(model, "objects")  # noqa: B009 - the models have no class in common that has it
            began = time.perf_counter()
            objects.bulk_create(rows)
            found[f"create_{model.__name__}"] = time.perf_counter() - began
            del rows
            began = time.perf_counter()
            objects.filter(note="none").update(quantity=F("quantity") + 1, note="some")
            found[f"update_{model.__name__}"] = time.perf_counter() - began
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            with connection.cursor() as cursor:
                cursor.execute(f"TRUNCATE {model._meta.db_table}")
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE django_events_sourcing_log, django_events_sourcing_queue")
    return {**found, "MiB": peaks[1] - peaks[0]}


def durations(number: int, pause: float) -> list[float]:
    """Seconds for each of so many saves of the library's, with a pause in between."""
    _save(Told)
    took = []
    for _ in range(number):
        began = time.perf_counter()
        _save(Told)
        took.append(time.perf_counter() - began)
        time.sleep(pause)
    return took


def _note(instance: Order) -> None:
    vars(instance)["committed_at"] = time.time()


def pace(model: str, rate: float, seconds: float) -> dict[str, float]:
    """Save that often in a second; returns when each was committed, by the ``number`` in the body."""
    objects = _objects({"Told": Told, "Enqueued": Enqueued}[model])
    committed: dict[str, float] = {}
    began = time.monotonic()
    for count in range(int(rate * seconds)):
        time.sleep(max(0.0, began + count / rate - time.monotonic()))
        instance = next(objects)
        instance.number = uuid4().hex
        with transaction.atomic():
            transaction.on_commit(partial(_note, instance))
            instance.save()
        committed[instance.number] = vars(instance)["committed_at"]
    return committed


def consume(seconds: float) -> dict[str, float]:
    """When each message came, by the ``number`` in its body; until none has come for so many seconds."""
    came: dict[str, float] = {}
    service = settings.SERVICE_NAME
    with Connection(settings.NAMEKO_CONFIG["AMQP_URI"]) as connection:
        queue = Queue(service, get_event_exchange(service, {}), "#")

        def on_message(body: dict[str, Any], message: Any) -> None:
            came[body["number"]] = time.time()

        with Consumer(connection.channel(), [queue], callbacks=[on_message], no_ack=True):
            try:
                while True:
                    connection.drain_events(timeout=seconds)
            except TimeoutError:
                return came


def enqueue(number: int) -> None:
    """Have so many tasks of (c) wait."""
    data = EnqueuedSerializer(next(_objects(Enqueued))).data
    for _ in range(number):
        publish.delay("enqueued__updated", data)


def wake_relay() -> None:
    wake("default")


def publish_one_by_one(number: int) -> float:
    """Events a second of (d)."""
    return number / nameko_loop([dict(ToldSerializer(next(_objects(Told))).data)] * number)


def publish_pipelined(body: str, number: int) -> float:
    """Events a second of (e)."""
    properties = {"message_id": str(uuid4()), "timestamp": int(datetime.now(UTC).timestamp())}
    return number / pipelined_loop([body] * number, properties)


def pages(rounds: int) -> dict[str, float]:
    """How many seconds each page of the admin takes, by its URL: the median.

    Every page is asked for: the dashboard, the list in each state and by each filter, the next one of a long search,
    an event, and what asks before a replay.
    """
    anna, _ = User.objects.get_or_create(username="anna", is_staff=True, is_superuser=True)
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(anna)
    some = LogEntry.objects.order_by("-sequence")[1000]
    listed = reverse("admin:django_events_sourcing_logentry_changelist")
    moment = from_microseconds(some.time).strftime("%Y-%m-%dT%H:%M")
    filters = [
        *({"state": state} for state in ("", *STATES)),
        *({"state": state, "name": "no__such"} for state in ("", *STATES)),
        {"service": some.service, "name": some.name},
        {"model": "project.order"},
        {"since": moment},
        {"until": moment},
        {"q": some.object},
        {"q": str(some.event_id)},
    ]
    urls = [
        reverse("admin:django_events_sourcing_partition_changelist"),
        reverse("admin:django_events_sourcing_operation_changelist"),
        reverse("admin:django_events_sourcing_logentry_change", args=[f"default.{some.event_id}"]),
        *(f"{listed}?{urlencode(each)}" for each in filters),
    ]
    further = re.search(r'href="([^"]*after=[^"]*)"', client.get(f"{listed}?name=no__such").content.decode())
    assert further
    urls.append(urljoin(listed, unescape(further[1])))
    chosen = {"action": "replay", "across": "on", "state": "dead"}

    def took(ask: Callable[[], Any]) -> float:
        began = time.perf_counter()
        answer = ask()
        seconds = time.perf_counter() - began
        assert answer.status_code == 200
        assert b"field-errors" not in answer.content  # it did look
        return seconds

    asks: dict[str, Callable[[], Any]] = {url: partial(client.get, url) for url in urls}
    asks["before a replay"] = partial(client.post, f"{listed}?state=dead", chosen)
    return {url: median(took(ask) for _ in range(rounds)) for url, ask in asks.items()}


def main() -> None:
    requests: dict[str, Callable[..., Any]] = {
        each.__name__: each
        for each in (
            bulk_writes,
            saves,
            durations,
            load,
            pace,
            consume,
            enqueue,
            wake_relay,
            publish_one_by_one,
            publish_pipelined,
            pages,
        )
    }
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(requests[name](**arguments)), flush=True)


if __name__ == "__main__":
    main()
