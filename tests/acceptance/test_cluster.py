"""A RabbitMQ of three nodes, with a quorum queue, whose nodes go away."""

import pytest

from tests.acceptance.verdict import Verdict, judge
from tests.processes import pause
from tests.servers import stopped

pytestmark = pytest.mark.soak


@pytest.fixture
def shop_at_a_cluster(shop, rabbitmq_cluster):
    """A shop with two workers, and a quorum queue that keeps whatever arrives."""
    shop.system.env["AMQP_URI"] = ";".join(f"amqp://guest:guest@127.0.0.1:{node.port}/" for node in rabbitmq_cluster)
    with shop.queue(**{"x-queue-type": "quorum"}) as queue:
        queue.declare()
    shop.start_workers("worker-0", "worker-1")
    return shop


def check_promise(shop):
    """What is pending comes soon, and the verdict on all that arrived."""
    shop.wait_until_drained(within=20)
    assert judge(shop.changes, shop.arrivals()) == Verdict()
    assert shop.system.status()["dead"] == 0


@pytest.mark.parametrize("number", range(3))
def test_node__away__the_others_go_on(shop_at_a_cluster, rabbitmq_cluster, number):
    """Whichever it is, and wherever the queue's leader is."""
    shop = shop_at_a_cluster
    with shop.writing():
        pause(1)
        rabbitmq_cluster[number].stop()
        pause(5)
    try:
        check_promise(shop)
    finally:
        rabbitmq_cluster[number].start()


def test_nodes__restarted_one_after_the_other__keep_the_promise(shop_at_a_cluster, rabbitmq_cluster):
    """While several write."""
    shop = shop_at_a_cluster
    with shop.writing():
        for node in rabbitmq_cluster:
            pause(2)
            with stopped(node):
                pause(2)
            node.rabbitctl_output("await_startup")
    check_promise(shop)


def test_majority__away__events_wait_for_it(shop_at_a_cluster, rabbitmq_cluster):
    """RabbitMQ confirms nothing that only a minority has."""
    shop = shop_at_a_cluster
    with shop.writing():
        pause(1)
        with stopped(rabbitmq_cluster[0]), stopped(rabbitmq_cluster[1]):
            pause(15)
            assert shop.pending() > 0
    check_promise(shop)
