"""Errors of RabbitMQ's, for people: where it was, what was wrong, and what to do."""

import socket

import pytest

from django_events_sourcing import Event
from django_events_sourcing.conf import get_settings
from django_events_sourcing.exceptions import EventRefused, PublishError
from django_events_sourcing.tasks import publisher, rabbitmq
from tests.servers import suspended


@pytest.fixture
def problem(settings):
    """What is said when an event is published, which is not the event's fault; no password is in it."""

    def problem():
        event = Event(name="order__created", service=settings.SERVICE_NAME, object="shop.order:1", body="{}")
        with pytest.raises(PublishError) as caught:
            publisher.event_dispatcher(get_settings())(event)
        assert not isinstance(caught.value, EventRefused)
        assert "s3cret" not in str(caught.value)
        return str(caught.value)

    return problem


def place(port, user="guest", vhost="/"):
    return f"RabbitMQ at 127.0.0.1:{port}, vhost {vhost!r}, user {user!r}"


def test_user__who_may_not_declare__says_how_he_may(user, problem, settings, rabbitmq_proc):
    """No word of other arguments that the exchange might have."""
    name = user("^$", ".*", ".*")
    found = problem()
    assert found.startswith(f"{place(rabbitmq_proc.port, name)}: Exchange.declare: (403) ACCESS_REFUSED")
    assert "allow that (rabbitmqctl set_permissions, configure)" in found
    assert "delete the exchange" not in found


def test_user__who_may_not_write__says_how_he_may(user, problem, rabbitmq_proc):
    """A permission that is missing is nobody's event's fault."""
    name = user(".*", "^$", ".*")
    found = problem()
    assert found.startswith(f"{place(rabbitmq_proc.port, name)}: Basic.publish: (403) ACCESS_REFUSED")
    assert "may not write to the exchange" in found


def test_user__with_no_permission_in_the_vhost__says_how_he_gets_one(user, problem, rabbitmq_proc):
    """RabbitMQ's words don't say what to do."""
    name = user()
    found = problem()
    assert place(rabbitmq_proc.port, name) in found
    assert "Give the user permissions on the vhost (rabbitmqctl set_permissions)" in found


def test_vhost__that_is_not_there__says_so(problem, channel, settings, rabbitmq_proc):
    """As with a path of the URI that is meant as something else."""
    settings.AMQP_URI += "shop"
    found = problem()
    assert place(rabbitmq_proc.port, vhost="shop") in found
    assert "rabbitmqctl add_vhost" in found


def test_vhost__with_no_connection_left__says_what_to_change(problem, channel, settings, rabbitmq_proc):
    """Its limit."""
    rabbitmq_proc.rabbitctl_output("add_vhost", "narrow")
    rabbitmq_proc.rabbitctl_output("set_permissions", "-p", "narrow", "guest", ".*", ".*", ".*")
    rabbitmq_proc.rabbitctl_output("set_vhost_limits", "-p", "narrow", '{"max-connections": 0}')
    settings.AMQP_URI += "narrow"
    found = problem()
    assert "connection limit" in found
    assert "run fewer processes" in found


def test_password__wrong__error_without_it(problem, channel, settings, rabbitmq_proc):
    """A refused login is reported, its password is not."""
    settings.AMQP_URI = settings.AMQP_URI.replace("guest:guest", "guest:s3cret")
    found = problem()
    assert place(rabbitmq_proc.port) in found
    assert "ACCESS_REFUSED" in found
    assert "Correct the user or the password" in found


def test_hosts__where_nobody_is__each_is_named(problem, settings, free_port):
    """Of several, too, each with what was wrong there; so is one whose name nobody knows."""
    settings.SERVICE_NAME = "shop"
    settings.AMQP_URI = f"amqp://nowhere.invalid/;amqp://ann:s3cret@127.0.0.1:{free_port}/"
    found = problem()
    assert found.startswith(f"{place(free_port, 'ann')}: ConnectionRefusedError")
    assert "Nobody listens there" in found
    assert "Before that, RabbitMQ at nowhere.invalid:5672" in found
    settings.AMQP_URI = "amqp://nowhere.invalid/"
    assert "cannot be resolved" in problem()


def test_host__that_does_not_answer__says_what_was_awaited(problem, settings, monkeypatch):
    """Not that something "timed out"."""
    settings.SERVICE_NAME = "shop"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.AMQP_URI = f"amqp://127.0.0.1:{silent.getsockname()[1]}/"
        assert "no answer to the attempt to connect within 5 s" in problem()


def test_rabbitmq__suspended__says_what_was_awaited(problem, channel, settings, rabbitmq_proc, monkeypatch):
    """Of a connection that stood."""
    for module in (publisher, rabbitmq):
        monkeypatch.setattr(module, "PUBLISH_TIMEOUT", 1.0)
    rabbitmq_proc.rabbitctl_output("status")
    event = Event(name="order__created", service=settings.SERVICE_NAME, object="shop.order:1", body="{}")
    publisher.event_dispatcher(get_settings())(event)
    with suspended(rabbitmq_proc):
        found = problem()
    assert f"no answer within 1 s to what was sent for the exchange {settings.SERVICE_NAME}.events" in found


def test_rabbitmq__low_on_memory__its_reason_is_passed_on(problem, channel, settings, rabbitmq_proc, monkeypatch):
    """Which amqp keeps to itself."""
    for module in (publisher, rabbitmq):
        monkeypatch.setattr(module, "PUBLISH_TIMEOUT", 2.0)
    rabbitmq_proc.rabbitctl_output("set_vm_memory_high_watermark", "0.0000001")
    try:
        assert "which blocks those who publish (low on memory)" in problem()
    finally:
        rabbitmq_proc.rabbitctl_output("set_vm_memory_high_watermark", "0.6")
