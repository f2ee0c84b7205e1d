"""AMQP_URI with several hosts: when one is in trouble, the next one is taken, without a restart."""

import socket
from time import monotonic

import pytest

from django_events_sourcing import Event
from django_events_sourcing.conf import get_settings
from django_events_sourcing.exceptions import PublishError
from django_events_sourcing.models import Partition
from django_events_sourcing.tasks.publisher import event_dispatcher
from tests.servers.proxy import Proxy


@pytest.fixture
def use_ports(queue, settings):
    """Have AMQP_URI name RabbitMQ's hosts, by ports of this machine."""

    def use_ports(*ports):
        settings.AMQP_URI = ";".join(f"amqp://guest:guest@127.0.0.1:{port}/" for port in ports)

    return use_ports


@pytest.fixture
def arrive(settings, emit, relay):
    """Whether an event arrives, by the outbox' relay and by the dispatcher of "direct"."""

    def arrive():
        emit("a:1")
        direct = Event(name="thing__changed", service=settings.SERVICE_NAME, object="a:2", body="{}")
        try:
            event_dispatcher(get_settings())(direct)
        except PublishError:
            return relay() == ["a:1"]
        return sorted(relay()) == ["a:1", "a:2"]

    return arrive


@pytest.fixture
def silent_port():
    """Where connections are taken and nothing is answered, as by a RabbitMQ that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_first_host__away__the_second_is_taken(use_ports, arrive, rabbitmq_proc, free_port):
    """The control, with the first host alone, has nothing arrive."""
    use_ports(free_port, rabbitmq_proc.port)
    assert arrive()
    use_ports(free_port)
    assert not arrive()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_first_host__hangs__the_second_is_taken_in_bounded_time(use_ports, arrive, rabbitmq_proc, silent_port):
    """And from then on at once."""
    use_ports(silent_port, rabbitmq_proc.port)
    began = monotonic()
    assert arrive()
    assert monotonic() - began < 30
    began = monotonic()
    assert arrive()
    assert monotonic() - began < 4


def test_hosts__restarted_one_after_the_other__each_event_goes_out_at_once(use_ports, arrive, rabbitmq_proc, database):
    """From one to the other and back again; no partition backs off."""
    with Proxy(rabbitmq_proc.port) as second:
        with Proxy(rabbitmq_proc.port) as first:
            use_ports(first.port, second.port)
            assert arrive()
        assert arrive()
        with Proxy(rabbitmq_proc.port, first.port) as first:
            assert arrive()
            second.close()
            assert arrive()
    assert not Partition.objects.using(database).filter(failures__gt=0).exists()
