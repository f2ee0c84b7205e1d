"""Moments that processes share."""

import os

from django_events_sourcing.tasks.moments import SharedMoments


def test_moments__changed_by_processes_at_once__no_change_is_lost():
    """Who looks and changes under the lock has what he saw changed by nobody else."""
    moments = SharedMoments(2)
    children = []
    for _ in range(4):
        if (pid := os.fork()) == 0:
            for _ in range(2000):
                with moments.locked():
                    moments[1] += 1
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert (moments[0], moments[1]) == (0, 4 * 2000)
