"""What a worker counts and measures, on each database."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from django_events_sourcing import tasks
from django_events_sourcing.events import Event
from django_events_sourcing.operating.replay import Selection, replay
from django_events_sourcing.tasks.sums import OTHER
from django_events_sourcing.tasks.tallies import BOUNDS, Count, Duration, Tallies, worker_tallies


@pytest.fixture
def tallies(monkeypatch):
    """Those of this process, as if a worker had just begun."""
    for name, value in vars(Tallies()).items():
        monkeypatch.setattr(worker_tallies, name, value)
    return worker_tallies


def counts(tallies):
    """By the event's name, what was counted of it."""
    found = tallies.counts()
    assert found.pop((OTHER, OTHER)) == [0, 0, 0, 0]
    return {name: {what.name: number for what in Count if (number := row[what])} for (_, name), row in found.items()}


def test_relay__counts_events_by_their_name(emit, poison, options, relay, tallies):
    """Each thing that may become of one."""
    options(MAX_ATTEMPTS=1)
    for key in ("thing:1", "thing:2", "thing:2"):
        emit(key)
    emit("thing:3", name="thing__deleted")
    poison("thing:4")
    relay()
    assert counts(tallies) == {
        "thing__changed": {"PUBLISHED": 3, "REFUSED": 1, "DEAD": 1},
        "thing__deleted": {"PUBLISHED": 1},
    }


def test_relay__counts_what_nobody_gets(emit, queue, relay, tallies):
    """Beside what is published."""
    queue.unbind_from(queue.exchange, "#")
    emit("thing:1")
    assert relay() == []
    assert counts(tallies) == {"thing__changed": {"PUBLISHED": 1, "UNROUTED": 1}}


def test_relay__measures_how_long_an_event_was_on_its_way(database, emit, relay, tallies):
    """A replay is none of that, and clocks that differ are no reason for a negative sum."""
    emit("thing:1", time=datetime.now(UTC) - timedelta(seconds=40))
    emit("thing:2", time=datetime.now(UTC) + timedelta(seconds=3600))
    relay()
    assert sum(replay(database, Selection())) == 2
    assert sorted(relay()) == ["thing:1", "thing:2"]
    found = tallies.distributions(Duration.DELAY)[database]
    assert [BOUNDS[place] for place, number in enumerate(found.counts[:-1]) if number] == [BOUNDS[0], 60]
    assert sum(found.counts) == 2
    assert 40 <= found.total < 60
    assert counts(tallies) == {"thing__changed": {"PUBLISHED": 4}}


def test_relay__measures_its_turns(database, emit, relay, tallies):
    """One for what was there; none, where nothing is due."""
    emit("thing:1")
    relay()
    relay()
    found = tallies.distributions(Duration.TURN)[database]
    assert sum(found.counts) == 1
    assert 0 < found.total < 30


def test_wake_up__that_waited__measured(database, queue, tallies):
    """Also one that comes too late to be of use."""
    tasks.relay(database, (), time.time() - 2)
    tasks.relay(database, (), time.time() - 100_000)
    found = tallies.distributions(Duration.WAIT)[database]
    assert [bound for bound, number in zip([*BOUNDS, None], found.counts, strict=True) if number] == [2.5, None]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_direct__counts_the_same(database, queue, settings, tallies):
    """What is published, refused, and given up; its database is nobody's."""
    settings.EVENTS_SOURCING = {"DELIVERY": "direct", "MAX_ATTEMPTS": 1}
    settings.CELERY_TASK_ALWAYS_EAGER = True

    def publish(**fields):
        event = Event(name="thing__changed", service=settings.SERVICE_NAME, object="thing:1", body="{}", **fields)
        tasks.publish_event.apply([event.to_message()])

    publish()
    publish(headers={"x" * 300: 1})
    queue.unbind_from(queue.exchange, "#")
    publish()
    assert counts(tallies) == {"thing__changed": {"PUBLISHED": 2, "UNROUTED": 1, "REFUSED": 1, "DEAD": 1}}
    assert sum(tallies.distributions(Duration.DELAY)[""].counts) == 2
