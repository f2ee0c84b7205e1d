"""The delivery "direct" in the web process."""

import logging
import socket
import subprocess
import sys
from time import monotonic

import pytest
from celery import Celery, current_app
from django.db import transaction
from django.db.models.signals import post_delete

from django_events_sourcing import direct
from tests.project.models import Product


class RollBackError(Exception):
    """Ends a transaction."""


@pytest.fixture
def enqueued(monkeypatch, transactional_db):
    """Names of the products whose events were enqueued."""
    names = []
    monkeypatch.setattr(direct, "_send", lambda app, event: names.append(event.data["name"]))
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
def celery_broker(request):
    """As Celery's broker a Redis that refuses connections, or takes them and never answers."""
    previous = current_app._get_current_object()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "hung":
            server.listen()
        Celery("tests", broker=f"redis://:s3cret@127.0.0.1:{server.getsockname()[1]}/0").set_current()
        yield
    previous.set_current()


def test_celery_broker__away__error_logged_and_nothing_raised(transactional_db, celery_broker, caplog):
    """The save is committed and returns in bounded time; the log names the event that is lost, and no password."""
    started = monotonic()
    Product.objects.create(name="a", price=1)
    assert monotonic() - started < 3 * direct.ENQUEUE_TIMEOUT
    assert Product.objects.exists()
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "product__created, project.product:" in record.getMessage()
    assert "is lost" in record.getMessage()
    assert "s3cret" not in caplog.text


def test_web_process__save__loads_neither_nameko_nor_tasks():
    """The web side imports nothing that talks to RabbitMQ."""
    code = (
        "import django; django.setup(); import sys, django_events_sourcing.testing, django_events_sourcing.direct\n"
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
