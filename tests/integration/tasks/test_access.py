"""What RabbitMQ lets a user do, as RabbitMQ itself has it."""

import re
import shlex
from pathlib import Path

import pytest
from amqp.basic_message import Message
from kombu.entity import Queue

from django_events_sourcing import Event
from django_events_sourcing.conf import get_settings
from django_events_sourcing.exceptions import PublishError
from django_events_sourcing.outbox.queries import Queued
from django_events_sourcing.tasks.access import server_version, temporary_queue, try_to_publish
from django_events_sourcing.tasks.batch import Batch
from django_events_sourcing.tasks.pipeline import Pipeline
from django_events_sourcing.tasks.publisher import event_dispatcher

NAMES = ["thing__changed", "thing__deleted", "thing__secret"]


def try_names(settings, names=NAMES):
    return [str(problem) for problem in try_to_publish(get_settings(), settings.SERVICE_NAME, names)]


def test_names__that_may_be_published__leave_nothing_in_any_queue(queue, settings):
    """Not even where everything is bound."""
    assert try_names(settings) == []
    assert queue.get(no_ack=True) is None
    assert server_version(get_settings()).count(".") >= 1


def test_names__of_a_user_who_may_pretend_to_be_another__leave_nothing_either(queue, user, rabbitmq_proc, settings):
    """RabbitMQ has a tag for that, and looks at less where it is set."""
    name = user(".*", ".*", ".*")
    rabbitmq_proc.rabbitctl_output("set_user_tags", name, "impersonator", "administrator")
    assert try_names(settings) == []
    assert queue.get(no_ack=True) is None


def test_name__that_topic_permissions_forbid__named_alone(channel, user, rabbitmq_proc, settings):
    """The others may be published."""
    name = user(".*", ".*", ".*")
    rabbitmq_proc.rabbitctl_output("set_topic_permissions", name, f"{settings.SERVICE_NAME}.events", "changed$", ".*")
    first, second = try_names(settings)
    assert "thing__deleted" in first
    assert "thing__secret" in second
    assert "set_topic_permissions" in second


@pytest.mark.parametrize(
    ("permissions", "says"),
    [
        (("^$", ".*", ".*"), "may not declare the exchange"),
        ((".*", "^$", ".*"), "may not write to the exchange"),
    ],
)
def test_exchange__that_may_not_be_used__says_what_to_do(channel, user, settings, permissions, says):
    """By RabbitMQ's words, and what to set."""
    user(*permissions)
    with pytest.raises(PublishError, match=says) as caught:
        try_names(settings)
    assert "rabbitmqctl set_permissions" in str(caught.value)


def test_exchange__with_other_arguments__says_what_to_do(channel, settings):
    """The trap of 0.8.0, whose exchange was to go with its last queue."""
    channel.exchange_declare(f"{settings.SERVICE_NAME}.events", "topic", durable=True, auto_delete=True)
    with pytest.raises(PublishError, match="AUTO_DELETE_EVENT_EXCHANGES"):
        try_names(settings)


def test_exchange__that_is_missing_and_not_to_be_declared__says_so(channel, settings):
    """Somebody else was to declare it."""
    settings.NAMEKO_CONFIG = {"DECLARE_EVENT_EXCHANGES": False}
    with pytest.raises(PublishError, match="RabbitMQ has no exchange"):
        try_names(settings)


def test_temporary_queue__gets_what_is_sent_to_it__and_goes(channel):
    """What it is not asked for, it leaves out."""
    with temporary_queue(get_settings()) as queue:
        for message_id in ("other", "mine"):
            channel.basic_publish(Message("{}", message_id=message_id), "", queue.name)
        assert queue.wait_for("mine", within=10)
        assert not queue.wait_for("other", within=0.1)
    with pytest.raises(channel.connection.channel_errors):
        Queue(queue.name, channel=channel).queue_declare(passive=True)


def test_temporary_queue__of_a_user_who_may_make_none__says_so(channel, user):
    """And not only later, when something is awaited."""
    user("^$", ".*", ".*")
    with pytest.raises(PublishError, match="amq"), temporary_queue(get_settings()):
        pass


@pytest.fixture(params=[0, 1], ids=["workers", "also doctor and replay --queue"])
def rights(request, user, settings):
    """Give the user the rights of a line of the docs, with this service's name, and no others; returns which line."""
    page = (Path(__file__).parents[3] / "docs/reference/permissions.md").read_text()
    lines = re.findall(r"^rabbitmqctl set_permissions -p VHOST USER (.*)$", page, re.MULTILINE)
    assert len(lines) == 2
    user(*(pattern.replace("shop", settings.SERVICE_NAME) for pattern in shlex.split(lines[request.param])))
    return request.param


def replayed(event, queue_name):
    """What comes of an event that is replayed to one queue."""
    row = Queued(partition=0, sequence=1, object_hash=1, replay_to=queue_name, object=event.object)
    batch = Batch([(row, event)], lambda _row: True, set(), lambda _batch: None)
    Pipeline(get_settings()).publish(batch)
    return batch.outcome


def test_user__with_the_rights_that_the_docs_have__publishes(channel, queue, rights, settings):
    """Without the rights of the second line, no queue is made, and nothing sent to one."""
    event = Event(name="thing__changed", service=settings.SERVICE_NAME, object="thing:1", body="{}")
    event_dispatcher(get_settings())(event)
    assert queue.get(no_ack=True).properties["message_id"] == str(event.id)
    outcome = replayed(event, queue.name)
    if rights:
        assert len(outcome.confirmed) == 1
        assert queue.get(no_ack=True).properties["message_id"] == str(event.id)
        with temporary_queue(get_settings()) as own:
            assert len(replayed(event, own.name).confirmed) == 1
            assert own.wait_for(str(event.id), within=10)
    else:
        [trouble] = outcome.troubled.values()
        assert "exchange" in str(trouble)
        with pytest.raises(PublishError, match="amq"), temporary_queue(get_settings()):
            pass
