"""The worker's side without servers: over kombu's in-memory transport, in eager mode, and by bare calls."""

import json
import logging
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.exceptions import Retry, SoftTimeLimitExceeded
from django.db import transaction
from kombu.connection import Connection
from kombu.entity import Queue
from nameko.standalone.events import get_event_exchange

from django_events_sourcing import Event, emit, event_context, tasks
from django_events_sourcing.conf import get_settings
from django_events_sourcing.exceptions import ConfigurationError, EventRefused, PublishError
from django_events_sourcing.tasks import attempts, circuit, publish_event, publisher
from django_events_sourcing.tasks.attempts import Attempts
from django_events_sourcing.tasks.circuit import worker_circuit
from django_events_sourcing.tasks.rabbitmq import PUBLISH_TIMEOUT
from django_events_sourcing.tasks.retry import delay
from tests.processes import wait_until
from tests.project.celery import app
from tests.project.models import Product


@pytest.fixture(autouse=True)
def _direct(settings):
    settings.EVENTS_SOURCING = {"DELIVERY": "direct"}


@pytest.fixture
def eager(settings):
    """Tasks run at once, in this process."""
    was = app.conf.task_always_eager
    app.conf.task_always_eager = True
    yield
    app.conf.task_always_eager = was


@pytest.fixture
def queue(settings):
    """A queue for every event of a service, in memory, and that service set as the source."""
    settings.SERVICE_NAME = f"shop-{uuid4()}"
    settings.AMQP_URI, settings.EVENTS_SOURCING = "memory://", {"DELIVERY": "direct", "VIRTUAL_TRANSPORT": True}
    with Connection("memory://") as connection:
        queue = Queue(str(uuid4()), get_event_exchange(settings.SERVICE_NAME, {}), "#")(connection)
        queue.declare()
        yield queue


def an_event(**fields):
    return Event(
        **{"name": "order__created", "service": "shop", "object": "shop.order:1", "body": '{"id": 1}', **fields}
    )


def test_eager__save__published_inside_the_process(transactional_db, eager, queue):
    """CELERY_TASK_ALWAYS_EAGER publishes at the commit, before the save returns."""
    with transaction.atomic():
        product = Product.objects.create(name="pen", price=1)
        assert queue.get() is None
    message = queue.get()
    assert message.delivery_info["routing_key"] == "product__created"
    assert message.payload["id"] == product.pk


def test_eager__event_of_ones_own__published_inside_the_process(transactional_db, eager, queue):
    """At the commit, with what the code around it says; none after a rollback."""
    with event_context(user_id=7), transaction.atomic():
        emit("cart__abandoned", {"lines": 3}, key="shop.cart:17")
        with transaction.atomic():
            emit("cart__filled", {}, key="shop.cart:17")
            transaction.set_rollback(True)
    message = queue.get()
    assert (message.delivery_info["routing_key"], message.payload) == ("cart__abandoned", {"lines": 3})
    assert (message.headers["nameko.event_object"], message.headers["nameko.user_id"]) == ("shop.cart:17", 7)
    assert queue.get() is None


def test_eager__web_process_without_the_tasks__published(queue):
    """Eager mode works in a process that has not loaded the tasks by itself."""
    code = (
        "import django; django.setup(); import sys; from tests.project.celery import app\n"
        "app.conf.task_always_eager = True\n"
        "assert 'django_events_sourcing.tasks' not in sys.modules\n"
        "from django_events_sourcing import Event\n"
        "from django_events_sourcing.delivery import direct\n"
        "direct.hand_over([Event(name='n', service='s', object='o:1', body='1')], 'default')\n"
        "assert 'django_events_sourcing.tasks' in sys.modules"
    )
    env = {"DJANGO_SETTINGS_MODULE": "tests.project.settings", "AMQP_URI": "memory://", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "")


def test_eager__broker_down__error_logged_and_save_goes_on(transactional_db, eager, settings, caplog, free_port):
    """Eager mode can't wait for a broker: one attempt, then an error with id and name; the save is not touched."""
    settings.AMQP_URI = f"amqp://guest:s3cret@127.0.0.1:{free_port}/"
    Product.objects.create(name="pen", price=1)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "product__created" in record.getMessage()
    assert "is given up" in record.getMessage()
    assert "s3cret" not in caplog.text


def test_dispatcher__plain_body__published_as_stored(settings, queue):
    """The stored JSON is published as it is, spaces and all."""
    body = '{"a":   1, "b": "\\u00e9"}'
    publisher.event_dispatcher(get_settings())(an_event(service=settings.SERVICE_NAME, body=body))
    message = queue.get()
    assert message.body == body.encode()
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")


def test_dispatcher__event_headers__reach_nameko_and_ours_win(settings, queue):
    """What the caller adds comes along, and can't stand in for what the library promises."""
    event = an_event(service=settings.SERVICE_NAME, headers={"user_id": 7, "event_id": "forged"})
    publisher.event_dispatcher(get_settings())(event)
    headers = queue.get().headers
    assert headers["nameko.user_id"] == 7
    assert headers["nameko.event_id"] == str(event.id)


def test_dispatcher__other_nameko_serializer__used(settings, queue):
    """NAMEKO_CONFIG's serializer encodes the data, so that services set to it can read it."""
    settings.NAMEKO_CONFIG = {
        "serializer": "shout",
        "SERIALIZERS": {
            "shout": {
                "encoder": "tests.unit.tasks.test_tasks.shout",
                "decoder": "json.loads",
                "content_type": "application/x-shout",
                "content_encoding": "utf-8",
            }
        },
    }
    publisher.event_dispatcher(get_settings())(an_event(service=settings.SERVICE_NAME, body='{"id": "a"}'))
    message = queue.get()
    assert message.body == b'{"ID": "A"}'
    assert message.content_type == "application/x-shout"


def shout(data):
    return json.dumps(data).upper()


def test_dispatcher__no_uri__error_names_the_settings(settings):
    """A worker without an AMQP URI says which setting is missing."""
    settings.AMQP_URI, settings.NAMEKO_CONFIG = None, {}
    with pytest.raises(ConfigurationError, match="AMQP_URI"):
        publisher.event_dispatcher(get_settings())


@pytest.mark.parametrize(
    "config", [{"serializer": "jsonn"}, {"SERIALIZERS": {"x": {"encoder": "no.x", "decoder": "no.y"}}}]
)
def test_dispatcher__unknown_nameko_serializer__error_names_the_setting(settings, config):
    """What nameko says of its serializers is reported as a wrong setting."""
    settings.AMQP_URI, settings.NAMEKO_CONFIG = "amqp://h/", config
    with pytest.raises(ConfigurationError, match="serializer"):
        publisher.event_dispatcher(get_settings())


def test_dispatcher__malformed_uri__error_without_the_password(settings):
    """kombu would quote half of this password as a port that is no number."""
    settings.AMQP_URI = "amqp://guest:s3cret/@localhost/"
    with pytest.raises(ConfigurationError) as caught:
        publisher.event_dispatcher(get_settings())
    assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_event__as_message_and_back__the_same():
    """The Celery task's argument is plain JSON and holds all of the event."""
    event = an_event(headers={"user_id": 7})
    assert Event.from_message(json.loads(json.dumps(event.to_message()))) == event


def test_delay__grows_with_jitter_up_to_the_cap(settings):
    """Each delay lies in the upper half of a doubling interval, and never above the cap."""
    settings.EVENTS_SOURCING = {"RETRY_BACKOFF": 1, "RETRY_BACKOFF_MAX": 60}
    for failed, interval in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (10_000, 60)]:
        delays = {delay(failed, get_settings()) for _ in range(50)}
        assert len(delays) > 1
        assert interval / 2 <= min(delays) <= max(delays) <= interval


@pytest.fixture
def attempt(monkeypatch, settings):
    """Call the task as a worker would, publishing ending in ``error``; returns the arguments of its retry, or None."""
    settings.EVENTS_SOURCING = {"MAX_ATTEMPTS": 3}

    def call(error, retries=0, failures=0, publish=None):
        def dispatcher(settings):
            def dispatch(event):
                if publish is None:
                    raise error
                publish()

            return dispatch

        def retry(**options):
            retried.append(options)
            return Retry()

        retried: list[dict[str, Any]] = []
        monkeypatch.setattr("django_events_sourcing.tasks.event_dispatcher", dispatcher)
        monkeypatch.setattr(publish_event, "retry", retry)
        publish_event.push_request(retries=retries, called_directly=False)
        try:
            publish_event.run(an_event().to_message(), failures)
        except Retry as exc:
            retried[-1]["context"] = exc.__context__
        finally:
            publish_event.pop_request()
        return retried[0] if retried else None

    return call


def test_publish_event__broker_trouble__retried_for_ever(attempt):
    """However often the broker was away, the event is tried again, and none of it is the event's fault."""
    retried = attempt(PublishError("connection refused"), retries=10_000)
    assert retried["args"][1] == 0
    assert 0 < retried["countdown"] <= get_settings().retry_backoff_max


def test_publish_event__while_another_process_tries_for_long__comes_when_that_is_over(attempt, monkeypatch, settings):
    """At its own first delay it would come back in vain, and so would all others that wait; not if it is soon known."""
    worker_circuit.failed("no way", get_settings())
    monkeypatch.setattr(circuit, "monotonic", lambda: time.monotonic() + 2)
    with worker_circuit.attempt() as may_try:
        assert may_try
        assert attempt(None)["countdown"] <= 1
        monkeypatch.setattr(circuit, "monotonic", lambda: time.monotonic() + 4)
        assert PUBLISH_TIMEOUT <= attempt(None)["countdown"] <= 1.5 * PUBLISH_TIMEOUT
        settings.EVENTS_SOURCING = {"RETRY_BACKOFF_MAX": 3}
        assert attempt(None)["countdown"] == 3


def test_publish_event__before_the_next_attempt__begins_no_thread(attempt, settings, monkeypatch):
    """Nothing is tried until then; the event comes back after its own delay."""
    monkeypatch.setattr(Attempts, "run", pytest.fail)
    settings.EVENTS_SOURCING = {"RETRY_BACKOFF": 60}
    worker_circuit.failed("no way", get_settings())
    settings.EVENTS_SOURCING = {"RETRY_BACKOFF": 1}
    retried = attempt(None)
    assert "another process of this worker tries" in str(retried["exc"])
    assert retried["countdown"] <= 1


def test_publish_event__retried__without_the_traceback(attempt):
    """Celery sends its main process all of it, at each attempt; what went wrong is told all the same."""
    retried = attempt(PublishError("connection refused"))
    assert str(retried["exc"]) == "connection refused"
    assert (retried["exc"].__traceback__, retried["context"]) == (None, None)


@pytest.fixture
def hung(monkeypatch):
    """Publishing hangs until this event is set; tasks wait for no more than a moment."""
    monkeypatch.setattr(tasks, "_PATIENCE", 0.05)
    monkeypatch.setattr(tasks, "_attempts", left := Attempts())
    hung = threading.Event()
    yield hung
    hung.set()
    wait_until(lambda: not left.are_left, "nothing is under way")


def test_publish_event__while_rabbitmq_hangs__lets_other_tasks_have_the_process(attempt, hung):
    """The first one waits for a moment, the others not at all; their events come when it is known how RabbitMQ is."""
    tried = []

    def publish():
        tried.append(1)
        hung.wait(30)

    began = time.monotonic()
    for _ in range(20):
        assert PUBLISH_TIMEOUT <= attempt(None, publish=publish)["countdown"] <= 1.5 * PUBLISH_TIMEOUT
    assert time.monotonic() - began < 10
    assert len(tried) == 1
    hung.set()
    wait_until(lambda: not tasks._attempts.are_left, "the first one's end")
    assert attempt(None, publish=lambda: tried.append(1)) is None
    assert len(tried) == 2


def test_publish_event__with_a_rabbitmq_that_is_merely_slow__published_at_the_second_attempt(attempt, hung):
    """Once more at each attempt would be once more for ever."""

    def publish():
        time.sleep(0.3)

    assert attempt(None, publish=publish)
    wait_until(lambda: not tasks._attempts.are_left, "the first attempt's end")
    assert attempt(None, retries=1, publish=publish) is None


def test_publish_event__soft_time_limit_while_it_waits__turns_others_away(attempt, hung, monkeypatch):
    """The attempt goes on; nobody knows yet how RabbitMQ is."""

    def limited(*_arguments):
        raise SoftTimeLimitExceeded

    with monkeypatch.context() as patched:
        patched.setattr(attempts, "wait", limited)
        assert attempt(None, publish=lambda: hung.wait(30))["countdown"] >= PUBLISH_TIMEOUT
    assert attempt(None, publish=pytest.fail)["countdown"] >= PUBLISH_TIMEOUT


def test_publish_event__refused__given_up_after_max_attempts(attempt, caplog):
    """Refusals are counted; the last one is an error with the event's id, name and object."""
    assert attempt(EventRefused("too large"), failures=0)["args"][1] == 1
    assert attempt(EventRefused("too large"), retries=50, failures=1)["args"][1] == 2
    assert not [record for record in caplog.records if record.levelno == logging.ERROR]
    assert attempt(EventRefused("too large"), failures=2) is None
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "order__created, shop.order:1) is given up" in record.getMessage()
    assert "too large" in caplog.text


def test_publish_event__wrong_settings__retried_for_ever(attempt, settings):
    """A worker that was started with wrong settings keeps the events until it has the right ones."""
    retried = attempt(ConfigurationError("no AMQP_URI"), failures=0, retries=10_000)
    assert retried["args"][1] == 0
    settings.EVENTS_SOURCING = {"MAX_ATTEMPTS": "three"}
    assert attempt(PublishError("never tried"))["args"][1] == 0


def test_publish_event__unforeseen_error__counted(attempt):
    """An error of a kind that nobody foresaw is not retried for ever."""
    assert attempt(ValueError("what?"))["args"][1] == 1
    assert attempt(ValueError("what?"), failures=2) is None


def test_publish_event__soft_time_limit_of_the_project__no_fault_of_the_event(attempt):
    """RabbitMQ that hangs runs into it, however often."""
    assert attempt(SoftTimeLimitExceeded(), failures=2, retries=10_000)["args"][1] == 2


def test_publish_event__annotations_of_the_project__promises_stay():
    """What a project sets for all tasks takes back none of the library's promises; a rate limit holds here, too."""
    annotations = {
        "max_retries": 2,
        "acks_late": False,
        "acks_on_failure_or_timeout": True,
        "reject_on_worker_lost": False,
        "ignore_result": False,
        "serializer": "pickle",
        "expires": 10,
        "rate_limit": "100/s",
    }
    other = Celery("tests", broker="memory://", set_as_current=False)
    other.conf.task_annotations = {"*": annotations}
    task = other.tasks[publish_event.name]
    kept = {name: getattr(task, name) for name in annotations}
    assert kept == {
        "max_retries": None,
        "acks_late": True,
        "acks_on_failure_or_timeout": False,
        "reject_on_worker_lost": True,
        "ignore_result": True,
        "serializer": "json",
        "expires": None,
        "rate_limit": "100/s",
    }


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("x",),
        ({},),
        ({**an_event().to_message(), "id": "x"},),
        ({**an_event().to_message(), "time": "2026-01-01T00:00:00"},),
        ({**an_event().to_message(), "body": 1},),
        ({**an_event().to_message(), "headers": []},),
        (an_event().to_message(), "x"),
        (an_event().to_message(), -1),
    ],
)
def test_task__with_forged_arguments__dropped_with_a_short_line(arguments, caplog, monkeypatch):
    """What is no event can't be published, and is no reason for a traceback."""
    monkeypatch.setattr(tasks, "event_dispatcher", lambda _: pytest.fail("published"))
    publish_event(*arguments)
    (record,) = caplog.records
    assert "is dropped" in record.getMessage()
    assert len(record.getMessage()) < 300
    assert record.exc_info is None


@pytest.mark.parametrize("age, is_published", [(timedelta(0), False), (timedelta(days=1), True)])
def test_task__where_the_delivery_is_another__runs_only_for_what_waits_from_before(
    settings, monkeypatch, caplog, age, is_published
):
    """A project that has gone over to the outbox loses nothing of what still waits with Celery's broker."""
    settings.EVENTS_SOURCING = {"DELIVERY": "outbox"}
    published: list[Event] = []
    monkeypatch.setattr(tasks, "event_dispatcher", lambda _: published.append)
    now = datetime.now(UTC) + tasks._ROLLING_DEPLOY
    publish_event(an_event(time=now - age).to_message())
    assert bool(published) is is_published
    assert ("DELIVERY is 'outbox'" in caplog.text) is not is_published
