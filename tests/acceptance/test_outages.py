"""RabbitMQ away or hung under the delivery "direct": every event arrives in the end."""

import re
from itertools import pairwise

import pytest

from tests.processes import pause, wait_until
from tests.servers import stopped, suspended

SAVES = """
for number in range(5):
    Product.objects.create(name=number, price=1)
"""


@pytest.fixture
def system(system):
    """A system with the delivery "direct"."""
    system.configure(DELIVERY="direct")
    return system


def names(handled):
    return {entry["data"]["name"] for entry in handled}


def delays(system):
    """The delays between the attempts at each event, in order, by event id."""
    found: dict[str, list[float]] = {}
    for event, seconds in re.findall(r"Event (\S+) .*next in ([\d.]+) s", system.log("worker").read_text()):
        found.setdefault(event, []).append(float(seconds))
    return found


def test_rabbitmq__down_for_20_seconds__retried_with_growing_delays_and_all_arrive(system, rabbitmq_proc):
    """Attempts go on at ever longer intervals, and when RabbitMQ is back every event arrives."""
    with system.service():
        pass  # its queues are durable: they wait in RabbitMQ for its next start
    with system.worker():
        with stopped(rabbitmq_proc):
            system.django(SAVES)
            pause(20)
        with system.service():
            assert names(system.wait_for(5, within=60)) == {"0", "1", "2", "3", "4"}
    by_event = delays(system)
    assert len(by_event) == 5
    for intervals in by_event.values():
        assert len(intervals) >= 4
        # each lies in the upper half of an interval twice as long as the one before
        assert all(later >= earlier for earlier, later in pairwise(intervals))
        assert intervals[-1] >= 4 * intervals[0]


@pytest.mark.parametrize("connected", [True, False], ids=["connected", "new connection"])
def test_rabbitmq__suspended__attempt_ends_in_bounded_time_and_all_arrive(system, rabbitmq_proc, connected):
    """A RabbitMQ that takes connections and answers nothing holds no worker for ever."""
    first = 0
    with system.service(), system.worker("--concurrency", "1"):
        if connected:
            system.django("Product.objects.create(name='before', price=1)")
            system.wait_for(1)
            first = 1
        with suspended(rabbitmq_proc):
            system.django("Product.objects.create(name='pen', price=1)")
            wait_until(lambda: delays(system), "an attempt is given up", within=60)
        assert "pen" in names(system.wait_for(first + 1, within=60))
