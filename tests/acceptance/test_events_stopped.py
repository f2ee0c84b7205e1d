"""``manage.py events`` as an operator runs it, and stops it by Ctrl-C or SIGTERM, or stops to read."""

import os
import re
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

    assert "Stopped" in stop(system, ["purge", "--no-input"], lambda: logged() < 100_000, signal.SIGTERM)
    left = logged()
    assert 0 < left < 100_000
    assert f"{left:,} events deleted" in run([*EVENTS, "purge", "--no-input"], system.env)


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


def test_status__of_a_worker_that_was_killed__says_that_nobody_looks(system):
    """And before that, who does: its name, and that all is well."""
    system.configure(SWEEP_INTERVAL=1)
    with system.service():
        with system.worker() as worker:
            system.django("Product.objects.create(name='pen', price=1)")
            system.wait_for(1)
            well = r"All is well: last event [\d.]+ s ago\."
            wait_until(lambda: re.fullmatch(well, system.status()["answer"][0]), "all is well")
            (seen,) = system.status()["databases"]["default"]["workers"]
            assert (seen["name"].partition("@")[0], seen["pid"]) == ("worker", worker.pid)
            os.killpg(worker.pid, signal.SIGKILL)
        wait_until(lambda: "All is well" not in system.status()["answer"][0], "it is missed")
        assert system.status()["answer"][0].startswith("No worker has looked for events since ")


def test_options_of_django__after_the_subcommand__as_before_it(system):
    """Where people write them."""
    env = {key: value for key, value in system.env.items() if key != "DJANGO_SETTINGS_MODULE"}
    options = ["--settings", system.env["DJANGO_SETTINGS_MODULE"], "-v", "2", "--no-color", "--traceback"]
    for arguments in ([*EVENTS, *options, "status"], [*EVENTS, "status", *options]):
        assert "Outbox of database" in run(arguments, env)


def test_output__that_nobody_reads_on__ends_without_a_traceback(system):
    """`events list | head`. It has more to say than a pipe holds."""
    system.django(
        "with transaction.atomic():\n for number in range(1500): Product.objects.create(name=number, price=1)"
    )
    command, env = [*EVENTS, "list", "--limit", "1500"], system.env | {"PYTHONUNBUFFERED": ""}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.readline()
        listing.stdout.close()
        assert (listing.stderr.read(), listing.wait(30)) == (b"", 1)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_screen__of_a_narrow_terminal__readable_in_any_encoding(system, encoding):
    """Each line within its 40 columns; letters only, with --no-color, and ASCII, where there is nothing else."""
    system.django("Product.objects.create(name='pen', price=1)")
    env = system.env | {"PYTHONIOENCODING": encoding, "TERM": "xterm"}
    env.pop("COLUMNS", None)  # by readline, which pytest loads: it would stand for the terminal's own
    for arguments in (["status", "--no-color"], ["list", "--no-color"]):
        command = " ".join([*EVENTS, *arguments])
        shown = run(["script", "-qec", f"stty cols 40; {command}", "/dev/null"], env)
        lines = shown.replace("\r", "").splitlines()
        assert max(map(len, lines)) <= 40, shown
        assert shown.isascii() or encoding == "utf-8"
        assert len(lines) > 3
        assert "\x1b" not in shown
