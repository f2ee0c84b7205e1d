"""``manage.py events`` as an operator runs it, and stops it by Ctrl-C or SIGTERM."""

import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.conftest import System, connect
from tests.backlog import fill
from tests.processes import run, wait_until

EVENTS = [sys.executable, "-m", "django", "events"]
SAVES = """
product = Product.objects.create(name=0, price=1)
with transaction.atomic():
    for number in range(1, 2000):
        product.name = number
        product.save()
"""


@pytest.fixture
def query(database):
    """Ask the database for one value."""
    with connect(database) as connection:
        yield lambda statement: next(connection.execute(statement))[0]


def queued(query: Callable[[str], Any]) -> int:
    return int(query("SELECT count(*) FROM django_events_sourcing_queue"))


def stop(system: System, arguments: list[str], is_at_it: Callable[[], bool], number: signal.Signals) -> str:
    """Run a command, send the signal once it is at it, and return the line that it ends with."""
    command = subprocess.Popen(
        [*EVENTS, *arguments, "--database", "default"],
        env=system.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(is_at_it, f"{arguments[0]} is at it")
    command.send_signal(number)
    _, errors = command.communicate(timeout=30)
    assert (command.returncode, errors.count("\n")) == (1, 1), errors
    return errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_relay__stopped_by_a_signal__leaves_nothing_half_done(system, query, number):
    """It ends with one line and exit code 1; what is left is pending, free, and goes on where it was."""
    with system.service():
        system.django(SAVES)
        assert "Stopped" in stop(system, ["relay"], lambda: queued(query) < 2000, number)
        assert 0 < queued(query) < 2000
        assert query("SELECT count(owner) FROM django_events_sourcing_partition") == 0
        run([*EVENTS, "relay"], system.env)
        handled = system.wait_for(2000)
        assert [entry["data"]["name"] for entry in handled] == [str(number) for number in range(2000)]
        sequences = [entry["event_sequence"] for entry in handled]
        assert sequences == sorted(set(sequences))


def test_replay__stopped_by_a_signal__what_was_put_back_is_replayed(system, query):
    """The rest is as it was; no partition is kept from relays."""
    with system.service():
        system.django(SAVES)
        run([*EVENTS, "relay"], system.env)
        everything = ["replay", "--model", "project.product", "--no-input", "--rate", "400"]
        assert "Stopped" in stop(system, everything, lambda: queued(query) > 0, signal.SIGINT)
        replayed = queued(query)
        assert 0 < replayed < 2000
        assert query("SELECT count(owner) + count(retry_at) FROM django_events_sourcing_partition") == 0
        run([*EVENTS, "relay"], system.env)
        handled = system.wait_for(2000 + replayed)[2000:]
        assert [entry["data"]["name"] for entry in handled] == [str(number) for number in range(replayed)]


def test_purge__stopped_by_a_signal__another_may_go_on_at_once(system, database, query):
    """What was deleted is deleted."""
    with connect(database) as connection:
        fill(connection, system.env["SERVICE_NAME"], published=100_000, pending=0, age=30 * 24 * 3600)

    def logged() -> int:
        return int(query("SELECT count(*) FROM django_events_sourcing_log"))

    assert "Stopped" in stop(system, ["purge"], lambda: logged() < 100_000, signal.SIGTERM)
    left = logged()
    assert 0 < left < 100_000
    assert f"{left} events deleted" in run([*EVENTS, "purge"], system.env)


def test_pause__stopped_by_a_signal__stays_paused(system, database, query):
    """Though a relay that was at work has not ended its turn."""
    run([*EVENTS, "relay"], system.env)  # makes the partitions
    with connect(database) as connection:
        connection.execute(
            "UPDATE django_events_sourcing_partition SET owner = gen_random_uuid(), leased_until = 4000000000000000"
        )
    paused = "SELECT count(paused_at) FROM django_events_sourcing_partition"
    assert "a relay may still be at work" in stop(system, ["pause"], lambda: query(paused) == 16, signal.SIGINT)
    assert query(paused) == 16
