"""An event's name that RabbitMQ's topic permissions forbid: its own fault, where others get through."""

import pytest

from django_events_sourcing import Event
from django_events_sourcing.conf import get_settings
from django_events_sourcing.exceptions import EventRefused, PublishError, RabbitMQUnavailable
from django_events_sourcing.models import Failure, Partition, QueueEntry
from django_events_sourcing.outbox.partitioning import partition_of
from django_events_sourcing.tasks import publisher


@pytest.fixture
def allow(user, rabbitmq_proc, settings):
    """Have the user be allowed to publish those names only that a pattern matches."""
    name = user(".*", ".*", ".*")

    def allow(pattern):
        exchange = f"{settings.SERVICE_NAME}.events"
        rabbitmq_proc.rabbitctl_output("set_topic_permissions", name, exchange, pattern, ".*")

    return allow


def pending(using):
    return QueueEntry.objects.using(using).count()


def in_partition(number):
    """Keys of objects whose events are in that partition."""
    return [key for key in map("thing:{}".format, range(500)) if partition_of(key) == number]


def test_forbidden_name__among_others__holds_back_its_own_objects_only(emit, relay, database, allow):
    """However many there are of that name, and whatever is in their partitions; later ones of their objects wait."""
    allow("^thing__changed$")
    forbidden = [f"thing:{number}" for number in range(40)]
    others = [f"thing:{number}" for number in range(40, 100)]
    for key in forbidden:
        emit(key, name="thing__secret")
        emit(key, name="thing__changed")
    for key in others:
        emit(key, name="thing__changed")
    assert sorted(relay()) == sorted(others)
    assert pending(database) == 80
    failures = Failure.objects.using(database)
    assert set(failures.values_list("attempts", "dead_at")) == {(1, None)}
    assert len(failures.all()) == 40
    assert "may not write" in failures.all()[0].error
    assert "set_topic_permissions" in failures.all()[0].error
    assert not Partition.objects.using(database).filter(retry_at__isnull=False).exists()
    allow(".*")
    failures.update(retry_at=0)
    assert sorted(relay()) == sorted([*forbidden, *forbidden])


def test_forbidden_name__after_others_got_through__alone__is_its_own_fault(emit, relay, database, allow):
    """Who comes after it in its partition goes on."""
    allow("^thing__changed$")
    first, second, third = in_partition(3)[:3]
    emit(first, name="thing__changed")
    assert relay() == [first]
    emit(second, name="thing__secret")
    assert relay() == []
    assert Failure.objects.using(database).get().attempts == 1
    emit(third, name="thing__changed")
    assert relay() == [third]


def test_permissions__wrong_for_all_names__cost_no_event_an_attempt(emit, relay, database, allow, options):
    """A pattern with a slip in it kills nothing."""
    options(MAX_ATTEMPTS=1)
    allow("^order__")
    for number in range(30):
        emit(f"thing:{number}", name=f"thing__{number % 3}")
    assert relay() == []
    assert not Failure.objects.using(database).exists()
    assert Partition.objects.using(database).filter(retry_at__isnull=False, error__contains="topic").exists()
    assert pending(database) == 30


def test_forbidden_name__under_direct__refused_where_others_get_through(allow, settings):
    """Else it is tried for ever."""
    allow("^thing__changed$")
    publish = publisher.event_dispatcher(get_settings())

    def event(name):
        return Event(name=name, service=settings.SERVICE_NAME, object="thing:1", body="{}")

    with pytest.raises(PublishError) as caught:
        publish(event("thing__secret"))
    assert not isinstance(caught.value, EventRefused | RabbitMQUnavailable)
    publish(event("thing__changed"))
    with pytest.raises(EventRefused, match="set_topic_permissions"):
        publish(event("thing__secret"))
