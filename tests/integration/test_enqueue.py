"""The web process and a real Redis as Celery's broker."""

import logging
import os
import socket
from contextlib import suppress
from pathlib import Path

from kombu import pools

from django_events_sourcing import Event, direct, enqueue
from django_events_sourcing.conf import get_settings
from django_events_sourcing.tasks import publisher
from tests.servers import stopped


def hand_over(number):
    direct.hand_over(Event(name=str(number), service="shop", object="shop.order:1", body="{}"), "default")


def test_redis__away_for_a_while__next_event_is_enqueued_without_a_restart(transactional_db, redis, redis_proc, caplog):
    """An event that Redis did not take is logged as lost; when Redis is back, so is the way to it."""
    hand_over(1)
    assert redis.llen("celery") == 1
    with stopped(redis_proc):
        hand_over(2)
    redis.flushdb()
    hand_over(3)
    assert redis.llen("celery") == 1
    lost = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(lost) == 1
    assert "(2, shop.order:1) is lost" in lost[0]


def keepalives(port):
    """Of the sockets of this process that are connected to a port, by their own ports: after how many idle seconds."""
    found = {}
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(fd.name))) as each:  # gone meanwhile, or no socket
            if each.getpeername()[1] == port:
                is_set = each.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                idle = each.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                found[each.getsockname()[1]] = idle if is_set else None
    return found


def test_connections__that_idle__are_kept_alive(
    transactional_db, redis, redis_proc, channel, rabbitmq_proc, settings, monkeypatch
):
    """No firewall is to drop one unnoticed: the first event after an hour would be late."""
    monkeypatch.setattr(enqueue, "_pools", {})
    pools.reset()
    ports = (redis_proc.port, rabbitmq_proc.port)
    before = {port: keepalives(port) for port in ports}
    hand_over(1)
    publisher.event_dispatcher(get_settings())(Event(name="x", service=settings.SERVICE_NAME, object="x:1", body="{}"))
    for port in ports:
        assert {idle for own_port, idle in keepalives(port).items() if own_port not in before[port]} == {60}
