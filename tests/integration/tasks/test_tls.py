"""AMQP over TLS: certificates, and hosts that hang or have the wrong one."""

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from time import monotonic

import pytest
from kombu import pools

from django_events_sourcing import Event
from django_events_sourcing.conf import get_settings
from django_events_sourcing.exceptions import RabbitMQUnavailable
from django_events_sourcing.tasks.publisher import event_dispatcher
from django_events_sourcing.tasks.tls import forget_host, tls_options
from tests.servers.proxy import Proxy

LEFT_OUT = object()


@pytest.fixture
def use(channel, settings, certificates):
    """Have AMQP_URI name hosts, over TLS, with the client's certificate; options are for AMQP_SSL."""

    def use(*hosts, **options):
        pools.reset()  # those know a host by its address alone
        settings.AMQP_URI = ";".join(f"amqps://guest:guest@{host}/" for host in hosts)
        given = {"ca_certs": str(certificates.authority), "server_hostname": None}
        given |= {"certfile": str(certificates.client), "keyfile": str(certificates.client)}
        settings.NAMEKO_CONFIG = {
            "AMQP_SSL": {key: value for key, value in {**given, **options}.items() if value is not LEFT_OUT}
        }

    return use


@pytest.fixture
def publish(settings):
    """Publish an event, or raise."""
    event = Event(name="order__created", service=settings.SERVICE_NAME, object="shop.order:1", body="{}")
    return lambda: event_dispatcher(get_settings())(event)


@pytest.fixture
def elsewhere(rabbitmq_proc):
    """RabbitMQ by the address of another host, for which its certificate is not."""
    with Proxy(rabbitmq_proc.tls_port, is_amqp=False, host="127.0.0.2") as proxy:
        yield f"127.0.0.2:{proxy.port}"


def test_certificate__for_another_host__is_sent_no_password(use, publish, elsewhere, rabbitmq_proc):
    """Unless that is asked for, in one of two ways."""
    for options in ({}, {"server_hostname": None}, {"cert_reqs": ssl.CERT_REQUIRED}):
        use(elsewhere, **{"server_hostname": LEFT_OUT, **options})
        with pytest.raises(RabbitMQUnavailable, match="not valid for '127.0.0.2'"):
            publish()
    for asked in ({"server_hostname": "127.0.0.1"}, {"server_hostname": ""}, {"cert_reqs": ssl.CERT_NONE}):
        use(elsewhere, **{"server_hostname": LEFT_OUT, **asked})
        publish()


@pytest.mark.parametrize("tls", [{}, True, {"server_hostname": None}])
def test_amqp_ssl__with_nothing_in_it__is_tls(channel, settings, publish, rabbitmq_proc, tls):
    """By the authorities that the system trusts, of which the tests' is none; with each scheme."""
    settings.NAMEKO_CONFIG = {"AMQP_SSL": tls}
    for scheme in ("amqp", "amqps"):
        settings.AMQP_URI = f"{scheme}://guest:guest@127.0.0.1:{rabbitmq_proc.tls_port}/"
        with pytest.raises(RabbitMQUnavailable, match="certificate verify failed"):
            publish()
    settings.AMQP_URI = f"amqp://guest:guest@127.0.0.1:{rabbitmq_proc.port}/"
    with pytest.raises(RabbitMQUnavailable, match="AMQP_SSL"):
        publish()


def test_amqps__without_amqp_ssl__compares_the_hosts_name(
    channel, settings, publish, elsewhere, certificates, monkeypatch
):
    """By the authorities that the system trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    settings.AMQP_URI = f"amqps://guest:guest@{elsewhere}/"
    settings.NAMEKO_CONFIG = {}
    with pytest.raises(RabbitMQUnavailable, match="not valid for '127.0.0.2'"):
        publish()


def test_hosts__each_with_a_certificate_of_its_own__next_is_taken(
    use, publish, rabbitmq_proc, elsewhere, free_port, settings
):
    """Of each its own name is expected; or the one that is given for all of them."""
    there = f"127.0.0.1:{rabbitmq_proc.tls_port}"
    use(f"127.0.0.3:{free_port}", there, server_hostname="127.0.0.1")
    publish()
    use(f"127.0.0.2:{free_port}", there)
    publish()
    use(elsewhere, there)
    publish()
    use(there, elsewhere)
    publish()
    assert settings.NAMEKO_CONFIG["AMQP_SSL"]["server_hostname"] is None


def test_threads__that_connect_to_different_hosts__expect_each_its_own_name():
    """Though kombu's pool has one dict for all of them."""
    options = tls_options({"AMQP_URI": "amqps://a;amqps://b", "AMQP_SSL": {"ca_certs": "/ca.pem"}})
    assert options is not None
    both = Barrier(2)

    def connect(host):
        forget_host(options)
        assert options["server_hostname"] is None
        both.wait(10)
        options["server_hostname"] = host
        both.wait(10)
        return dict(**options), dict(options), {**options}

    with ThreadPoolExecutor(2) as pool:
        for host, found in zip("ab", pool.map(connect, "ab"), strict=True):
            for each in found:
                assert each == {"server_hostname": host, "ca_certs": "/ca.pem", "cert_reqs": ssl.CERT_REQUIRED}


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
        ({"ca_certs": LEFT_OUT}, "certificate verify failed"),
        ({"server_hostname": "rabbit.example"}, "Hostname mismatch"),
        # RabbitMQ's word, "certificate required", may come too late.
        ({"certfile": LEFT_OUT, "keyfile": LEFT_OUT}, "AMQP_SSL"),
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
