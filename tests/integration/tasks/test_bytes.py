"""Large bodies: what is read at once is bounded by bytes as well as by rows, and with it a worker's memory."""

import json
import os
import subprocess
import sys

import pytest
from django.db import connections

from django_events_sourcing.conf import get_settings
from django_events_sourcing.models import LogEntry, QueueEntry
from django_events_sourcing.outbox import queries
from django_events_sourcing.tasks.batch import Batch
from django_events_sourcing.tasks.relay import Relay
from tests.integration.conftest import take

MB = 10**6
MIB = 2**20

# Relays the database, and prints by how many MiB the process grew meanwhile.
RELAY = """
import django, re
django.setup()
from django_events_sourcing.conf import get_settings
from django_events_sourcing.models import QueueEntry
from django_events_sourcing.tasks.relay import Relay
most = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
QueueEntry.objects.count()
relay, before = Relay("default", get_settings()), most()
relay.run()
print(round(most() - before))
"""


@pytest.fixture
def held(monkeypatch):
    """Of how many characters the bodies were that a batch held, and of how many events, whenever some were added."""
    held = []
    add = Batch.add

    def add_and_note(self, events):
        add(self, events)
        held.append((self.bytes_left, self.left))

    monkeypatch.setattr(Batch, "add", add_and_note)
    return held


def test_large_events__among_small_ones__all_arrive_in_order(emit, queue, options, held, database):
    """At a time, no more than BATCH_BYTES and half of it read ahead; or one event, which may be larger."""
    options(BATCH_BYTES=10_000)
    expected: dict[str, list[int]] = {}
    for number in range(120):
        key = f"thing:{number % 7}"
        emit(key, json.dumps([number, "x" * (30_000 if number % 25 == 0 else 9_000 if number % 12 == 0 else 100)]))
        expected.setdefault(key, []).append(number)
    Relay(database, get_settings()).run()
    arrived: dict[str, list[int]] = {}
    for message in take(queue):
        arrived.setdefault(message.headers["nameko.event_object"], []).append(json.loads(message.body)[0])
    assert arrived == expected
    assert not QueueEntry.objects.using(database).exists()
    assert max(size for size, count in held if count > 1) <= 10_000 + 5_000 + 30_100
    assert max(count for _, count in held) > 10


def test_large_event__gone_from_the_log_before_its_body_is_read__the_others_go_on(
    emit, relay, options, database, monkeypatch, caplog
):
    """Somebody deleted it by hand."""
    options(BATCH_BYTES=1000)
    gone = emit("thing:1", json.dumps("x" * 2000))
    emit("thing:2", json.dumps("x" * 2000))
    complete = queries.complete

    def delete_and_complete(*arguments):
        LogEntry.objects.using(database).filter(event_id=gone.id).delete()
        return complete(*arguments)

    monkeypatch.setattr(queries, "complete", delete_and_complete)
    assert relay() == ["thing:2"]
    assert not QueueEntry.objects.using(database).exists()
    assert "which were pending: somebody deleted them" in caplog.text


@pytest.fixture
def grown_by(database, settings, emit):
    """By how many MiB a process grows that publishes so many events of 3 MB."""

    def grown_by(count, **options):
        for number in range(count):
            emit(f"thing:{number}", f'"{os.urandom(3 * MB // 2).hex()}"')
        known = connections[database].settings_dict
        prefix = {"sqlite": "SQLITE", "mysql": "MYSQL", "postgresql": "POSTGRES"}[connections[database].vendor]
        env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.project.settings",
            f"{prefix}_DATABASE": str(known["NAME"]),
            f"{prefix}_PORT": str(known["PORT"]),
            "AMQP_URI": settings.AMQP_URI,
            "EVENTS_SOURCING": json.dumps(options),
        }
        done = subprocess.run([sys.executable, "-c", RELAY], env=env, capture_output=True, text=True, check=True)
        assert not QueueEntry.objects.using(database).exists()
        return int(done.stdout)

    return grown_by


@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_memory__of_a_process_that_publishes_large_events__is_bounded(grown_by, channel):
    """300 MB of them wait; the control, without a bound on bytes, holds them all."""
    assert grown_by(100) < 130
    assert grown_by(100, BATCH_BYTES=1024 * MIB) > 200
