"""Unit tests see what the receivers hand to the delivery: the seam, and no broker behind it."""

import socket

import pytest

from django_events_sourcing import Event, conf

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
