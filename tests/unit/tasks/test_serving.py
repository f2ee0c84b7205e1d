"""The server of a worker's metrics and health, in this process."""

import os
import socket
import sys
import urllib.request
from urllib.error import HTTPError

import pytest

from django_events_sourcing.tasks import serving
from django_events_sourcing.tasks.serving import ProbeServer
from tests.processes import wait_until
from tests.servers import free_port


@pytest.fixture
def serve():
    """Start one; returns its port."""
    servers = []

    def serve(host):
        servers.append(ProbeServer(host, port := free_port()))
        return port

    yield serve
    for server in servers:
        server.stop()


def has_version_6():
    with socket.socket(socket.AF_INET6) as listener:
        try:
            listener.bind(("::1", 0))
        except OSError:
            return False
    return True


def test_server__stopped_while_what_was_forked_lives__leaves_the_port():
    """A process that a task forked would else keep the next worker from it."""
    server = ProbeServer("127.0.0.1", port := free_port())
    ours, theirs = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(theirs)
        os.read(ours, 1)  # until the test is over
        os._exit(0)
    try:
        server.stop()
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port)) != 0
    finally:
        os.close(theirs)
        os.waitpid(pid, 0)
        os.close(ours)


def test_metrics__without_prometheus_client__say_what_is_missing(serve, monkeypatch, caplog):
    """In the log, too; the health needs none."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    port = serve("localhost")
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(f"http://localhost:{port}/metrics")
    with caught.value as answer:
        assert answer.code == 501
        assert b"pip install django-events-sourcing[prometheus]" in answer.read()
    assert "pip install django-events-sourcing[prometheus]" in caplog.text


def test_server__that_somebody_only_connects_to__leaves_him_without_a_word(serve, monkeypatch, capfd, caplog):
    """As scanners of ports and balancers do: a traceback in the worker's log would be nobody's."""
    monkeypatch.setattr(serving._Handler, "timeout", 0.2)
    port = serve("127.0.0.1")
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(10)
        assert client.recv(1) == b""  # it was closed
    caplog.set_level("DEBUG")
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset, not closed
    wait_until(lambda: "went away" in caplog.text, "it is noticed")
    assert "Traceback" not in capfd.readouterr().err


def test_server__of_an_address_of_version_6__answers(serve):
    """By its literal."""
    if not has_version_6():
        pytest.skip("this machine has no ::1")
    port = serve("::1")
    with urllib.request.urlopen(f"http://[::1]:{port}/metrics") as answer:
        assert b"django_events_sourcing_events_published_total" in answer.read()
