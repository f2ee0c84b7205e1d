"""One trace from a Django view through the worker to a nameko handler, beside OpenTelemetry's own instrumentations."""

import json
import re
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.processes import running, wait_until
from tests.servers import free_port

DOCS = Path(__file__).parent.parent.parent / "docs/how-to/trace.md"

# With what docs/how-to/trace.md has for services of nameko 2.14.
SERVICE = """
from tests.acceptance import traced
from tests.project import services


class Recorder(services.Recorder):
    tracing = Tracing()
"""


class Spans:
    """Those of all processes, that have ended."""

    def __init__(self, file):
        self._file = file

    def all(self):
        return [line for line in self._lines() if "begins" not in line]

    def unended(self):
        return {line["begins"] for line in self._lines() if "begins" in line} - set(map(id_of, self.all()))

    def named(self, pattern):
        return [span for span in self.all() if re.fullmatch(pattern, span["name"])]

    def _lines(self):
        return [json.loads(line) for line in self._file.read_text().splitlines()] if self._file.exists() else []


def trace_of(span):
    return span["context"]["trace_id"]


def id_of(span):
    return span["context"]["span_id"]


@contextmanager
def traced(system, **options):
    """A web process, a worker and a service, all of them traced; the URL of the view that saves, and their spans."""
    system.configure(SWEEP_INTERVAL=600, **options)
    [tracing] = re.findall(r"```python\n(.*?)```", DOCS.read_text().partition("## A nameko service")[2], re.DOTALL)
    (system.folder / "traced_service.py").write_text(tracing + SERVICE)
    spans, port = system.folder / "spans.jsonl", free_port()
    system.env |= {"SPANS": str(spans), "PYTHONPATH": str(system.folder)}
    application = "tests.acceptance.traced:get_wsgi_application()"
    gunicorn = [sys.executable, "-m", "gunicorn", application, "--threads", "4", "--bind", f"127.0.0.1:{port}"]
    with system.service("traced_service"):
        system.env["INSTRUMENTED"] = "django celery psycopg redis"
        with (
            system.worker("--include", "tests.acceptance.traced"),
            running(gunicorn, "Listening at", system.log("gunicorn"), system.env),
        ):
            yield f"http://127.0.0.1:{port}/save/", Spans(spans)


def check_spans_are_whole(spans):
    """None is there twice, none was begun and not ended, and none has a parent that is nowhere."""
    wait_until(lambda: not spans.unended(), "all spans end")
    ids = Counter(map(id_of, spans.all()))
    assert set(ids.values()) == {1}
    assert {span["parent_id"] for span in spans.all()} - {None} <= ids.keys()


@pytest.mark.parametrize("kind", ["linked", "child"])
def test_outbox__one_trace_from_the_view_to_the_handler(system, kind):
    """With each instrumentation that a project may have, and a span for each publish beside theirs."""
    with traced(system, PUBLISH_SPAN=kind) as (url, spans):
        for number in range(5):
            urlopen(url + str(number)).read()
        system.wait_for(5)
        wait_until(lambda: len(spans.named(r"recorder\.product_created")) == 5, "the handlers' spans end")
        check_spans_are_whole(spans)
    views = {trace_of(span): span for span in spans.named("GET save/<name>")}
    publishes = spans.named(r"shop-.*\.events publish")
    handlers = spans.named(r"recorder\.product_created")
    assert len(views) == len(publishes) == len(handlers) == 5
    assert {trace_of(span) for span in handlers} == views.keys()
    sent = {span["attributes"]["messaging.message.id"]: span for span in publishes}
    assert sent.keys() == {event["event_id"] for event in system.handled()}
    for event in system.handled():
        publish = sent[event["event_id"]]
        [handler] = [span for span in handlers if trace_of(span)[2:] == event["traceparent"].split("-")[1]]
        view = views[trace_of(handler)]
        if kind == "child":
            assert publish["parent_id"] == id_of(view)
            assert handler["parent_id"] == id_of(publish)
        else:
            assert [link["context"] for link in publish["links"]] == [view["context"]]
            assert publish["parent_id"] is None
            assert handler["parent_id"] == id_of(view)
    # the row's statement and the event's, in the view's own trace, once each
    written = Counter(span["name"] for span in spans.named("INSERT|WITH") if trace_of(span) in views)
    assert written == {"INSERT": 5, "WITH": 5}
    woken = spans.named(r"apply_async/django_events_sourcing\.relay")
    ran = spans.named(r"run/django_events_sourcing\.relay")
    assert len(woken) == len(ran) >= 1
    assert {span["parent_id"] for span in ran} == set(map(id_of, woken))


def test_direct__one_trace_from_the_view_through_the_task_to_the_handler(system):
    """There Celery's spans stand between, and the publish in its task's."""
    with traced(system, DELIVERY="direct") as (url, spans):
        urlopen(url + "one").read()
        system.wait_for(1)
        wait_until(lambda: spans.named(r"recorder\.product_created"), "the handler's span ends")
        check_spans_are_whole(spans)
    [view], [handler] = spans.named("GET save/<name>"), spans.named(r"recorder\.product_created")
    [enqueued] = spans.named(r"apply_async/django_events_sourcing\.publish_event")
    [task] = spans.named(r"run/django_events_sourcing\.publish_event")
    [publish] = spans.named(r"shop-.*\.events publish")
    assert len(set(map(trace_of, (view, enqueued, task, publish, handler)))) == 1
    parents = {id_of(span): span["parent_id"] for span in (enqueued, task, publish, handler)}
    assert parents == {
        id_of(enqueued): id_of(view),
        id_of(task): id_of(enqueued),
        id_of(publish): id_of(task),
        id_of(handler): id_of(view),
    }
