"""The bound on how many events a worker publishes in a second."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

from django_events_sourcing.tasks.rate import RateLimit


def yes():
    return True


def test_rate_limit__one_after_the_other__is_reached_and_kept():
    """The first goes at once; what a wait overslept is made up for."""
    limit = RateLimit()
    begun = time.monotonic()
    for _ in range(21):
        assert limit.wait(2, 100, yes)
    assert 20 * 2 / 100 - 0.11 <= time.monotonic() - begun <= 20 * 2 / 100 * 5


def test_rate_limit__shared_by_threads__is_one_bound():
    """However many ask at once."""
    limit = RateLimit()
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: limit.wait(5, 100, yes), range(12)))
    assert time.monotonic() - begun >= 11 * 5 / 100 - 0.11


def test_rate_limit__shared_by_processes__is_one_bound():
    """Those of a prefork pool; one that was killed while it asked holds up no other."""
    limit = RateLimit()
    begun = time.monotonic()
    children = []
    for _ in range(3):
        if (pid := os.fork()) == 0:
            for _ in range(4):
                limit.wait(5, 100, yes)
            os.kill(os.getpid(), 9)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    assert limit.wait(5, 100, yes)
    assert time.monotonic() - begun >= 12 * 5 / 100 - 0.11


def test_rate_limit__given_up__takes_nothing_from_who_comes_next():
    """A relay that is asked to stop has not used its share."""
    limit = RateLimit()
    assert limit.wait(1, 4, yes)
    begun = time.monotonic()
    assert not limit.wait(100, 4, lambda: time.monotonic() < begun + 0.1)
    assert limit.wait(1, 4, yes)
    assert time.monotonic() - begun < 2
