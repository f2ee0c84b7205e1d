"""Unit tests see what the receivers hand to the delivery: the seam, and no broker behind it."""

import pytest

from django_events_sourcing.capture import receivers


@pytest.fixture
def events(handed_over, db):
    """The events handed to the delivery so far, a list that grows."""
    return handed_over


@pytest.fixture
def receive(request):
    """Connect a receiver of a signal for the time of the test, as one that was there before the library started."""

    def connect(signal, sender, receiver):
        signal.connect(receiver, sender=sender, weak=False)
        signal.receivers.insert(0, signal.receivers.pop())
        receivers.connect()
        request.addfinalizer(lambda: signal.disconnect(receiver, sender=sender))

    return connect
