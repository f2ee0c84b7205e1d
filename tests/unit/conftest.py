"""Unit tests see what the receivers hand to the delivery: the seam, and no broker behind it."""

import socket

import pytest

from django_events_sourcing import Event, conf, receivers

_events: list[Event] = []


def collect(event: Event, using: str) -> None:
    """A delivery that keeps what it is handed."""
    _events.append(event)


@pytest.fixture
def events(monkeypatch, db):
    """The events handed to the delivery so far, a list that grows."""
    monkeypatch.setitem(conf.DELIVERIES, "direct", f"{__name__}.collect")
    _events.clear()
    return _events


@pytest.fixture
def free_port():
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def register(settings, events):
    """Register models for this test: classes, with the same options for all of them."""

    def register(*models, **options):
        settings.MODELS_CRUD_EVENT = [{"model": model, **options} for model in models]

    return register


@pytest.fixture
def receive(request):
    """Connect a receiver of a signal for the time of the test, as one that was there before the library started."""

    def connect(signal, sender, receiver):
        signal.connect(receiver, sender=sender, weak=False)
        signal.receivers.insert(0, signal.receivers.pop())
        receivers.connect()
        request.addfinalizer(lambda: signal.disconnect(receiver, sender=sender))

    return connect
