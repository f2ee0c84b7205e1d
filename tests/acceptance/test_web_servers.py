"""Saves in the processes of a web server that loaded the application, and saved, before it forked them."""

import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.request import urlopen

import pytest

from tests.processes import running, wait_until


@pytest.mark.parametrize(
    "options",
    [[], ["--preload"], ["--preload", "--threads", "4"], ["--worker-class", "gevent"]],
    ids=" ".join,
)
def test_gunicorn__wakes_the_relay(shop, free_port, options):
    """From each of its processes, before and after the fork: no sweep is due."""
    shop.system.configure(SWEEP_INTERVAL=600)
    gunicorn = [sys.executable, "-m", "gunicorn", "tests.acceptance.web:application", "--workers", "2", *options]
    command = [*gunicorn, "--bind", f"127.0.0.1:{free_port}"]
    with shop.system.worker(), running(command, "Listening at", shop.system.log("gunicorn"), shop.system.env):
        before = 1 if "--preload" in options else 2
        wait_until(lambda: shop.arrived() == before, "what was saved before")
        urls = [f"http://127.0.0.1:{free_port}/{number}" for number in range(40)]
        with ThreadPoolExecutor(8) as clients:
            pids = set(clients.map(lambda url: urlopen(url).read(), urls))
        assert len(pids) == 2
        wait_until(lambda: shop.arrived() == before + 40, "the events")
