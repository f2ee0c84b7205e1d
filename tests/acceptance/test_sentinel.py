"""Redis Sentinel in front of Celery's broker, and a failover under it."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count

import pytest
from redis import Redis

from tests.processes import running, wait_until
from tests.servers import free_port

MASTER = "mymaster"
CREATE = "Product.objects.create(name='x', price=1)"


@pytest.fixture
def redis_pair(tmp_path, shop) -> Iterator[tuple[Redis, int, ExitStack]]:
    """The shop's broker: a sentinel over a master and its replica. Yields the first; the second's port and end."""
    ports = [free_port(), free_port()]
    with ExitStack() as stack, ExitStack() as master:
        for port, its_stack, more in (
            (ports[0], master, []),
            (ports[1], stack, ["--replicaof", f"127.0.0.1 {ports[0]}"]),
        ):
            command = ["redis-server", "--port", str(port), "--save", "", *more]
            its_stack.enter_context(running(command, "Ready to accept", tmp_path / f"{port}.log", os.environ, tmp_path))
        config = tmp_path / "sentinel.conf"  # which it writes to
        config.write_text(
            f"port {(port := free_port())}\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {ports[0]} 1\n"
            f"sentinel down-after-milliseconds {MASTER} 500\n"
            f"sentinel failover-timeout {MASTER} 2000\n"
        )
        command = ["redis-server", str(config), "--sentinel"]
        stack.enter_context(running(command, "monitor master", tmp_path / "sentinel.log", os.environ, tmp_path))
        sentinel = stack.enter_context(Redis(port=port))
        wait_until(lambda: sentinel.sentinel_slaves(MASTER), "the sentinel knows the replica")
        shop.system.env["REDIS_URL"] = f"sentinel://127.0.0.1:{port}"
        shop.system.env["BROKER_TRANSPORT_OPTIONS"] = json.dumps({"master_name": MASTER})
        yield sentinel, ports[0], master
        shop.end()


def test_sentinel__when_the_master_has_died__wake_ups_go_to_the_next_one(shop, redis_pair):
    """As before, without a sweep; what was saved in between comes with the first of them."""
    sentinel, port, master = redis_pair
    shop.system.configure(SWEEP_INTERVAL=600)
    shop.start_worker("worker")
    shop.wait_until_ready("worker")
    saved = count(1)

    def save() -> int:
        shop.system.django(CREATE)
        return next(saved)

    save()
    wait_until(lambda: shop.arrived() == 1, "the event")
    master.close()
    save()
    wait_until(lambda: sentinel.sentinel_get_master_addr_by_name(MASTER)[1] != port, "the failover")
    # Until the worker has found the next one, each wake-up may be lost.
    wait_until(lambda: save() and shop.arrived() > 2, "an event by a wake-up", within=60)
    number = save()
    wait_until(lambda: shop.arrived() == number, "all that was saved")
