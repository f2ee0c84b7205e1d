"""URIs of several hosts."""

import pytest
from kombu.connection import Connection

from django_events_sourcing.uris import places, vhost_of, with_port_and_vhost


@pytest.mark.parametrize(
    "uri, expected",
    [
        ("amqp://a/;amqp://ann:p%40s@b:5673/shop", [("a", 5672, "/"), ("b", 5673, "shop"), ("a", 5672, "/")]),
        ("amqps://a;amqps://b:1/%2F", [("a", 5671, "/"), ("b", 1, "/"), ("a", 5671, "/")]),
        (["amqp://[::1]/shop", "amqp://b:/"], [("::1", 5672, "shop"), ("b", 5672, "/"), ("::1", 5672, "shop")]),
    ],
    ids=str,
)
def test_hosts__taken_in_turns__each_at_its_own_port_and_vhost(uri, expected):
    """As kombu reads them, which keeps what the next one leaves out."""
    found = []
    with Connection(with_port_and_vhost(uri)) as connection:
        for _ in expected:
            found.append((connection.hostname, connection.port, connection.virtual_host))
            connection.maybe_switch_next()
    assert found == expected


@pytest.mark.parametrize("uri", ["amqp://a/", "amqp://ann:p%40s@a", "redis://a;redis://b"])
def test_hosts__one_or_not_of_rabbitmq__as_they_are(uri):
    """nameko's own connections have the same."""
    assert with_port_and_vhost(uri) == uri


@pytest.mark.parametrize(
    "uri, expected",
    [
        ("amqp://ann:p%40s@mq", ["mq:5672/"]),
        ("amqps://mq/%2F", ["mq:5671/"]),
        ("amqp://a:1/shop%20one;amqp://b/shop", ["a:1/shop one", "b:5672/shop"]),
    ],
)
def test_places__of_a_uri__the_same_however_it_is_written(uri, expected):
    """No user, no password; what is left out is as RabbitMQ has it."""
    assert places(uri) == expected
    assert vhost_of(uri) == (expected[0].partition("/")[2] or "/")
