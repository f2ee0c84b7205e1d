"""A worker without events: what it costs the database, and how fast the next event is."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from django_events_sourcing.tasks.threads import IDLE
from tests.processes import pause, wait_until

#: What a worker asks a database in a minute without events, with the default settings, however many processes it has:
#: at each of six sweeps one look, that it has looked, and what Django asks when it connects; once a minute the purge.
OF_A_SWEEP, OF_THE_PURGE = 3, 8
STATEMENTS = 6 * OF_A_SWEEP + OF_THE_PURGE

#: What each process asks once in its life is not in it: whether there are the tables, and Django about its types.
ONCE = re.compile(rb"SELECT(?: oid, typarray .*)?")

#: How often a process of the pool that has nothing to do may be woken in a minute, by its sweeps and by Celery.
MOST_SWITCHES = 300


def context_switches(system) -> dict[int, int]:
    """How often the threads of each process of the pool have gone to sleep so far."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # ended meanwhile, or others'
            environment = status.with_name("environ").read_bytes()
            parent = re.search(r"^PPid:\t(\d+)$", status.read_text(), re.MULTILINE)
            is_of_pool = parent and b"celery" in Path(f"/proc/{parent[1]}/cmdline").read_bytes()
            if is_of_pool and f"SERVICE_NAME={system.env['SERVICE_NAME']}\0".encode() in environment:
                threads = [each.read_text() for each in status.parent.glob("task/*/status")]
                pattern = r"^voluntary_ctxt_switches:\t(\d+)$"
                numbers = (re.search(pattern, each, re.MULTILINE) for each in threads)
                found[int(status.parent.name)] = sum(int(number[1]) for number in numbers if number)
    assert len(found) == 4
    return found


def test_worker__with_nothing_to_do__asks_little_and_is_as_fast_as_ever_afterwards(shop, postgresql_proc):
    """The number of statements is the one that is documented; the connections that idled are not in the way."""
    system = shop.system
    system.worker_env["PGOPTIONS"] = "-c log_statement=all"
    log = Path(postgresql_proc.logfile)

    def seconds() -> float:
        """From a save to its event."""
        before = shop.arrived()
        with ThreadPoolExecutor(1) as saving:  # what it takes the process that saves to end is not in it
            code = "import time; Product.objects.create(name='x', price=1); print(time.time())"
            saved = saving.submit(system.django, code)
            wait_until(lambda: shop.arrived() > before, "the event")
            arrived = time.time()
        took = arrived - float(saved.result())
        assert took <= 2
        return took

    with system.worker("--concurrency", "4"):
        warm = seconds()
        pause(IDLE + 5)
        start, switches = log.stat().st_size, context_switches(system)
        pause(60)
        for pid, number in context_switches(system).items():
            assert number - switches[pid] <= MOST_SWITCHES, f"process {pid} of the worker runs"
        with log.open("rb") as file:
            file.seek(start)
            # Some begin a line later.
            found = re.findall(rb"LOG:  (?:statement|execute [^:]*): \s*(.+)", file.read())
        statements = [each for each in found if not ONCE.fullmatch(each)]
        print(*statements, sep="\n")
        # On a machine that is busy with other things there may be fewer sweeps.
        assert OF_A_SWEEP <= len(statements) <= STATEMENTS + OF_A_SWEEP  # one sweep more may be in the minute
        assert seconds() <= 2 * warm + 0.5
