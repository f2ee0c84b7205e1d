"""Sums that processes share."""

import os
import signal

import pytest

from django_events_sourcing.tasks.sums import OTHER, SharedSums
from tests.processes import wait_until


@pytest.fixture
def forked():
    """Have a process do something; returns what waits for its end."""
    children = []

    def forked(do):
        if (pid := os.fork()) == 0:
            try:
                do()
            finally:
                os._exit(0)
        children.append(pid)
        return pid

    yield forked
    for pid in children:
        os.waitpid(pid, 0)


def test_sums__of_processes_at_once__none_is_lost(forked):
    """Whoever has a key first, its row is the same for all, as for those that are forked later."""
    sums = SharedSums(10, 2, parts=1)

    def add():
        for number in range(1000):
            sums.add((str(number % 7),), {0: 1, 1: 0.5})

    pids = [forked(add) for _ in range(4)]
    wait_until(lambda: sum(row[0] for row in sums.read().values()) == 4000, "all have added")
    add()
    found = sums.read()
    assert found.pop((OTHER,)) == [0, 0]
    assert found == {(str(number),): [5 * times, 2.5 * times] for number in range(7) for times in [143 - (number > 5)]}
    assert len(pids) == 4


def test_sums__of_a_process_that_is_killed__stay_and_hold_nobody_up(forked):
    """Also when it is killed while it adds."""
    sums = SharedSums(10, 1, parts=1)

    def add_for_ever():
        while True:
            sums.add(("a",), {0: 1})

    pid = forked(add_for_ever)
    wait_until(lambda: ("a",) in sums.read() and sums.read()["a",][0] > 1000, "it has added")
    os.kill(pid, signal.SIGKILL)
    before = sums.read()["a",][0]
    sums.add(("a",), {0: 1})
    assert sums.read()["a",][0] > before


def test_sums__beyond_what_there_is_room_for__are_one_row():
    """However many come, also one that is too long, and one that is named like that row."""
    sums = SharedSums(3, 1, parts=2)
    for number in range(50):
        sums.add(("shop", f"event{number}"), {0: 1})
    assert sums.read() == {(OTHER, OTHER): [47], **{("shop", f"event{number}"): [1] for number in range(3)}}
    sums = SharedSums(3, 1, parts=2)
    sums.add(("x" * 2000, ""), {0: 1})
    sums.add((OTHER, OTHER), {0: 1})
    sums.add(("ö\ud800\n", ""), {0: 1})
    assert sums.read() == {(OTHER, OTHER): [2], ("ö\\ud800\\n", ""): [1]}
