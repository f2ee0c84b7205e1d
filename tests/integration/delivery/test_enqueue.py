"""The web process and a real Redis as Celery's broker."""

import json
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import pytest
from celery import signals
from kombu import pools
from kombu.exceptions import OperationalError

from django_events_sourcing import Event
from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery import direct, enqueue
from django_events_sourcing.delivery.celery_app import project_app
from django_events_sourcing.delivery.enqueue import RELAY_TASK
from django_events_sourcing.tasks import publisher
from tests.servers import stopped
from tests.servers.proxy import Proxy


def hand_over(number):
    direct.hand_over([Event(name=str(number), service="shop", object="shop.order:1", body="{}")], "default")


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


def sent(redis):
    """The headers of the messages in Celery's queue, the oldest first."""
    return [json.loads(each)["headers"] for each in reversed(redis.lrange("celery", 0, -1))]


def close_connections():
    for pool in enqueue._pools.values():
        pool.connections.force_close_all()
    enqueue._pools.clear()


@pytest.fixture
def app(redis, monkeypatch):
    """The project's Celery app, to which this process has sent nothing yet."""
    monkeypatch.setattr(enqueue, "_pools", {})
    yield project_app()
    close_connections()


def test_queue__gone_from_celerys_broker__is_declared_by_a_new_connection(app, redis):
    """As by Celery; the first message on each says what queue it is for."""
    binding = "_kombu.binding.celery"
    for _ in range(3):
        enqueue.enqueue(RELAY_TASK, "default")
    assert redis.exists(binding)
    redis.flushdb()
    close_connections()
    enqueue.enqueue(RELAY_TASK, "default")
    assert redis.exists(binding)


def test_signals__with_receivers__are_sent_for_each(app, redis):
    """A tracer of the project's sees all, and may add a header."""
    seen = []

    def receive(headers, **kwargs):
        seen.append(headers["id"])
        headers["trace"] = len(seen)

    signals.before_task_publish.connect(receive)
    try:
        enqueue.enqueue(RELAY_TASK, "default")
        enqueue.enqueue(RELAY_TASK, "default")
    finally:
        signals.before_task_publish.disconnect(receive)
    assert [each["id"] for each in sent(redis)] == seen
    assert [each["trace"] for each in sent(redis)] == [1, 2]


def test_connections__that_idle__are_kept_alive(transactional_db, app, redis_proc, channel, rabbitmq_proc, settings):
    """No firewall is to drop one unnoticed: the first event after an hour would be late."""
    pools.reset()
    ports = (redis_proc.port, rabbitmq_proc.port)
    before = {port: keepalives(port) for port in ports}
    hand_over(1)
    publisher.event_dispatcher(get_settings())(Event(name="x", service=settings.SERVICE_NAME, object="x:1", body="{}"))
    for port in ports:
        assert {idle for own_port, idle in keepalives(port).items() if own_port not in before[port]} == {60}


@pytest.mark.parametrize("first", ["away", "hangs", "dies"])
def test_celerys_broker__of_several_hosts__the_next_is_taken(first, redis, redis_proc, make_celery_app, monkeypatch):
    """Within the bounds on waiting; from then on at once. The control is the first host alone."""
    monkeypatch.setattr(enqueue, "_pools", {})
    with Proxy(redis_proc.port, is_amqp=False) as proxy, socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if first == "hangs" else proxy.port
        alone = make_celery_app(broker=f"redis://127.0.0.1:{port}/3")
        both = make_celery_app(broker=f"redis://127.0.0.1:{port}/3;redis://127.0.0.1:{redis_proc.port}/3")
        if first == "dies":
            enqueue.enqueue(RELAY_TASK, "default", app=both)
            enqueue.enqueue(RELAY_TASK, "default", app=alone)
            redis.flushdb()
        if first != "hangs":
            proxy.close()
        with pytest.raises(OperationalError):
            enqueue.enqueue(RELAY_TASK, "default", app=alone)
        began = monotonic()
        enqueue.enqueue(RELAY_TASK, "default", app=both)
        assert monotonic() - began < 3 * enqueue.ENQUEUE_TIMEOUT
        began = monotonic()
        enqueue.enqueue(RELAY_TASK, "default", app=both)
        assert monotonic() - began < enqueue.ENQUEUE_TIMEOUT
        assert len(sent(redis)) == 2
        close_connections()


def test_redis__with_a_certificate_for_another_host__is_sent_nothing(redis_tls_url, make_celery_app, monkeypatch):
    """With the options that check's W016 asks for; a bare rediss:// would take it."""
    monkeypatch.setattr(enqueue, "_pools", {})
    url = f"{redis_tls_url}&ssl_check_hostname=true"
    port = urlsplit(url).port
    assert port
    enqueue.enqueue(RELAY_TASK, "default", app=make_celery_app(broker=url))
    with Proxy(port, is_amqp=False, host="127.0.0.2") as proxy:
        elsewhere = url.replace(f"127.0.0.1:{port}", f"127.0.0.2:{proxy.port}")
        with pytest.raises(OperationalError, match="not valid for '127.0.0.2'"):
            enqueue.enqueue(RELAY_TASK, "default", app=make_celery_app(broker=elsewhere))
        careless = elsewhere.replace("=required", "=none").replace("check_hostname=true", "check_hostname=false")
        enqueue.enqueue(RELAY_TASK, "default", app=make_celery_app(broker=careless))
        close_connections()


def test_task_of_an_event__is_shown_without_its_body(transactional_db, redis):
    """Of what Celery's logs, events and monitors show of its arguments."""
    event = Event(name="x", service="shop", object="shop.order:1", body='{"card": "1234"}', headers={"token": "5678"})
    direct.hand_over([event], "default")
    (headers,) = sent(redis)
    assert headers["argsrepr"] == f"(event {event.id})"
    assert "1234" not in str(headers)
    assert "5678" not in str(headers)
    enqueue.enqueue(RELAY_TASK, "default")
    assert sent(redis)[-1]["argsrepr"] == "('default')"
