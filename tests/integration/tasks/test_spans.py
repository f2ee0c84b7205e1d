"""The spans of what is published, by OpenTelemetry's own SDK, with a real RabbitMQ."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from django_events_sourcing import Event, tasks
from django_events_sourcing.conf import get_settings
from django_events_sourcing.exceptions import EventRefused
from django_events_sourcing.operating.replay import Selection, replay
from django_events_sourcing.tasks.publisher import event_dispatcher
from django_events_sourcing.tasks.relay import Relay
from django_events_sourcing.tracing import trace_context
from tests.integration.conftest import in_use, take

OPT_IN = "OTEL_SEMCONV_STABILITY_OPT_IN"


@pytest.fixture
def database(sqlite_alias, django_db_blocker):
    """It makes no difference to spans which it is."""
    with in_use(sqlite_alias, django_db_blocker) as alias:
        yield alias


@pytest.fixture
def provider(monkeypatch):
    """The project's tracer provider."""
    provider = TracerProvider()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return provider


@pytest.fixture
def spans(provider):
    """The spans that have ended so far."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter.get_finished_spans


@pytest.fixture
def saving(provider):
    """The span of a save; its context."""
    with provider.get_tracer("shop").start_as_current_span("saving") as span:
        pass
    return span


@pytest.fixture
def emit_within(emit, saving):
    """Hand an event of an object to the outbox, which was saved in that span."""

    def emit_within(key, **fields):
        with trace.use_span(saving):
            return emit(key, headers=trace_context(), **fields)

    return emit_within


@pytest.fixture
def relayed(database, queue):
    """Relay the database to the end; returns the headers of what arrived."""

    def relayed():
        Relay(database, get_settings()).run()
        return [message.headers for message in take(queue)]

    return relayed


def published(spans):
    """The spans that the library made."""
    return [span for span in spans() if span.instrumentation_scope.name == "django_events_sourcing"]


def ids(context):
    """What is told of a span across processes."""
    return context.trace_id, context.span_id, int(context.trace_flags)


def ids_of(span):
    return ids(span.get_span_context())


def ids_in(headers):
    """What OpenTelemetry's reader, and nameko's, which takes the prefix off, find in a message."""
    names = ("traceparent", "tracestate")
    assert {name: headers.get(name) for name in names} == {name: headers.get(f"nameko.{name}") for name in names}
    return ids_of(trace.get_current_span(TraceContextTextMapPropagator().extract(headers)))


def test_event__saved_in_a_span__publish_is_linked_to_it_and_message_carries_it(emit_within, relayed, spans, saving):
    """One trace id from the save to the handler; the publish is in a trace of its own."""
    emit_within("thing:1")
    [headers] = relayed()
    [span] = published(spans)
    assert ids_in(headers) == ids_of(saving)
    assert [ids(link.context) for link in span.links] == [ids_of(saving)]
    assert span.kind is trace.SpanKind.PRODUCER
    assert span.parent is None
    assert span.get_span_context().trace_id != saving.get_span_context().trace_id
    assert span.status.is_unset


def test_event__saved_in_a_span__publish_may_be_its_child(emit_within, relayed, spans, saving, options):
    """Then it stands between the save and the handler."""
    options(PUBLISH_SPAN="child")
    emit_within("thing:1")
    [headers] = relayed()
    [span] = published(spans)
    assert ids(span.parent) == ids_of(saving)
    assert not span.links
    assert ids_in(headers) == ids_of(span)
    assert span.get_span_context().trace_id == saving.get_span_context().trace_id


@pytest.mark.parametrize("kind", ["linked", "child"])
def test_event__saved_in_no_span__trace_begins_with_its_publish(emit, relayed, spans, options, kind):
    """So that at least what follows is seen."""
    options(PUBLISH_SPAN=kind)
    emit("thing:1")
    [headers] = relayed()
    [span] = published(spans)
    assert (span.parent, list(span.links)) == (None, [])
    assert ids_in(headers) == ids_of(span)


def test_worker__without_a_tracer__message_carries_the_save_all_the_same(emit_within, relayed, saving, monkeypatch):
    """Who only relays needs none."""
    emit_within("thing:1")
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)
    [headers] = relayed()
    assert ids_in(headers) == ids_of(saving)


def test_many_events__of_few_objects__one_span_each(emit_within, relayed, spans):
    """From its sending to its confirm, whatever is in flight beside it."""
    sent = [emit_within(f"thing:{number % 7}") for number in range(60)]
    assert len(relayed()) == 60
    found = [span.attributes["messaging.message.id"] for span in published(spans)]
    assert sorted(found) == sorted(str(event.id) for event in sent)
    assert all(span.start_time < span.end_time for span in published(spans))


def test_event__replayed__one_span_more_in_the_same_trace(emit_within, relayed, spans, saving, database):
    """It is still that save that is told of."""
    emit_within("thing:1")
    relayed()
    assert sum(replay(database, Selection())) == 1
    [headers] = relayed()
    assert headers["nameko.event_replayed"]
    assert ids_in(headers) == ids_of(saving)
    assert len(published(spans)) == 2


def test_event__replayed_to_a_queue__span_names_that(emit_within, relayed, spans, database, queue, monkeypatch):
    """There it goes without an exchange."""
    emit_within("thing:1")
    relayed()
    assert sum(replay(database, Selection(), to_queue=queue.name)) == 1
    relayed()
    old = published(spans)[-1]
    assert (old.name, old.attributes["messaging.destination.name"]) == (f"{queue.name} publish", "")
    monkeypatch.setenv(OPT_IN, "messaging")
    assert sum(replay(database, Selection(), to_queue=queue.name)) == 1
    relayed()
    new = published(spans)[-1]
    assert (new.name, new.attributes["messaging.destination.name"]) == (f"publish {queue.name}", queue.name)


def test_attributes__are_those_of_the_conventions_that_are_opted_for(
    emit_within, relayed, spans, settings, rabbitmq_proc, monkeypatch
):
    """As OTEL_SEMCONV_STABILITY_OPT_IN says: the old ones, the new ones, or both."""
    exchange = f"{settings.SERVICE_NAME}.events"
    common = {
        "messaging.system": "rabbitmq",
        "messaging.rabbitmq.destination.routing_key": "thing__changed",
        "server.address": "127.0.0.1",
        "server.port": rabbitmq_proc.port,
    }
    old = {"messaging.operation": "publish", "messaging.destination.name": exchange}
    new = {
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": f"{exchange}:thing__changed",
    }
    for opt_in, name, expected in (
        ("", f"{exchange} publish", old),
        ("http", f"{exchange} publish", old),
        ("messaging", f"publish {exchange}:thing__changed", new),
        ("http, messaging", f"publish {exchange}:thing__changed", new),
        ("messaging/dup,messaging", f"publish {exchange}:thing__changed", {**old, **new}),
    ):
        monkeypatch.setenv(OPT_IN, opt_in)
        event = emit_within("thing:1")
        relayed()
        span = published(spans)[-1]
        assert span.name == name
        assert span.attributes == {**common, **expected, "messaging.message.id": str(event.id)}


def failed(spans):
    """The types of errors of the spans that failed, and what they say."""
    found = [span for span in published(spans) if "error.type" in span.attributes]
    assert all(span.status.status_code is trace.StatusCode.ERROR for span in found)
    return [(span.attributes["error.type"], span.status.description) for span in found]


def test_event__that_no_queue_takes__refused_in_its_span(emit_within, options, queue, spans, relayed):
    """With MANDATORY; without, nothing has failed."""
    queue.unbind_from(queue.exchange, "#")
    emit_within("thing:1")
    relayed()
    assert failed(spans) == []
    options(MANDATORY=True)
    emit_within("thing:2")
    relayed()
    [(kind, problem)] = failed(spans)
    assert kind == "django_events_sourcing.exceptions.EventRefused"
    assert "no queue is bound" in problem


def test_event__that_no_message_can_be_made_of__span_ends_with_that(emit, options, relayed, spans):
    """Others go on."""
    emit("thing:1", headers={"x" * 300: 1})
    emit("thing:2")
    assert len(relayed()) == 1
    assert len(published(spans)) == 2
    assert [kind for kind, _ in failed(spans)] == ["struct.error"]


def test_full_queue__that_rejects__span_says_so(emit_within, relayed, spans, queue, channel):
    """A nack is no confirm."""
    full = queue.exchange.name + "-full"
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    channel.queue_declare(full, exclusive=True, arguments=arguments)
    channel.queue_bind(full, queue.exchange.name, "#")
    for number in range(5):
        emit_within(f"thing:{number}")
    relayed()
    assert len(failed(spans)) >= 3
    assert all("nack" in problem for _, problem in failed(spans))


def test_connection__breaks_with_events_in_flight__each_attempt_has_a_span(emit_within, relayed, spans, monkeypatch):
    """Those that came to nothing end with the error, and the next ones are others."""
    from django_events_sourcing.tasks.channel import Channel

    wait = Channel.wait
    broken: list[bool] = []

    def break_once(self, seconds):
        if not broken:
            broken.append(True)
            raise ConnectionResetError("reset by a test")
        return wait(self, seconds)

    monkeypatch.setattr(Channel, "wait", break_once)
    emit_within("thing:1")
    emit_within("thing:2")
    assert len(relayed()) >= 2
    assert failed(spans) == [("ConnectionResetError", "reset by a test")] * 2
    assert len(published(spans)) == 4


def test_direct__event_has_a_span_within_that_of_its_task(provider, spans, saving, settings, queue):
    """Beside the link to the save, it is in the trace of whatever has it published."""
    with trace.use_span(saving):
        event = Event(
            name="thing__changed", service=settings.SERVICE_NAME, object="thing:1", body="{}", headers=trace_context()
        )
    settings.EVENTS_SOURCING = {"DELIVERY": "direct"}
    with provider.get_tracer("celery").start_as_current_span("run/publish_event") as task:
        tasks.publish_event(event.to_message())
    [span] = published(spans)
    assert span.parent == task.get_span_context()
    assert [ids(link.context) for link in span.links] == [ids_of(saving)]
    assert ids_in(queue.get(no_ack=True).headers) == ids_of(saving)


def test_direct__event_that_is_refused__span_says_so(spans, settings, queue):
    """As with the outbox."""
    settings.EVENTS_SOURCING = {"MANDATORY": True}
    queue.unbind_from(queue.exchange, "#")
    event = Event(name="thing__changed", service=settings.SERVICE_NAME, object="thing:1", body="{}")
    with pytest.raises(EventRefused):
        event_dispatcher(get_settings())(event)
    assert len(failed(spans)) == 1


@pytest.mark.parametrize(
    "headers", [{"traceparent": "nonsense"}, {"traceparent": 5, "tracestate": [1]}, {"tracestate": "a=1"}]
)
def test_context__that_is_none__event_goes_all_the_same(emit, relayed, spans, headers):
    """Whoever wrote it into the log."""
    emit("thing:1", headers=headers)
    assert len(relayed()) == 1
    [span] = published(spans)
    assert not span.links


@pytest.mark.parametrize("moment", ["on_start", "on_end"])
def test_tracer__that_fails__events_are_published_and_the_log_says_so(emit_within, relayed, provider, moment, caplog):
    """What the project has its tracer do is no reason not to."""
    emit_within("thing:1")

    class Failing(SpanProcessor):
        pass

    def fail(*_arguments, **_more):
        raise RuntimeError("no disk")

    setattr(Failing, moment, fail)
    provider.add_span_processor(Failing())
    assert len(relayed()) == 1
    assert [record.message for record in caplog.records if "tracer" in record.message] == [
        "Events are published without spans: the tracer failed. RuntimeError: no disk (Logged once a minute at most.)"
    ]
