"""Fixtures for all tests: the servers, and what the receivers hand to the delivery."""

from collections.abc import Sequence

import pytest
from celery import Celery, current_app
from kombu.transport import memory

from django_events_sourcing import Event, conf, logs
from django_events_sourcing.delivery import in_tests
from tests import servers
from tests.servers import (
    certificates,
    mariadb_proc,
    pgbouncer_port,
    postgresql_proc,
    rabbitmq_cluster,
    rabbitmq_proc,
    redis_proc,
    redis_tls_url,
)

__all__ = [
    "certificates",
    "mariadb_proc",
    "pgbouncer_port",
    "postgresql_proc",
    "rabbitmq_cluster",
    "rabbitmq_proc",
    "redis_proc",
    "redis_tls_url",
]

_events: list[Event] = []


def collect(events: Sequence[Event], using: str) -> None:
    """A delivery that keeps what it is handed."""
    _events.extend(events)


@pytest.fixture(autouse=True)
def _nothing_logged_yet(monkeypatch):
    """What is logged once a minute, or an hour, is logged in each test."""
    from django_events_sourcing.tasks import schedule, unrouted  # when Django is ready

    monkeypatch.setattr(logs, "_last_logged", {})
    monkeypatch.setattr(unrouted, "_tellings", schedule.Schedule())


@pytest.fixture(autouse=True)
def _no_trouble_yet(monkeypatch):
    """What a test learned of RabbitMQ is for itself."""
    from django_events_sourcing.tasks import circuit  # when Django is ready

    monkeypatch.setattr(circuit.worker_circuit, "_moments", circuit.Circuit()._moments)


@pytest.fixture(autouse=True)
def _no_wake_ups_from_before():
    """Those of other tests lie in Celery's broker in memory, where nobody takes them."""
    memory.Channel.queues.clear()


@pytest.fixture(autouse=True)
def _servers_are_our_own(request, monkeypatch):
    """Test databases are as any: what is sent to the brokers of these tests reaches nobody else."""
    monkeypatch.setattr(in_tests, "_names", {})


@pytest.fixture
def handed_over(monkeypatch):
    """The events handed to the delivery so far, a list that grows."""
    for name in conf.DELIVERIES:
        monkeypatch.setitem(conf.DELIVERIES, name, f"{__name__}.collect")
    _events.clear()
    return _events


@pytest.fixture
def register(settings, handed_over):
    """Register models for this test: classes, with the same options for all of them."""

    def register(*models, **options):
        settings.MODELS_CRUD_EVENT = [{"model": model, **options} for model in models]

    return register


@pytest.fixture
def make_celery_app():
    """Make a Celery app the current one, until the end of the test; takes what Celery takes, and returns the app."""
    previous = current_app._get_current_object()

    def make(**options):
        app = Celery("tests", **options)
        app.set_current()
        return app

    yield make
    previous.set_current()


@pytest.fixture
def free_port():
    """A port of 127.0.0.1 that nobody listens on."""
    return servers.free_port()
