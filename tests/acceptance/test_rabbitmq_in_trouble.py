"""RabbitMQ hung, or blocking those who publish: the worker is the project's own tasks', and its log stays short."""

import re
import time
from contextlib import AbstractContextManager
from statistics import median

import pytest

from django_events_sourcing.tasks.rabbitmq import PUBLISH_TIMEOUT
from tests.acceptance.shop import Shop
from tests.processes import wait_until
from tests.servers import suspended

#: How long a task of "direct" waits for RabbitMQ, in seconds.
PATIENCE = 2.0

#: What `events status` says first meanwhile.
SAYS = {
    "hung": r"^RabbitMQ at 127\.0\.0\.1:\d+, vhost '/' does not answer since .* events wait; ",
    "alarm": r"^RabbitMQ at 127\.0\.0\.1:\d+, vhost '/' blocks those who publish since .* events wait; ",
    "direct": r"^The outbox is not used",
}

WORK = """
import time
from tests.project.tasks import note_delay

for number in range({number}):
    began = time.monotonic()
    if number % {every} == 0:
        Product.objects.create(name=number, price=1)
    note_delay.delay(time.time())
    time.sleep(max(0, began + 0.1 - time.monotonic()))
"""


class Project:
    """Has its own task run ten times a second, and saves at every one of them, or some."""

    def __init__(self, shop: Shop, every: int) -> None:
        self._shop = shop
        self._every = every
        self._delays = shop.system.folder / "delays"
        shop.system.env["DELAYS"] = str(self._delays)
        self.saved = 0

    def work(self, seconds: int) -> list[float]:
        """Do so for a while; returns by how many seconds its tasks were delayed."""
        before = len(self.delays())
        number = 10 * seconds
        self.saved += len(range(0, number, self._every))
        self._shop.system.django(WORK.format(number=number, every=self._every))
        # What a task that was taken meanwhile waits for, it waits for here.
        wait_until(lambda: len(self.delays()) >= before + number, "the project's tasks", within=2 * PUBLISH_TIMEOUT)
        return self.delays()[before:]

    def delays(self) -> list[float]:
        return [float(line) for line in self._delays.read_text().splitlines()] if self._delays.exists() else []


@pytest.fixture(params=["outbox", "direct"])
def shop(shop, request):
    """One of each delivery."""
    shop.system.configure(DELIVERY=request.param)
    return shop


def in_trouble(shop: Shop, how: str) -> AbstractContextManager[None]:
    if how == "hung":
        return suspended(shop.rabbitmq)
    return shop.limit("set_vm_memory_high_watermark", "0.00001", usual="0.6")


@pytest.mark.parametrize("how", ["hung", "alarm"])
def test_rabbitmq__in_trouble__the_projects_own_tasks_run_as_ever(shop, how):
    """Two processes, ten events and ten tasks a second. Afterwards all events arrive, and the log has a few lines.

    Under "direct" each process waits for RabbitMQ once, and is behind then. As each event is a task by itself there,
    which comes back, and costs Celery more than one that gets through, there are fewer of them: a machine that is busy
    with other things may not get through them all, and that is not what is asked here.
    """
    is_direct = "direct" in shop.system.env["EVENTS_SOURCING"]
    project = Project(shop, every=3 if is_direct else 1)
    with shop.system.worker():
        project.work(1)
        well = median(project.work(3))
        with in_trouble(shop, how):
            if is_direct:
                assert max(project.work(5)) < 2 * PATIENCE
            troubled = median(project.work(int(PUBLISH_TIMEOUT) + 3))
            answer = shop.system.status()["answer"]
        ends = time.monotonic()
        wait_until(lambda: shop.arrived() >= project.saved, "all events", within=60)
        print(f"{how}: delayed by {troubled:.4f} s, else by {well:.4f} s; {time.monotonic() - ends:.1f} s to the end")
        log = shop.system.log("worker").read_text()
    assert re.search(SAYS["direct" if is_direct else how], answer[0]), answer
    assert troubled <= 2 * well + (0.5 if is_direct else 0.02)
    lines = [line for line in log.splitlines() if ": WARNING/" in line or ": ERROR/" in line]
    assert sum("RabbitMQ is in trouble" in line for line in lines) == 1, log
    assert sum("RabbitMQ is well again" in line for line in lines) == 1, log
    assert len(lines) <= 2, lines
