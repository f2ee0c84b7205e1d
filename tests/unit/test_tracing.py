"""The trace that a save is in goes with its event."""

import subprocess
import sys
import timeit

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from django_events_sourcing import Event
from django_events_sourcing.tracing import trace_context
from tests.project.models import Product


def traceparent(span):
    """As W3C's Trace Context has it."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def test_save_and_delete__within_a_span__event_carries_it(events):
    """Each that of its moment."""
    tracer = TracerProvider().get_tracer("shop")
    with tracer.start_as_current_span("saving") as saving:
        product = Product.objects.create(name="a", price=1)
        with tracer.start_as_current_span("within"):
            pass
    with tracer.start_as_current_span("deleting") as deleting:
        product.delete()
    assert [event.headers for event in events] == [
        {"traceparent": traceparent(saving)},
        {"traceparent": traceparent(deleting)},
    ]


def test_save__outside_of_a_span__event_carries_none(events):
    """There is nothing to go on with."""
    Product.objects.create(name="a", price=1)
    assert events[0].headers == {}


def test_save__in_a_trace_that_is_not_sampled__event_says_so(events):
    """So that nobody begins to record it half way."""
    with TracerProvider(sampler=ALWAYS_OFF).get_tracer("shop").start_as_current_span("saving") as saving:
        Product.objects.create(name="a", price=1)
    assert events[0].headers == {"traceparent": traceparent(saving)}
    assert not saving.get_span_context().trace_flags.sampled


def test_save__in_a_trace_from_elsewhere__event_has_its_state(events):
    """What vendors keep there goes along."""
    state = trace.TraceState([("vendor", "a:1"), ("other", "2")])
    context = trace.SpanContext(7, 8, is_remote=True, trace_flags=trace.TraceFlags(1), trace_state=state)
    with trace.use_span(trace.NonRecordingSpan(context)):
        Product.objects.create(name="a", price=1)
    assert events[0].headers["tracestate"] == "vendor=a:1,other=2"


def test_trace_context__without_a_tracer__costs_next_to_nothing():
    """Less than to have the event written as a task, a few microseconds."""
    event = Event(name="a", service="b", object="c:1", body="{}")
    as_task = min(timeit.repeat(event.to_message, number=10_000, repeat=5))
    assert min(timeit.repeat(trace_context, number=10_000, repeat=5)) < 2 * as_task


def test_opentelemetry__not_installed__nothing_is_traced():
    """Nor does anything fail."""
    code = """
import sys
sys.modules["opentelemetry"] = None
import django
django.setup()
from django_events_sourcing.conf import get_settings
from django_events_sourcing.events import Event
from django_events_sourcing.tasks.spans import PublishSpans
from django_events_sourcing import Event
from django_events_sourcing.tracing import trace_context
assert trace_context() == {}
event = Event(name="a", service="b", object="c:1", body="{}")
with PublishSpans(get_settings()).begin(None, event, "b.events", "a") as span:
    span.end()
assert span.context == {}
assert not any(name.startswith("opentelemetry.") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
