"""Celery's broker going away under a worker, as kombu takes it."""

from contextlib import suppress

import pytest
from kombu.common import ignore_errors
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.transport.redis import QoS

from django_events_sourcing.tasks.celery_broker import outlive_lost_connections
from tests.servers import stopped


@pytest.fixture
def guarded(monkeypatch):
    """With what a worker does about it, for one test."""
    monkeypatch.setattr(QoS, "restore_unacked", QoS.restore_unacked)
    outlive_lost_connections()
    outlive_lost_connections()


@pytest.mark.usefixtures("guarded")
def test_redis__lost_with_messages_unacknowledged__ends_no_worker(redis_proc):
    """Celery closes the connection twice, as is done here; the second time was the worker's end with kombu 5.7."""
    connection = Connection(f"redis://127.0.0.1:{redis_proc.port}/4")
    queue, others = Queue("tasks"), Queue("gossip", Exchange("gossip", type="fanout"), auto_delete=True)
    channel, other_channel = connection.default_channel, connection.channel()
    came: list[object] = []
    consumers = [
        connection.Consumer([queue], channel=channel, on_message=came.append),
        connection.Consumer([others], channel=other_channel),
    ]
    for consumer in consumers:
        consumer.consume()
    assert other_channel.client.ping()
    connection.Producer(channel).publish("unacknowledged", routing_key=queue.name)
    with pytest.raises(TimeoutError):
        while True:
            connection.drain_events(timeout=0.2)
    assert len(came) == 1
    with stopped(redis_proc):
        with suppress(Exception):  # as Celery does
            connection.collect(socket_timeout=1)
        ignore_errors(connection, connection.close)
    assert channel.closed
