"""Saves in the processes of a web server that loaded the application, and saved, before it forked them."""

import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.request import urlopen

import pytest

from tests.processes import running, wait_until


def processes_that_answer(url):
    """Those of 40 requests, eight at a time."""
    with ThreadPoolExecutor(8) as clients:
        return set(clients.map(lambda number: urlopen(f"{url}/{number}").read(), range(40)))


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
        assert len(processes_that_answer(f"http://127.0.0.1:{free_port}")) == 2
        wait_until(lambda: shop.arrived() == before + 40, "the events")


def test_uvicorn__wakes_the_relay(shop, free_port):
    """From asynchronous views, in each of its processes."""
    shop.system.configure(SWEEP_INTERVAL=600)
    log = shop.system.log("uvicorn")
    command = [sys.executable, "-m", "uvicorn", "tests.project.asgi:application", "--workers", "2"]
    with shop.system.worker(), running([*command, "--port", str(free_port)], "startup complete", log, shop.system.env):
        wait_until(lambda: log.read_text().count("startup complete") == 2, "both processes")
        assert len(processes_that_answer(f"http://127.0.0.1:{free_port}/asave")) == 2
        wait_until(lambda: shop.arrived() == 40, "the events")
