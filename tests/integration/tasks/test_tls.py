"""AMQP over TLS: certificates, and hosts that hang or have the wrong one."""

import socket
from time import monotonic

import pytest

from django_events_sourcing import Event
from django_events_sourcing.conf import get_settings
from django_events_sourcing.exceptions import RabbitMQUnavailable
from django_events_sourcing.tasks.publisher import event_dispatcher


@pytest.fixture
def use(channel, settings, certificates):
    """Have AMQP_URI name hosts, over TLS, with the client's certificate; options are for AMQP_SSL."""

    def use(*hosts, **options):
        settings.AMQP_URI = ";".join(f"amqps://guest:guest@{host}/" for host in hosts)
        given = {"ca_certs": str(certificates.authority), "server_hostname": None}
        given |= {"certfile": str(certificates.client), "keyfile": str(certificates.client)}
        settings.NAMEKO_CONFIG = {
            "AMQP_SSL": {key: value for key, value in {**given, **options}.items() if value != ""}
        }

    return use


@pytest.fixture
def publish(settings):
    """Publish an event, or raise."""
    event = Event(name="order__created", service=settings.SERVICE_NAME, object="shop.order:1", body="{}")
    return lambda: event_dispatcher(get_settings())(event)


def test_hosts__whose_certificates_have_one_name__next_is_taken(use, publish, rabbitmq_proc, free_port, settings):
    """With a server_hostname of None, of which a check warns, kombu expects the first one's of the second."""
    there = f"127.0.0.1:{rabbitmq_proc.tls_port}"
    use(f"127.0.0.3:{free_port}", there, server_hostname="127.0.0.1")
    publish()
    use(f"127.0.0.2:{free_port}", there, server_hostname=None)
    with pytest.raises(RabbitMQUnavailable, match="not valid for '127.0.0.2'"):
        publish()
    assert settings.NAMEKO_CONFIG["AMQP_SSL"]["server_hostname"] is None


def test_host__that_hangs__next_is_taken_in_bounded_time(use, publish, rabbitmq_proc):
    """It takes the connection, and says nothing to TLS."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use(f"127.0.0.1:{silent.getsockname()[1]}", f"127.0.0.1:{rabbitmq_proc.tls_port}")
        began = monotonic()
        publish()
        assert monotonic() - began < 30
        use(f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(RabbitMQUnavailable, match="no answer to the attempt to connect"):
            publish()


@pytest.mark.parametrize(
    "options, said",
    [
        ({"ca_certs": ""}, "certificate verify failed"),
        ({"server_hostname": "rabbit.example"}, "Hostname mismatch"),
        # RabbitMQ's word, "certificate required", may come too late.
        ({"certfile": "", "keyfile": ""}, "AMQP_SSL"),
    ],
)
def test_certificates__that_do_not_fit__said_with_the_setting(use, publish, rabbitmq_proc, options, said):
    """And with the host."""
    use(place := f"127.0.0.1:{rabbitmq_proc.tls_port}", **options)
    with pytest.raises(RabbitMQUnavailable) as caught:
        publish()
    assert place in str(caught.value)
    assert said in str(caught.value)
    assert "NAMEKO_CONFIG['AMQP_SSL']" in str(caught.value)


def test_port__without_tls__said(use, publish, rabbitmq_proc):
    """Where amqps:// leads to the port of amqp://."""
    use(f"127.0.0.1:{rabbitmq_proc.port}")
    with pytest.raises(RabbitMQUnavailable, match="AMQP_SSL"):
        publish()


def test_port__of_tls__said(channel, settings, publish, rabbitmq_proc):
    """Where amqp:// leads to the port of amqps://."""
    settings.AMQP_URI = f"amqp://guest:guest@127.0.0.1:{rabbitmq_proc.tls_port}/"
    with pytest.raises(RabbitMQUnavailable, match="the URI begins with amqps://"):
        publish()
