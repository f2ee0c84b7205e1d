"""What takes long: a million events, with writers and a worker at it. `make soak` runs it, and prints the figures."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import pytest

from tests.acceptance.conftest import System, connect, held_open
from tests.backlog import fill, refill
from tests.processes import pause

pytestmark = pytest.mark.soak

PUBLISHED, PENDING = 1_000_000, 200_000
PORTION = 10_000

RELAY = f"""
import time
from django_events_sourcing.conf import get_settings
from django_events_sourcing.tasks.relay import Relay

published = 0

def count(number):
    global published
    published += number

relay = Relay("default", get_settings(), stopping=lambda: published >= {PORTION}, on_published=count)
began = time.monotonic()
relay.run()
took = time.monotonic() - began
assert published >= {PORTION}
print(published / took)
"""

STATUS = """
import time
from django_events_sourcing.operating.status import status

status("default")  # what comes with the first: connecting, and imports
began = time.monotonic()
status("default")
print(time.monotonic() - began)
"""


@pytest.fixture
def say(capsys):
    """Print a line of the result, whatever pytest does with output."""

    def say(line):
        with capsys.disabled():
            print(f"\n{line}", end="", flush=True)

    return say


def rates(system: System, times: int = 3) -> list[float]:
    """How many events one relay publishes in a second, on several tries."""
    return [float(system.django(RELAY)) for _ in range(times)]


def test_relay__with_a_million_published_and_a_backlog__as_fast_as_with_empty_tables(shop, say):
    """Within 20 %, also while a transaction is held open; and status answers within half a second."""
    system = shop.system
    with connect(system.env) as connection:
        refill(connection, system.env["SERVICE_NAME"], 4 * PORTION)
    without = rates(system)
    with connect(system.env) as connection:
        began = time.monotonic()
        fill(connection, system.env["SERVICE_NAME"], PUBLISHED, PENDING)
        say(f"{PUBLISHED:,} published and {PENDING:,} pending events made in {time.monotonic() - began:.0f} s")
        connection.execute("VACUUM ANALYZE")
    status_full = float(system.django(STATUS))
    full = rates(system)
    with held_open(system.env):
        held = rates(system, PENDING // PORTION - len(full))  # to the end, when nearly all of the queue is dead rows
        status_held = float(system.django(STATUS))
    with connect(system.env) as connection:
        refill(connection, system.env["SERVICE_NAME"], 4 * PORTION)
    without += rates(system)
    for name, found in (("empty tables", without), ("full", full), ("full, a transaction held open", held)):
        say(f"relay, {name}: {', '.join(f'{rate:.0f}' for rate in found)} events/s, median {median(found):.0f}")
    say(f"status: {status_full * 1000:.0f} ms full, {status_held * 1000:.0f} ms with a transaction held open")
    assert median(full) >= 0.8 * median(without)
    assert median(held) >= 0.8 * median(without)
    assert max(status_full, status_held) < 0.5


def test_purge__of_a_million_old_events__slows_down_neither_writers_nor_relay(shop, say):
    """In short transactions, without a lock on a table."""
    system = shop.system
    with connect(system.env) as connection:
        fill(connection, system.env["SERVICE_NAME"], PUBLISHED, 0, age=30 * 24 * 3600)
        connection.execute("VACUUM ANALYZE")
    system.configure(RETENTION=3650 * 24 * 3600)  # so that the worker leaves them to the command
    shop.start_worker("worker")
    command = [sys.executable, "-m", "django", "events", "purge", "--older-than", "7"]
    with shop.writing(writers=1):
        pause(5)
        ends = time.time() + 20
        without = Watch.over(system, lambda: time.time() < ends)
        with subprocess.Popen(command, env={**system.env, "PGAPPNAME": "purge"}, stdout=subprocess.PIPE) as purge:
            during = Watch.over(system, lambda: purge.poll() is None)
            assert purge.stdout
            said = purge.stdout.read().decode().strip()
    say(
        f"{said} It took {during.until - during.since:.0f} s, the longest transaction {during.longest * 1000:.0f} ms, "
        f"locks: {', '.join(sorted(during.locks))}."
    )
    saves = {}
    for name, watch in (("without", without), ("during", during)):
        saves[name] = shop.durations(watch.since, watch.until)
        say(
            f"{name} the purge: {len(saves[name]) / (watch.until - watch.since):.0f} saves a second, "
            f"median {median(saves[name]) * 1000:.1f} ms, p99 {shop.p99(watch.since, watch.until) * 1000:.1f} ms; "
            f"events pending: median {median(watch.pending)}, most {max(watch.pending)}"
        )
    assert f"{PUBLISHED} events deleted" in said
    assert during.locks <= {"AccessShareLock", "RowShareLock", "RowExclusiveLock"}
    assert during.longest < 1
    assert median(saves["during"]) <= 1.3 * median(saves["without"])
    assert median(during.pending) <= 1.5 * median(without.pending) + 10


@dataclass
class Watch:
    """What PostgreSQL said over some time.

    Attributes:
        since: When it began.
        until: When it ended.
        pending: How many events were pending, again and again.
        locks: Those that the purge held on tables of the outbox.
        longest: The age of the purge's transaction at most, in seconds.
    """

    since: float
    until: float = 0.0
    pending: list[int] = field(default_factory=list)
    locks: set[str] = field(default_factory=set)
    longest: float = 0.0

    @classmethod
    def over(cls, system: System, goes_on: Callable[[], bool]) -> "Watch":
        """Ask for as long as it goes on."""
        watch = cls(time.time())
        with connect(system.env) as connection:
            while goes_on():
                watch.pending += [count for (count,) in connection.execute(COUNT).fetchall()]
                watch.locks |= {mode for (mode,) in connection.execute(LOCKS).fetchall()}
                watch.longest = max(watch.longest, *(age for (age,) in connection.execute(LONGEST).fetchall()))
                pause(0.05)
        watch.until = time.time()
        return watch


COUNT = "SELECT count(*) FROM django_events_sourcing_queue"
LOCKS = """
SELECT mode FROM pg_locks JOIN pg_stat_activity USING (pid) JOIN pg_class ON pg_class.oid = relation
WHERE application_name = 'purge' AND relname LIKE 'django_events_sourcing_%' AND relkind = 'r'
"""
LONGEST = """
SELECT COALESCE(MAX(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float FROM pg_stat_activity
WHERE application_name = 'purge'
"""
