"""Who may try to publish while RabbitMQ is in trouble, and what the log says of it."""

import os

import pytest

from django_events_sourcing.conf import get_settings
from django_events_sourcing.tasks import circuit
from django_events_sourcing.tasks.circuit import Circuit


@pytest.fixture
def breaker():
    return Circuit()


@pytest.fixture
def clock(monkeypatch):
    """Have time go by, which otherwise doesn't; returns the time."""
    now = [1000.0]
    monkeypatch.setattr(circuit, "monotonic", lambda: now[0])

    def go_by(seconds):
        now[0] += seconds
        return now[0]

    return go_by


def may_try(breaker):
    with breaker.attempt() as may:
        return may


def fail(breaker):
    """Try, and fail."""
    with breaker.attempt() as may:
        assert may
        return breaker.failed("no way", get_settings())


def test_circuit__closed__all_may_try(breaker):
    """As long as nothing is known."""
    with breaker.attempt() as first, breaker.attempt() as second:
        assert first
        assert second
    assert not breaker.is_open


def test_circuit__open__one_tries_at_a_time_when_the_delay_is_over(breaker, clock):
    """Nobody before that; and nobody else as long as somebody is at it."""
    seconds = fail(breaker)
    assert not may_try(breaker)
    clock(seconds)
    with breaker.attempt() as first, breaker.attempt() as second:
        assert (first, second) == (True, False)
        breaker.failed("no way", get_settings())
    assert not may_try(breaker)


def test_circuit__whose_tester_had_nothing_to_try__the_next_one_may(breaker, clock):
    """Whoever finds that there is nothing to publish is in nobody's way."""
    clock(fail(breaker))
    assert may_try(breaker)
    assert may_try(breaker)
    assert breaker.is_open


def test_circuit__whose_tester_is_killed__the_next_one_may_later(breaker, clock):
    """An attempt that nobody ends is over after a minute."""
    clock(fail(breaker))
    if (pid := os.fork()) == 0:
        with breaker.attempt():
            os._exit(0)
    os.waitpid(pid, 0)
    assert not may_try(breaker)
    clock(60)
    assert may_try(breaker)


def test_circuit__of_several_processes__is_one(breaker):
    """What one learns, all know that were forked before or are later."""
    if (pid := os.fork()) == 0:
        fail(breaker)
        os._exit(0)
    os.waitpid(pid, 0)
    assert breaker.is_open
    assert not may_try(breaker)


def test_circuit__several_fail_that_began_before_it_opened__count_as_one(breaker, clock):
    """A worker of many processes begins with the first delay, as one of a single process does."""
    first = breaker.failed("no way", get_settings())
    for _ in range(20):
        breaker.failed("no way", get_settings())
    assert breaker.seconds_until_next == pytest.approx(first)


def test_circuit__fails_again_and_again__delay_grows_to_the_sweep_interval(breaker, clock, settings):
    """Not to RETRY_BACKOFF_MAX: one attempt costs nothing, and the first event waits for it when all is well again."""
    settings.EVENTS_SOURCING = {"RETRY_BACKOFF": 1, "RETRY_BACKOFF_MAX": 300, "SWEEP_INTERVAL": 20}
    delays = []
    for _ in range(12):
        delays.append(fail(breaker))
        clock(delays[-1])
    assert 0.5 <= delays[0] <= 1
    assert 8 <= delays[4] <= 16
    assert all(10 <= each <= 20 for each in delays[5:])
    settings.EVENTS_SOURCING = {"RETRY_BACKOFF": 60, "RETRY_BACKOFF_MAX": 300, "SWEEP_INTERVAL": 20}
    assert 30 <= fail(breaker) <= 60


def test_circuit__in_an_outage__logs_its_beginning_each_minute_and_its_end(breaker, clock, caplog):
    """However many attempts fail."""
    began = clock(0)
    for _ in range(6):
        clock(fail(breaker))
    assert [record.getMessage()[:24] for record in caplog.records] == ["RabbitMQ is in trouble; "]
    while len(caplog.records) < 3:
        clock(fail(breaker))
    assert 120 <= clock(0) - began <= 150
    assert "RabbitMQ is in trouble for " in caplog.records[1].getMessage()
    with breaker.attempt():
        breaker.succeeded(lambda: "7 events wait; ")
    breaker.succeeded()
    assert len(caplog.records) == 4
    assert "well again" in caplog.records[3].getMessage()
    assert "7 events wait" in caplog.records[3].getMessage()
    assert may_try(breaker)


def test_circuit__that_opens_and_closes_all_the_time__logs_little(breaker, clock, caplog):
    """As where one process' connections break, and another's don't."""
    for _ in range(1200):
        breaker.failed("no way", get_settings())
        clock(0.05)
        breaker.succeeded()
        clock(0.05)
    assert [record.getMessage()[:22] for record in caplog.records] == 2 * [
        "RabbitMQ is in trouble",
        "RabbitMQ is well again",
    ]


def test_circuit__opens_anew__begins_with_the_first_delay(breaker, clock):
    """What is over is forgotten."""
    for _ in range(6):
        clock(fail(breaker))
    breaker.succeeded()
    assert fail(breaker) <= get_settings().retry_backoff
