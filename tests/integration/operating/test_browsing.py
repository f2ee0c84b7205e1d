"""The log, page by page, on each database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_events_sourcing.conf import get_settings
from django_events_sourcing.operating import browsing
from django_events_sourcing.operating.browsing import browse
from django_events_sourcing.operating.listing import Selection, list_events
from django_events_sourcing.operating.operations import bury
from django_events_sourcing.outbox.queries import STATES
from django_events_sourcing.tasks.relay import Relay

NOW = datetime.now(UTC)


@pytest.fixture
def log(emit, poison, database, options, channel, caplog):
    """Events of all states, some of each object; an hour lies between two of them."""
    options(MAX_ATTEMPTS=1)
    hours = iter(range(1000))

    def emit_some(*keys):
        for key in keys:
            emit(key, name=f"{key[0]}__changed", time=NOW - timedelta(days=10) + timedelta(hours=next(hours)))

    emit_some("p.a:1", "p.b:1", "p.a:2")
    poison("p.a:3")
    buried = poison("p.b:3")
    emit_some("p.a:1", "p.b:2")
    Relay(database, get_settings()).run()
    bury(database, buried.id, "a mistake", "anna")
    options(MAX_ATTEMPTS=5)
    poison("p.a:4")
    Relay(database, get_settings()).run()
    emit_some("p.a:4", "p.b:1", "p.a:1", "p.a:9", "p.b:2")


def pages(database, selection, **options):
    """All of them, from the first to the last."""
    found = [browse(database, selection, **options)]
    while (after := found[-1].after) is not None:
        assert len(found) < 100
        found.append(browse(database, selection, after=after, **options))
    return found


def events_of(found):
    return [event for page in found for event in page.events]


@pytest.fixture(params=["portions of a few", "as it is"])
def portions(request, monkeypatch):
    """Whether a walk takes several portions of the few events that there are."""
    if request.param == "portions of a few":
        monkeypatch.setattr(browsing, "_PORTION", 3)
        monkeypatch.setattr(browsing, "_LOOKED_UP", 2)


@pytest.mark.parametrize("within", [0, 10])
@pytest.mark.parametrize("limit", [1, 2, 50])
def test_pages__of_each_selection__are_what_the_list_has(log, database, portions, within, limit):
    """One after the other they have each event once, whether they end because they are full or as the time is up."""
    moment = NOW - timedelta(days=10) + timedelta(hours=4)
    criteria: list[dict[str, Any]] = [
        {},
        {"name": "p__changed"},
        {"name": "P__changed"},
        {"service": get_settings().service_name},
        {"service": "another"},
        {"model": "p.a"},
        {"object": "p.b:1"},
        {"object": "p.B:1"},
        {"since": moment},
        {"until": moment},
        {"since": moment - timedelta(hours=2), "until": moment, "model": "p.a"},
    ]
    seen = 0
    for state in (None, *STATES):
        for each in criteria:
            selection = Selection(state=state, **each)
            expected = list_events(database, selection, 1000)
            if state == "refused":
                expected.reverse()
            found = pages(database, selection, limit=limit, within=within)
            assert events_of(found) == expected, (state, each)
            assert all(len(page.events) <= limit for page in found)
            seen += len(expected)
    assert seen > 50


def test_page__of_one_id__is_that_event(log, database):
    """Whatever else there is."""
    (event,) = browse(database, Selection(object="p.a:9")).events
    page = browse(database, Selection(ids=frozenset({event.id})))
    assert (page.events, page.looked_at, page.after) == ([event], 1, None)
    assert browse(database, Selection(ids=frozenset({event.id}), state="dead")).events == []
    assert browse(database, Selection(ids=frozenset({event.id}), object="p.a:1")).events == []


def test_page__that_the_time_was_up_for__says_how_far_it_got(log, database, portions, monkeypatch):
    """And the next one goes on there."""
    monkeypatch.setattr(browsing, "_PORTION", 3)
    page = browse(database, Selection(object="p.a:2"), within=0)
    assert (page.events, page.looked_at, page.is_full) == ([], 3, False)
    latest = list_events(database, Selection(), 3)
    assert (page.after, page.reached) == (latest[-1].sequence, latest[-1].time)


def test_page__of_an_empty_log__is_empty(database):
    """In any state."""
    for state in (None, *STATES):
        page = browse(database, Selection(state=state, since=NOW))
        assert (page.events, page.looked_at, page.reached, page.after) == ([], 0, None, None)


def test_walk__between_two_times__looks_at_little_else(emit, database, monkeypatch):
    """It begins and ends there, though the clocks of who wrote them were some minutes apart."""
    minutes = [*range(0, 40, 2), 43, 41, *range(42, 200, 2)]
    for minute in minutes:
        emit(f"p.a:{minute}", time=NOW + timedelta(minutes=minute))
    monkeypatch.setattr(browsing, "_PORTION", 4)
    since, until = NOW + timedelta(minutes=40), NOW + timedelta(minutes=44)
    found = pages(database, Selection(since=since, until=until))
    assert [event.object for event in events_of(found)] == ["p.a:42", "p.a:41", "p.a:43"]
    assert sum(page.looked_at for page in found) < 20
