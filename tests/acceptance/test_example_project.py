"""The example project: its demo and its own tests."""

import os
import sys
from pathlib import Path

from tests.processes import run

EXAMPLE = Path(__file__).parent.parent.parent / "example_project"


def environment(**servers):
    outer = {key: value for key, value in os.environ.items() if key not in {"DJANGO_SETTINGS_MODULE", "AMQP_URI"}}
    return {**outer, **servers}


def test_demo__embedded_brokers__every_step_as_it_must_be(tmp_path):
    """It needs no server, may be run from any folder, and ends by itself with exit code 0."""
    shown = run([sys.executable, EXAMPLE / "demo.py"], environment(), tmp_path)
    assert "All 9 steps as they must be" in shown
    assert "warehouse | handled order__deleted" in shown
    assert "nothing, as it must be" in shown
    assert "60 of them, in order" in shown


def test_demo__servers_named__used(tmp_path, redis_proc, rabbitmq_proc):
    """With REDIS_URL and AMQP_URI it runs on those servers, and leaves no queue behind."""
    servers = {
        "REDIS_URL": f"redis://127.0.0.1:{redis_proc.port}/2",
        "AMQP_URI": f"amqp://guest:guest@127.0.0.1:{rabbitmq_proc.port}/",
    }
    shown = run([sys.executable, EXAMPLE / "demo.py"], environment(**servers), tmp_path)
    assert "All 9 steps as they must be" in shown
    assert f"127.0.0.1:{rabbitmq_proc.port}" in shown
    assert not [queue for queue in rabbitmq_proc.list_queues() if "shop-demo" in queue]


def test_tests__of_the_example__pass():
    """A user copies them: they must hold."""
    run([sys.executable, "manage.py", "test", "--settings", "shop_project.test_settings"], environment(), EXAMPLE)
