"""Who stands back while RabbitMQ has no connection left, and when that is trouble for all."""

import pytest

from django_events_sourcing.tasks import circuit, standing_back
from django_events_sourcing.tasks.circuit import Circuit
from django_events_sourcing.tasks.moments import SharedMoments
from django_events_sourcing.tasks.schedule import Schedule
from django_events_sourcing.tasks.standing_back import StandingBack

INTERVAL = 10


@pytest.fixture
def clock(monkeypatch, settings):
    """Have time go by, which otherwise doesn't."""
    settings.EVENTS_SOURCING = {"SWEEP_INTERVAL": INTERVAL}
    now = [1000.0]
    monkeypatch.setattr(standing_back, "_until", SharedMoments(2))
    for module in (standing_back, circuit):
        monkeypatch.setattr(module, "monotonic", lambda: now[0])

    def go_by(seconds):
        now[0] += seconds

    return go_by


@pytest.fixture
def sweeps(clock):
    sweeps = Schedule()
    sweeps.claim_if_due(0, 3600)
    return sweeps


def test_process__without_a_connection__has_others_sweep_at_once(clock, sweeps):
    """Those look for it often, as long as it stands back, and as long again."""
    one, other = (StandingBack(0, sweeps, Circuit()) for _ in range(2))
    assert other.seconds_until_sweep() > 60
    assert one.begin("no way")
    assert one.seconds_left == INTERVAL
    assert sweeps.claim_if_due(0, 3600)
    assert other.seconds_until_sweep() < 1
    one.hand_on()
    assert other.seconds_until_sweep() == 0
    assert sweeps.claim_if_due(0, 3600)
    clock(INTERVAL)
    assert one.seconds_left == 0
    assert other.seconds_until_sweep() < 1
    clock(INTERVAL)
    assert other.seconds_until_sweep() > 60


def test_process__that_tries_again_in_vain__finds_others_that_look(clock, sweeps):
    """They would wait for a whole sweep, had they begun to between the end of its standing back and its next try."""
    breaker = Circuit()
    one, other = (StandingBack(0, sweeps, breaker) for _ in range(2))
    assert one.begin("no way")
    assert sweeps.claim_if_due(0, 3600)
    clock(INTERVAL + 2)
    breaker.succeeded()
    waits = other.seconds_until_sweep()
    assert one.begin("no way")
    assert waits < 1
    assert other.seconds_until_sweep() == 0


def test_process__that_tries_again_in_vain__stands_back_if_others_published(clock, sweeps):
    """If nobody did, it is trouble for all."""
    breaker = Circuit()
    one = StandingBack(0, sweeps, breaker)
    assert one.begin("no way")
    clock(INTERVAL - 1)
    breaker.succeeded()
    clock(1)
    assert one.begin("no way")
    clock(INTERVAL)
    assert not one.begin("no way")


def test_process__that_had_nothing_to_do_for_long__stands_back_anew(clock, sweeps):
    """What it was asked for the last time a worker on another machine may have published."""
    one = StandingBack(0, sweeps, Circuit())
    assert one.begin("no way")
    clock(10 * INTERVAL)
    assert one.begin("no way")
