"""A limit on connections that leaves RabbitMQ fewer than the worker has processes."""

import json
from uuid import uuid4

import pytest

from tests.acceptance.shop import Shop
from tests.processes import wait_until

# With a task of the project's own beside each save, so that the wake-ups get to all processes.
SAVES = """
import time
from tests.project.tasks import occupy

for number in range({number}):
    occupy.delay(0.05 * (number % 5))
    Product.objects.create(name=number, price=1)
    time.sleep(0.1)
"""


@pytest.fixture
def limit(shop, rabbitmq_proc):
    """Have the worker's user have so many connections; the user's limit, as the tests have some of the vhost's."""
    name = f"user-{uuid4()}"
    rabbitmq_proc.rabbitctl_output("add_user", name, "s3cret")
    rabbitmq_proc.rabbitctl_output("set_permissions", name, ".*", ".*", ".*")
    shop.system.worker_env["AMQP_URI"] = shop.system.env["AMQP_URI"].replace("guest:guest", f"{name}:s3cret")
    yield lambda number: rabbitmq_proc.rabbitctl_output(
        "set_user_limits", name, json.dumps({"max-connections": number})
    )
    rabbitmq_proc.rabbitctl_output("delete_user", name)


def warnings(shop: Shop) -> list[str]:
    """Those of the worker so far; when it shuts down, Celery has some of its own."""
    lines = shop.system.log("worker").read_text().splitlines()
    return [line for line in lines if ": WARNING/" in line or ": ERROR/" in line]


def test_outbox__fewer_connections_than_processes__goes_on_by_those_that_have_one(shop, limit):
    """Three processes, one connection: no event waits for a sweep, and no partition backs off."""
    limit(1)
    with shop.system.worker("--concurrency", "3"):
        shop.system.django(SAVES.format(number=30))
        wait_until(lambda: shop.arrived() == 30, "the first events", within=15)
        for saved in range(40, 80, 10):
            shop.system.django(SAVES.format(number=10))
            wait_until(lambda saved=saved: shop.arrived() == saved, f"{saved} events", within=2)  # type: ignore[misc]
        partitions = shop.system.status()["partitions"]
        told = warnings(shop)
    assert not any(partition["failures"] for partition in partitions), partitions
    assert 1 <= len(told) <= 2, told
    assert all("This process has no connection to RabbitMQ" in line for line in told)
    assert "run fewer processes" in told[0]


def test_direct__fewer_connections_than_processes__all_arrive(shop, limit):
    """A task that finds none is tried again soon, by another process it may be."""
    shop.system.configure(DELIVERY="direct")
    limit(1)
    with shop.system.worker("--concurrency", "3"):
        for saved in (20, 40, 60):
            shop.system.django(SAVES.format(number=20))
            wait_until(lambda saved=saved: shop.arrived() == saved, f"{saved} events", within=20)  # type: ignore[misc]
        told = warnings(shop)
    assert len(told) <= 4, told


@pytest.mark.parametrize("delivery", ["outbox", "direct"])
def test_no_connection__for_any_process__told_and_ends_with_it(shop, limit, delivery):
    """Trouble as any other."""
    shop.system.configure(DELIVERY=delivery, SWEEP_INTERVAL=2)
    limit(0)
    with shop.system.worker():
        shop.system.django(SAVES.format(number=10))
        wait_until(lambda: any("RabbitMQ is in trouble" in line for line in warnings(shop)), "it is told", within=15)
        limit(2)
        wait_until(lambda: shop.arrived() == 10, "all events", within=15)
        told = warnings(shop)
    assert len(told) <= 4, told
