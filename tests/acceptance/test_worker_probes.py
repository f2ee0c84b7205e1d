"""What a worker says of itself over HTTP: its metrics, and whether its relays are alive."""

import http.client
import json
import os
import signal
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.processes import pause, wait_until
from tests.servers import children, free_port
from tests.servers.suspended_thread import suspended_thread


class Probes:
    """Asks a worker."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Its status and text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def health(self) -> tuple[int, list[dict[str, str]]]:
        """The status, and the problems of the database that is used."""
        status, text = self.ask("/health")
        found = json.loads(text)["relay"]["problems"]
        return status, [each for each in found if each["database"] == "default"]

    def metrics(self) -> dict[str, float]:
        """By name, without the prefix, what there is of the database that is used, or of no database."""
        _, text = self.ask("/metrics")
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.labels.get("database", "default") == "default" and "le" not in sample.labels:
                    name = sample.name.removeprefix("django_events_sourcing_")
                    found[name] = found.get(name, 0) + sample.value
        return found


@pytest.fixture
def probes(shop):
    """Those of the workers that are started then."""
    port = free_port()
    shop.system.configure(METRICS_PORT=port, METRICS_HOST="127.0.0.1", SWEEP_INTERVAL=1)
    return Probes(port)


def save(shop, number=1):
    shop.system.django(f"for number in range({number}): Product.objects.create(name='x', price=1)")


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent", "eventlet"])
def test_worker__of_any_pool__serves_what_all_of_its_processes_counted(shop, probes, pool):
    """What nothing has happened to is 0, not absent; each event is counted once, by whichever process."""
    shop.start_worker("worker", "--pool", pool)
    shop.wait_until_ready("worker")
    wait_until(lambda: probes.health() == (200, []), "the relays are alive")
    wait_until(lambda: probes.metrics()["relay_last_look_timestamp_seconds"] > 0, "the first look")
    found = probes.metrics()
    assert {found[f"events_{what}_total"] for what in ("published", "unrouted", "refused", "dead")} == {0}
    assert found["event_delay_seconds_count"] == found["relay_threads_silent"] == 0
    assert found["worker_info"] == 1
    assert found["relay_threads"] == (2 if pool == "prefork" else 1)
    for _ in range(3):
        save(shop, 20)
    wait_until(lambda: shop.arrived() == 60, "all events")
    wait_until(lambda: probes.metrics()["events_published_total"] == 60, "all are counted")
    found = probes.metrics()
    assert found["event_delay_seconds_count"] == 60
    assert 0 < found["event_delay_seconds_sum"] < 60 * 30
    assert found["relay_turn_seconds_count"] > 0
    assert found["wake_up_wait_seconds_count"] > 0
    assert abs(found["relay_last_look_timestamp_seconds"] - datetime.now(UTC).timestamp()) < 30
    shop.shut_down_worker("worker")
    with pytest.raises(ConnectionRefusedError):
        probes.ask("/health")


def test_process_of_a_pool__killed__what_it_counted_stays(shop, probes):
    """The one in its place relays; it keeps the port from nobody when it outlives the worker's main process."""
    shop.start_worker("worker")
    shop.wait_until_ready("worker")
    save(shop, 20)
    wait_until(lambda: probes.metrics()["events_published_total"] == 20, "all are counted")
    main = shop.pid_of("worker")
    before = children(main)
    for child in before:
        os.kill(child, signal.SIGKILL)
    wait_until(lambda: len(set(children(main)) - set(before)) == 2, "others are in their places")
    wait_until(lambda: probes.metrics()["relay_threads"] == 2, "these relay")
    save(shop, 20)
    wait_until(lambda: probes.metrics()["events_published_total"] == 40, "theirs are counted, too")
    assert probes.health() == (200, [])
    for child in children(main):
        os.kill(child, signal.SIGSTOP)
    os.kill(main, signal.SIGKILL)
    wait_until(lambda: not is_open(probes.port), "nobody listens", within=5)


def is_open(port):
    """Whether a connection is taken there."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_relay__suspended_in_a_process_that_lives__turns_red(shop, probes):
    """Its process runs the project's tasks, the other one's relay goes on, and the probe names what stands still."""
    shop.system.configure(HEALTH_MAX_AGE=4)
    shop.start_worker("worker")
    shop.wait_until_ready("worker")
    wait_until(lambda: probes.metrics()["relay_threads"] == 2, "the relays are alive")
    process = children(shop.pid_of("worker"))[0]

    def relay():
        """The first of its threads, one for each database, when what else it begins with has ended."""
        threads = {int(each.name) for each in Path(f"/proc/{process}/task").iterdir()} - {process}
        return min(threads) if len(threads) == 2 else None

    thread = wait_until(relay, "it has the relays alone")
    pause(5)
    assert probes.health() == (200, [])
    with suspended_thread(thread):
        began = datetime.now(UTC)
        wait_until(lambda: probes.health()[0] == 503, "it is red")
        (problem,) = probes.health()[1]
        assert f"the relay of process {process} (thread {thread})" in problem["problem"]
        assert abs((datetime.fromisoformat(problem["since"]) - began).total_seconds()) < 3
        assert probes.metrics()["relay_threads_silent"] == 1
        save(shop)
        wait_until(shop.arrived, "an event goes out by the other process")
        assert probes.health()[0] == 503
    wait_until(lambda: probes.health() == (200, []), "it is well again")


def test_probes__of_whatever_they_are_asked__answer_in_a_line(shop, probes):
    """Who only connects holds up nobody; a second worker at the same port says so, and relays."""
    shop.start_worker("worker")
    shop.wait_until_ready("worker")
    with socket.create_connection(("127.0.0.1", probes.port)):
        assert probes.ask("/") == (404, "There are /metrics and /health.\n")
        assert probes.ask("/health", "POST") == (405, "Only GET and HEAD.\n")
        assert probes.ask("/metrics", "HEAD") == (200, "")
        assert probes.ask("/metrics?name[]=%00")[0] == 200
    with socket.create_connection(("127.0.0.1", probes.port)) as connection:
        connection.sendall(b"\0\xff nonsense\r\n\r\n")
        assert b"400" in connection.recv(1000)
    shop.start_worker("second")
    shop.wait_until_ready("second")
    log = shop.system.log("second").read_text()
    assert f"cannot listen at 127.0.0.1:{probes.port}" in log
    shop.kill_worker("worker")
    save(shop)
    wait_until(shop.arrived, "the second worker relays")
    assert "Traceback" not in shop.system.log("second").read_text()
