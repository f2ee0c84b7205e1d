"""What the library's messages look like on RabbitMQ."""

from uuid import uuid4

import pytest
from amqp.exceptions import NotFound
from kombu.entity import Exchange, Queue
from nameko.standalone.events import event_dispatcher, get_event_exchange

from django_events_sourcing import Event
from django_events_sourcing.capture.kept_serializers import KeptSerializers
from django_events_sourcing.capture.serialization import as_text, represent
from django_events_sourcing.conf import get_settings
from django_events_sourcing.exceptions import EventRefused, PublishError
from django_events_sourcing.tasks import publisher, rabbitmq
from tests.project.models import Order
from tests.project.serializers import OrderSerializer
from tests.servers import suspended


def an_event(settings, **fields):
    given = {"name": "order__created", "service": settings.SERVICE_NAME, "object": "shop.order:1", "body": '{"id": 1}'}
    return Event(**{**given, **fields})


def test_message__beside_nameko_own__differs_in_the_additions_only(channel, queue, settings):
    """The same event by nameko's dispatcher has the same bytes, properties, exchange and routing key."""
    order = Order(id=7, number="A-1 é€😀", customer="Ann", total="9.50")
    kept = KeptSerializers(OrderSerializer)
    event = an_event(settings, body=as_text(order, kept, represent(order, kept)))
    event_dispatcher({"AMQP_URI": settings.AMQP_URI})(
        settings.SERVICE_NAME, event.name, dict(OrderSerializer(order).data)
    )
    publisher.event_dispatcher(get_settings())(event)

    # by amqp itself: kombu would decode
    theirs, ours = channel.basic_get(queue.name, no_ack=True), channel.basic_get(queue.name, no_ack=True)
    assert isinstance(ours.body, str | bytes)
    assert ours.body == theirs.body
    for key in ("exchange", "routing_key"):
        assert ours.delivery_info[key] == theirs.delivery_info[key]
    assert ours.headers == theirs.headers | {
        "nameko.event_id": str(event.id),
        "nameko.event_time": event.time.isoformat(),
        "nameko.event_object": "shop.order:1",
        "nameko.call_id_stack": [f"{settings.SERVICE_NAME}.order__created.{event.id}"],
    }
    additions = {
        "message_id": str(event.id),
        "type": "order__created",
        "app_id": settings.SERVICE_NAME,
        "timestamp": int(event.time.timestamp()),
    }
    assert without_headers(ours.properties) == without_headers(theirs.properties) | additions
    assert ours.properties["content_type"] == "application/json"
    assert ours.properties["delivery_mode"] == 2


def without_headers(properties):
    return {key: value for key, value in properties.items() if key != "application_headers"}


def test_event__published_again__keeps_its_id(channel, queue, settings):
    """A republished event is the same message."""
    event = an_event(settings)
    for _ in range(2):
        publisher.event_dispatcher(get_settings())(event)
    first, second = channel.basic_get(queue.name), channel.basic_get(queue.name)
    assert first.properties == second.properties
    assert first.body == second.body


def test_exchange__declared_by_the_first_event__as_nameko_does(channel, settings):
    """The exchange is nameko's: a service that declares it afterwards agrees."""
    publisher.event_dispatcher(get_settings())(an_event(settings))
    get_event_exchange(settings.SERVICE_NAME, {})(channel).declare()


def test_exchange__of_version_0_8_0__error_names_the_ways_out(channel, settings):
    """An exchange with auto_delete, as 0.8.0 declared it, is reported with the setting that accepts it."""
    Exchange(f"{settings.SERVICE_NAME}.events", "topic", auto_delete=True)(channel).declare()
    with pytest.raises(PublishError, match="AUTO_DELETE_EVENT_EXCHANGES") as caught:
        publisher.event_dispatcher(get_settings())(an_event(settings))
    assert not isinstance(caught.value, EventRefused)
    settings.NAMEKO_CONFIG = {"AUTO_DELETE_EVENT_EXCHANGES": True}
    publisher.event_dispatcher(get_settings())(an_event(settings))


def test_exchange__not_to_be_declared_and_missing__error_and_later_success(channel, settings):
    """With DECLARE_EVENT_EXCHANGES = False somebody else declares the exchange; until then events wait."""
    settings.NAMEKO_CONFIG = {"DECLARE_EVENT_EXCHANGES": False}
    dispatch = publisher.event_dispatcher(get_settings())
    with pytest.raises(PublishError, match="DECLARE_EVENT_EXCHANGES") as caught:
        dispatch(an_event(settings))
    assert isinstance(caught.value.__cause__, NotFound)
    assert not isinstance(caught.value, EventRefused)
    get_event_exchange(settings.SERVICE_NAME, {})(channel).declare()
    dispatch(an_event(settings))


def test_exchange__deleted_meanwhile__second_attempt_declares_it(channel, settings):
    """An exchange that vanished behind an open connection is declared anew by the retry."""
    dispatch = publisher.event_dispatcher(get_settings())
    dispatch(an_event(settings))
    channel.exchange_delete(f"{settings.SERVICE_NAME}.events")
    with pytest.raises(PublishError):
        dispatch(an_event(settings))
    dispatch(an_event(settings))


def test_connection__ended_while_it_idled__is_no_trouble(channel, settings, rabbitmq_proc):
    """As by a restart of RabbitMQ's, or a proxy: the event goes out over a new one."""
    dispatch = publisher.event_dispatcher(get_settings())
    dispatch(an_event(settings))
    rabbitmq_proc.rabbitctl_output("close_all_connections", "tests")
    dispatch(an_event(settings))


@pytest.mark.parametrize("at", ["confirm", "declare"])
def test_rabbitmq__hangs__publishing_ends_in_bounded_time(channel, settings, rabbitmq_proc, monkeypatch, at):
    """Whatever answer a suspended RabbitMQ owes, the wait for it has a bound; later all is well."""
    for module in (publisher, rabbitmq):
        monkeypatch.setattr(module, "PUBLISH_TIMEOUT", 1.0)
    dispatch = publisher.event_dispatcher(get_settings())
    dispatch(an_event(settings))
    event = an_event(settings) if at == "confirm" else an_event(settings, service=f"another-{uuid4()}")
    with suspended(rabbitmq_proc), pytest.raises(PublishError, match="no answer within 1 s"):
        dispatch(event)
    dispatch(event)


def test_mandatory__no_queue__refused(channel, settings):
    """With MANDATORY an event that no queue is bound for is refused; without, it is published."""
    publisher.event_dispatcher(get_settings())(an_event(settings))
    settings.EVENTS_SOURCING = {"MANDATORY": True}
    with pytest.raises(EventRefused, match="no queue is bound"):
        publisher.event_dispatcher(get_settings())(an_event(settings))


def test_event__larger_than_the_broker_takes__refused(channel, queue, settings, rabbitmq_proc):
    """Too large is that event's own fault; the next one goes through."""
    with rabbitmq_proc.taking_at_most(1000), pytest.raises(EventRefused, match="larger than.* raise max_message_size"):
        publisher.event_dispatcher(get_settings())(an_event(settings, body=f'"{"x" * 2000}"'))
    publisher.event_dispatcher(get_settings())(an_event(settings))
    assert channel.basic_get(queue.name).body == '{"id": 1}'


def test_queue__full_with_reject_publish__trouble_not_refusal(channel, settings):
    """A queue that rejects because it is full will have room again: the event is not at fault."""
    full = Queue(
        str(uuid4()),
        get_event_exchange(settings.SERVICE_NAME, {}),
        "#",
        exclusive=True,
        queue_arguments={"x-max-length": 1, "x-overflow": "reject-publish"},
    )(channel)
    full.declare()
    dispatch = publisher.event_dispatcher(get_settings())
    dispatch(an_event(settings))
    with pytest.raises(PublishError) as caught:
        dispatch(an_event(settings))
    assert not isinstance(caught.value, EventRefused)


def test_transport_options__of_nameko_config__honoured(channel, settings, rabbitmq_proc):
    """TRANSPORT_OPTIONS reach the connection, which stays open in its pool and serves every dispatcher."""
    settings.NAMEKO_CONFIG = {"TRANSPORT_OPTIONS": {"client_properties": {"connection_name": "the shop"}}}
    for _ in range(3):
        publisher.event_dispatcher(get_settings())(an_event(settings))
    assert rabbitmq_proc.rabbitctl_output("list_connections", "client_properties").count("the shop") == 1
