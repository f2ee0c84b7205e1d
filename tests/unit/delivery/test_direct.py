"""The delivery "direct" in the web process."""

import logging
import socket
import subprocess
import sys
import threading
from contextlib import nullcontext
from time import monotonic
from uuid import uuid4

import pytest
from celery import Celery, _state, current_app
from django.db import transaction
from django.db.models.signals import post_delete
from django.db.transaction import TransactionManagementError

from django_events_sourcing import Event
from django_events_sourcing.delivery import celery_app, direct
from django_events_sourcing.delivery.enqueue import ENQUEUE_TIMEOUT
from django_events_sourcing.testing import disable_dispatcher
from tests.project.models import Product


@pytest.fixture(autouse=True)
def _direct(settings):
    settings.EVENTS_SOURCING = {"DELIVERY": "direct"}


class RollBackError(Exception):
    """Ends a transaction."""


@pytest.fixture
def enqueued(monkeypatch, transactional_db):
    """Names of the products whose events were enqueued."""
    names = []
    monkeypatch.setattr(direct, "enqueue", lambda task, event: names.append(Event.from_message(event).data["name"]))
    return names


def test_commit__enqueued_after_it(enqueued):
    """Nothing is enqueued before the outermost commit, then all in order."""
    with transaction.atomic():
        Product.objects.create(name="a", price=1)
        with transaction.atomic():
            Product.objects.create(name="b", price=1)
        assert enqueued == []
    assert enqueued == ["a", "b"]


def test_autocommit__enqueued_at_once(enqueued):
    """Without a transaction the save is the commit."""
    Product.objects.create(name="a", price=1)
    assert enqueued == ["a"]


def test_savepoint__rolled_back__its_events_go_along(enqueued):
    """A savepoint takes its events with it, and no others."""
    with transaction.atomic():
        Product.objects.create(name="a", price=1)
        with pytest.raises(RollBackError), transaction.atomic():
            Product.objects.create(name="b", price=1)
            raise RollBackError
        Product.objects.create(name="c", price=1)
    assert enqueued == ["a", "c"]


def test_transaction__rolled_back__nothing(enqueued):
    """An outer rollback takes all, those of released savepoints, too."""
    with pytest.raises(RollBackError), transaction.atomic():
        with transaction.atomic():
            Product.objects.create(name="a", price=1)
        raise RollBackError
    assert enqueued == []


def test_delete__that_fails__nothing_and_later_all(enqueued, receive):
    """A delete that another receiver refuses has not happened; the next one has."""

    def refuse(**_):
        raise RollBackError

    product = Product.objects.create(name="a", price=1)
    receive(post_delete, Product, refuse)
    with pytest.raises(RollBackError):
        product.delete()
    assert enqueued == ["a"]
    post_delete.disconnect(refuse, sender=Product)
    product.delete()
    assert enqueued == ["a", "a"]


@pytest.fixture(params=["down", "hung"])
def celery_broker(request, make_celery_app):
    """As Celery's broker and result backend a Redis that refuses connections, or takes them and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "hung":
            server.listen()
        url = f"redis://:s3cret@127.0.0.1:{server.getsockname()[1]}/0"
        make_celery_app(broker=url, backend=url)
        yield


def test_celery_broker__away__error_logged_and_nothing_raised(transactional_db, celery_broker, caplog):
    """The save is committed and returns in bounded time; the log names the event that is lost, and no password."""
    started = monotonic()
    Product.objects.create(name="a", price=1)
    assert monotonic() - started < 3 * ENQUEUE_TIMEOUT
    assert Product.objects.exists()
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "product__created, project.product:" in record.getMessage()
    assert "is lost" in record.getMessage()
    assert "s3cret" not in caplog.text


@pytest.fixture
def project(make_celery_app):
    """Make a Celery app with a broker in memory the project's; returns it."""

    def make(**options):
        app = make_celery_app(broker="memory://", **options)
        app.conf.broker_transport_options = {"polling_interval": 0.01}
        app.conf.task_default_queue = str(uuid4())
        app.tasks.unregister("django_events_sourcing.publish_event")  # a web process has not loaded it
        return app

    return make


def queued(app):
    """The bodies of the events whose tasks are at the broker of ``app``."""
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(app.conf.task_default_queue)
        return [queue.get(timeout=0.1).payload[0][0]["body"] for _ in range(queue.qsize())]


@pytest.mark.parametrize("backend", ["down", "hung", "unknown"])
def test_result_backend__away__event_is_enqueued_as_ever(transactional_db, project, backend, caplog):
    """Enqueueing touches Celery's broker alone: no result of the task is asked for."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if backend == "hung":
            server.listen()
        url = "nosuch://backend" if backend == "unknown" else f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        app = project(backend=url)
        started = monotonic()
        Product.objects.create(name="a", price=1)
        assert monotonic() - started < 1
        assert len(queued(app)) == 1
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_thread__without_an_app_of_its_own__the_one_of_start_up(transactional_db, monkeypatch):
    """Celery keeps its current app by thread; in a thread without one, and no default, ours is remembered."""
    monkeypatch.setattr(_state, "default_app", None)
    app = current_app._get_current_object()
    seen = []
    monkeypatch.setattr(app, "send_task", lambda *args, **kwargs: seen.append(threading.current_thread().name))
    event = Event(name="order__created", service="shop", object="shop.order:1", body="{}")
    thread = threading.Thread(target=lambda: direct._enqueue(event), name="other")
    thread.start()
    thread.join()
    assert seen == ["other"]


def test_process__without_an_app__error_names_the_event_and_nothing_is_sent(transactional_db, monkeypatch, caplog):
    """Celery's fallback, a RabbitMQ on localhost, is nobody's choice."""
    monkeypatch.setattr(_state, "default_app", Celery("default", set_as_current=False))
    monkeypatch.setattr(_state._tls, "current_app", None)
    monkeypatch.setattr(celery_app, "_known", [])
    Product.objects.create(name="a", price=1)
    (record,) = caplog.records
    assert "product__created, project.product:" in record.getMessage()
    assert "<project>/__init__.py" in caplog.text


@pytest.fixture
def manual():
    """The connection in manual transaction management."""
    transaction.set_autocommit(False)
    yield
    transaction.rollback()
    transaction.set_autocommit(True)


@pytest.mark.parametrize("atomic", [nullcontext, transaction.atomic], ids=["plain", "atomic"])
def test_manual_transactions__save_and_delete__raise_as_on_commit_does(enqueued, manual, atomic):
    """Django doesn't know there when a commit comes: an event that might be dropped silently is refused."""
    with pytest.raises(TransactionManagementError, match=r"product__created, .*set_autocommit"), atomic():
        Product.objects.create(name="a", price=1)
    transaction.rollback()
    with disable_dispatcher():
        product = Product.objects.create(name="a", price=1)
        transaction.commit()
    with pytest.raises(TransactionManagementError, match="product__deleted"), atomic():
        product.delete()
    transaction.rollback()
    assert enqueued == []


def test_web_process__save__loads_neither_nameko_nor_tasks():
    """The web side imports nothing that talks to RabbitMQ."""
    code = (
        "import django; django.setup(); import sys\n"
        "from django_events_sourcing import testing; from django_events_sourcing.delivery import direct\n"
        "assert not {'nameko', 'eventlet', 'kombu.transport.pyamqp', 'django_events_sourcing.tasks'} & set(sys.modules)"
    )
    env = {"DJANGO_SETTINGS_MODULE": "tests.project.settings", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (0, "")


def test_package__imported_before_django_is_set_up():
    """Settings modules and asgi files may import the package and its names."""
    code = "import django_events_sourcing; print(django_events_sourcing.Event.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PATH": ""})
    assert (done.stdout, done.stderr) == ("Event\n", "")
