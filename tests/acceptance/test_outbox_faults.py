"""The outbox's promise under faults: nothing lost, nothing made up, in order for each object, under one id each.

While writers change objects, a fault happens to the servers or the workers; then everything must have arrived.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from redis import Redis

from tests.acceptance.conftest import connect, held_open
from tests.acceptance.shop import LEASE, SWEEP_INTERVAL, Shop
from tests.acceptance.verdict import Verdict, judge
from tests.processes import pause, run, wait_until
from tests.servers import killed, stopped, suspended
from tests.servers.proxy import Proxy

WORKERS = ("worker-0", "worker-1")

# Where Debian's package faketime has it.
LIBFAKETIME = next(map(str, Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), "")


@pytest.fixture
def shop(shop):
    """One that waits for nothing long."""
    shop.system.configure(SWEEP_INTERVAL=SWEEP_INTERVAL, LEASE=LEASE, RETRY_BACKOFF=0.2, RETRY_BACKOFF_MAX=1)
    return shop


@pytest.fixture
def use_database(shop, request, tmp_path):
    """Have the system be on another database than PostgreSQL."""

    def use(name):
        env = shop.system.env
        if name == "postgresql":
            return
        del env["POSTGRES_PORT"]
        if name == "mariadb":
            env |= {"MYSQL_PORT": str(request.getfixturevalue("mariadb_proc").port), "MYSQL_DATABASE": "acceptance"}
        else:
            env["SQLITE_DATABASE"] = str(tmp_path / "database")
        run([sys.executable, "-m", "django", "migrate", "--run-syncdb"], env)
        run([sys.executable, "-m", "django", "flush", "--no-input"], env)

    return use


def logs_of_workers(shop: Shop) -> str:
    return "".join(shop.system.log(name).read_text() for name in WORKERS)


def nothing(shop: Shop) -> None:
    """All goes well."""


def workers_killed(shop: Shop) -> None:
    """``kill -9`` at random moments, again and again."""
    for number in range(8):
        pause(random.uniform(0.2, 1.2))
        shop.kill_worker(name := f"worker-{number % 2}")
        shop.start_worker(name)


def rabbitmq_restarted(shop: Shop) -> None:
    """Away for a while in the middle of a drain."""
    pause(1)
    with stopped(shop.rabbitmq):
        pause(3)


def rabbitmq_suspended(shop: Shop) -> None:
    """It hangs in the middle of a drain, for longer than anybody waits for a confirm."""
    pause(1)
    with suspended(shop.rabbitmq):
        pause(12)


def rabbitmq_away_for_long(shop: Shop) -> None:
    """For far longer than MAX_ATTEMPTS attempts; of those, none is counted."""
    with stopped(shop.rabbitmq):
        pause(10)
    assert shop.system.status()["dead"] == 0


def redis_killed(shop: Shop) -> None:
    """Its data are gone when it comes back."""
    pause(1)
    with stopped(shop.redis, signal.SIGKILL):
        pause(3)


def redis_suspended(shop: Shop) -> None:
    """It takes connections and answers nothing."""
    pause(1)
    with suspended(shop.redis):
        pause(5)


def transaction_held_open(shop: Shop) -> None:
    """Somebody's long transaction keeps the dead rows of the queue from being vacuumed."""
    with held_open(shop.system.env):
        pause(5)


def workers_shut_down(shop: Shop) -> None:
    """A warm shutdown at random moments, again and again."""
    for number in range(4):
        pause(random.uniform(0.2, 1.2))
        shop.shut_down_worker(name := f"worker-{number % 2}")
        shop.start_worker(name)


def workers_suspended_past_their_leases(shop: Shop) -> None:
    """One stands still in the middle of whatever it is at, the other takes over, and then it goes on."""
    for number in range(2):
        pause(random.uniform(0.5, 1.5))
        group = shop.pid_of(f"worker-{number}")
        os.killpg(group, signal.SIGSTOP)
        pause(LEASE + 1)
        os.killpg(group, signal.SIGCONT)


def memory_alarm(shop: Shop) -> None:
    """RabbitMQ reads no more from those who publish, for longer than anybody waits for a confirm."""
    pause(1)
    with shop.limit("set_vm_memory_high_watermark", "0.00001", usual="0.6"):
        pause(12)


def disk_alarm(shop: Shop) -> None:
    """The same, and it passes sooner."""
    pause(1)
    with shop.limit("set_disk_free_limit", "1000000GB", usual="50MB"):
        pause(4)


def full_queue(shop: Shop) -> None:
    """One of the queues rejects what comes; that costs no event an attempt."""
    pause(1)
    with shop.full_queue():
        pause(4)
    assert shop.system.status()["dead"] == 0


def exchange_deleted(shop: Shop) -> None:
    """With MANDATORY, what finds nothing bound is refused, and tried again."""
    for _ in range(4):
        pause(0.7)
        shop.delete_exchange()


def redis_flushed(shop: Shop) -> None:
    """All wake-ups are gone, again and again."""
    for _ in range(10):
        pause(0.3)
        with Redis.from_url(shop.system.env["REDIS_URL"]) as redis:
            redis.flushall()


def thousand_wake_ups(shop: Shop) -> None:
    """Far more than there is to do, and many at the same time."""
    shop.system.django(
        "from django_events_sourcing.delivery.enqueue import enqueue\n"
        "from django_events_sourcing.delivery.enqueue import RELAY_TASK\n"
        "for _ in range(1000):\n"
        "    enqueue(RELAY_TASK, 'default')"
    )


def connections_cut(shop: Shop) -> None:
    """The database ends the workers' sessions, in the middle of whatever they are at."""
    with connect(shop.system.env) as connection:
        for _ in range(20):
            pause(0.2)
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'worker-%'"
            )


def lease_table_emptied(shop: Shop) -> None:
    """By hand, again and again: nobody knows any more whose turn it is."""
    with connect(shop.system.env) as connection:
        for _ in range(10):
            pause(0.3)
            connection.execute("DELETE FROM django_events_sourcing_partition")


@contextmanager
def insistent_transaction(connection: psycopg.Connection) -> Iterator[None]:
    """In a deadlock, it's mostly the other who finds out, and gives up.

    PostgreSQL looks once in a wait: if somebody else's giving up moved the queue just then, nobody but us looks again.
    """
    connection.execute("SET deadlock_timeout = '4s'")
    with suppress(psycopg.errors.DeadlockDetected), connection.transaction():
        yield


def until_logged(shop: Shop, complaint: str, at_least: int) -> Iterator[int]:
    """Again and again, until workers complain of it, too."""
    began = time.monotonic()
    for number in count():
        if number >= at_least and complaint in logs_of_workers(shop):
            return
        assert time.monotonic() - began < 90, f"in {number} times, no worker has complained: {complaint}"
        yield number


def deadlocks(shop: Shop) -> None:
    """Somebody locks one of the partitions' rows, then all that workers may hold who wait for it, and insists.

    Which they hold by then depends on where the rows lie in the table's file, and that changes with every UPDATE.
    """
    lock = "SELECT number FROM django_events_sourcing_partition WHERE {} ORDER BY number FOR UPDATE"
    with connect(shop.system.env) as connection:
        for number in until_logged(shop, "deadlock detected", at_least=4):
            with insistent_transaction(connection):
                connection.execute(lock.format("number = %s"), [15 - number % 16])
                pause(0.3)
                connection.execute(lock.format("number < 16"))
                pause(0.3)


FAULTS: dict[Callable[[Shop], None], dict[str, Any]] = {
    nothing: {},
    workers_killed: {},
    workers_shut_down: {},
    workers_suspended_past_their_leases: {},
    rabbitmq_restarted: {},
    rabbitmq_suspended: {},
    rabbitmq_away_for_long: {},
    memory_alarm: {},
    disk_alarm: {},
    full_queue: {},
    exchange_deleted: {"MANDATORY": True, "MAX_ATTEMPTS": 100},
    redis_killed: {},
    redis_suspended: {},
    redis_flushed: {},
    thousand_wake_ups: {},
    transaction_held_open: {},
    connections_cut: {},
    deadlocks: {},
    lease_table_emptied: {},
}


def check_promise(shop: Shop, fault: Callable[[Shop], None] = nothing, *, worker_options: Iterable[str] = ()) -> None:
    """Have a fault while several write and two workers relay, and the verdict on all that arrived."""
    shop.start_workers(*WORKERS, options=worker_options)
    with shop.writing():
        fault(shop)
    shop.wait_until_drained()
    assert judge(shop.changes, shop.arrivals()) == Verdict()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_fault__while_several_write_and_two_workers_relay__keeps_the_promise(shop, fault):
    """Nothing lost, no ghost, no disorder, no event under two ids; and no writer raises."""
    shop.system.configure(**{"MAX_ATTEMPTS": 2, **FAULTS[fault]})
    check_promise(shop, fault)


def stalls(shop: Shop, network: Proxy) -> None:
    """Nothing gets through for longer than anybody waits for a confirm; then all does, what was given up, too."""
    pause(1)
    with network.stalled():
        pause(12)


def cuts(shop: Shop, network: Proxy) -> None:
    """Connections break in the middle of a frame, again and again."""
    for _ in range(10):
        before = network.cuts
        network.cut()
        wait_until(lambda before=before: network.cuts > before, "a connection is cut")  # type: ignore[misc]
        pause(0.2)


def loses_confirms(shop: Shop, network: Proxy) -> None:
    """What was sent arrives, and its confirms never come."""
    pause(1)
    with network.without_confirms():
        pause(12)
    assert network.swallowed > 0


def delays_confirms_past_a_lease(shop: Shop, network: Proxy) -> None:
    """A worker that stands still meanwhile gets them when the other has taken over."""
    pause(1)
    with network.stalled():
        pause(0.5)
        os.killpg(shop.pid_of("worker-0"), signal.SIGSTOP)
        pause(LEASE + 0.5)
    pause(2)
    os.killpg(shop.pid_of("worker-0"), signal.SIGCONT)


@pytest.mark.parametrize(
    "fault", [stalls, cuts, loses_confirms, delays_confirms_past_a_lease], ids=lambda fault: fault.__name__
)
def test_network__in_trouble_between_the_workers_and_rabbitmq__keeps_the_promise(shop, fault):
    """The same, and nothing of it costs an event an attempt."""
    shop.system.configure(MAX_ATTEMPTS=2)
    with shop.on_a_network() as network:
        check_promise(shop, lambda shop: fault(shop, network))
    assert shop.system.status()["dead"] == 0


@pytest.mark.parametrize("other", ["mariadb", "sqlite"])
def test_no_fault__on_another_database__keeps_the_promise(shop, other, use_database):
    """The same promise everywhere; on SQLite the writers wait for each other."""
    use_database(other)
    check_promise(shop)


def test_pgbouncer__in_transaction_pooling__keeps_the_promise(shop, pgbouncer_port):
    """Nothing of it needs a session of its own."""
    direct = shop.system.env["POSTGRES_PORT"]
    shop.system.env["POSTGRES_PORT"] = str(pgbouncer_port)
    check_promise(shop)
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with connect({**shop.system.env, "POSTGRES_PORT": direct}) as connection:
        assert connection.execute(sessions).fetchall() == [(3,)]


def test_serializable_workers__whose_rows_somebody_changes__keep_the_promise(shop):
    """Where others would wait for his commit and go on, they fail, and try again."""
    shop.system.worker_env["PGOPTIONS"] = "-c default_transaction_isolation=serializable"

    def others_change(shop):
        with connect(shop.system.env) as connection:
            for _ in until_logged(shop, "could not serialize access", at_least=10):
                with insistent_transaction(connection):  # it takes the rows in another order than workers do
                    connection.execute("UPDATE django_events_sourcing_partition SET lost = lost")
                    pause(0.2)

    check_promise(shop, others_change)


def test_sqlite__busy_with_three_writers__keeps_the_promise(shop, use_database):
    """Workers that wait for nobody find that it is locked, and try again."""
    use_database("sqlite")
    shop.system.worker_env["SQLITE_TIMEOUT"] = "0.001"
    check_promise(shop)
    assert "database is locked" in logs_of_workers(shop)


def test_clock__of_the_workers_host_jumps__keeps_the_promise(shop):
    """It is the database's that says when something is due."""
    assert LIBFAKETIME, "the Debian package faketime is needed"
    clock = shop.system.folder / "clock"
    clock.write_text("+0")
    shop.system.worker_env |= {
        "LD_PRELOAD": LIBFAKETIME,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }

    def jump(_shop):
        for offset in ("+1h", "-1h", "+4000d", "+0"):
            pause(1.5)
            clock.write_text(offset)

    check_promise(shop, jump)
    assert "is dropped: it was sent" in logs_of_workers(shop)  # wake-ups that seem to be years old


@pytest.mark.parametrize("other", ["postgresql", "mariadb"])
def test_worker__whose_processes_end_after_each_task__keeps_the_promise(shop, other, use_database):
    """Each of them has a thread of its own, which starts and ends with it."""
    use_database(other)
    check_promise(shop, worker_options=["--max-tasks-per-child", "1"])


@pytest.mark.parametrize("other", ["postgresql", "mariadb"])
def test_database__restarted_in_the_middle_of_a_drain__goes_on_by_itself(shop, other, use_database, request):
    """What was on its way may arrive twice, under its id."""
    use_database(other)
    with shop.writing(events=1000):
        nothing(shop)
    shop.system.configure(MAX_RATE=300)  # so that there is a middle
    shop.start_workers(*WORKERS)
    wait_until(lambda: shop.arrived() > 100, "some have gone out")
    with stopped(request.getfixturevalue(f"{other}_proc")):
        assert shop.arrived() < 2000
        pause(2)
    shop.wait_until_drained()
    assert judge(shop.changes, shop.arrivals()) == Verdict()


def test_postgresql__killed_in_the_middle_of_a_drain__keeps_the_promise(shop, postgresql_proc):
    """What the relays' commits, which don't wait for the disk, lose by that arrives twice, under its id."""
    shop.system.configure(MAX_RATE=100)  # so that there is a middle
    shop.start_workers(*WORKERS)
    for number in range(4):  # after its first task a process has the session that doesn't wait
        shop.system.django(f"Product.objects.create(name={number}, price=1).delete()")
        shop.wait_until_drained()
    shop.arrivals()
    shop.system.django("from django.core.management import call_command; call_command('events', 'pause')")
    with shop.writing(events=1000):
        nothing(shop)
    shop.system.django("from django.core.management import call_command; call_command('events', 'resume')")
    for _ in range(3):
        before = shop.arrived()
        wait_until(lambda before=before: shop.arrived() > before + 100, "some have gone out")  # type: ignore[misc]
        with killed(postgresql_proc):
            pause(0.5)
    assert shop.arrived() < sum(map(len, shop.changes.values()))
    shop.wait_until_drained(within=120)
    assert judge(shop.changes, shop.arrivals()) == Verdict()


@pytest.mark.parametrize("away", ["stopped", "suspended"])
def test_redis__away__saves_as_fast_as_ever_and_events_come_by_the_sweep(shop, away):
    """Saves don't notice; all arrives while Redis is away; and when it is back, wake-ups work without a restart."""
    shop.start_workers(*WORKERS)
    with ExitStack() as stack:
        with shop.writing():
            up = time.time()
            pause(4)
            stack.enter_context(stopped(shop.redis) if away == "stopped" else suspended(shop.redis))
            down = time.time()
            pause(4)
        ended = time.time()
        shop.wait_until_drained(within=2 * SWEEP_INTERVAL + 2)
        assert judge(shop.changes, shop.arrivals()) == Verdict()
        assert shop.p99(down, ended) <= 2 * shop.p99(up, down)
    worker = shop.system.log("worker-0")
    before = worker.read_text().count("relay[")

    def is_woken():
        shop.system.django("Product.objects.create(name='back', price=1)")
        return worker.read_text().count("relay[") > before

    wait_until(is_woken, "a wake-up has come to the worker")
    shop.wait_until_drained()


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent", "eventlet"])
def test_pool__of_any_kind_with_redis_away_from_the_start__sweeps(shop, pool):
    """No event needs Celery's broker: not for a worker that has never met it."""
    with stopped(shop.redis):
        shop.start_worker("worker", "--pool", pool)
        for number in range(2):
            shop.system.django(f"Product.objects.create(name={number}, price=1)")
            shop.wait_until_drained(within=20)
    assert [arrival.what for arrival in shop.arrivals()] == [("created", "0"), ("created", "1")]


def wait_for_lines(ledger: Path, number: int) -> None:
    """Until the writer has written down so much."""
    wait_until(lambda: ledger.exists() and ledger.read_text().count("\n") >= number, f"{number} lines in {ledger}")


def test_writers__killed_in_autocommit_mode__row_and_event_agree(shop):
    """Of thirty processes that were killed in the middle of a save, each committed both or none."""
    shop.start_worker("worker")
    killed: list[Path] = []
    for _ in range(10):
        with ExitStack() as stack:
            writers = []
            for number in range(3):
                ledger = shop.system.folder / f"killed-{len(killed) + number}.ledger"
                writers.append((ledger, stack.enter_context(shop.writer(ledger))))
            for ledger, process in writers:
                wait_for_lines(ledger, random.randrange(1, 60))
                process.kill()
                process.wait()
            killed += [ledger for ledger, _ in writers]
    for ledger in killed:
        shop.learn(ledger)
    assert len(killed) == 30
    shop.wait_until_drained()
    assert judge(shop.changes, shop.arrivals()) == Verdict()


def test_poison_event__among_others__holds_back_its_own_object_until_it_is_dead(shop):
    """Others flow at once; it is dead after MAX_ATTEMPTS; then the 200 later ones of its object go on, in order."""
    shop.system.configure(MAX_ATTEMPTS=3, RETRY_BACKOFF=8, RETRY_BACKOFF_MAX=8)
    with shop.rabbitmq.taking_at_most(400):
        shop.start_worker("worker")
        with shop.writing(writers=1):
            key = shop.system.django(
                "product = Product.objects.create(name='first', price=1); print(product.pk)\n"
                "with transaction.atomic():\n"
                "    for name in ['😀' * 100, *map(str, range(200))]:\n"
                "        product.name = name\n"
                "        product.save()"
            )
            pause(2)
            found = shop.system.status()
            assert (found["refused"], found["dead"]) == (1, 0)
            assert found["pending"] >= 201
            assert found["oldest_pending_seconds"] < 2
        shop.wait_until_drained()
        assert shop.system.status()["dead"] == 1
    names = [("created", "first"), *(("updated", str(number)) for number in range(200))]
    shop.changes[f"project.product:{key.strip()}"] = names
    assert judge(shop.changes, shop.arrivals()) == Verdict()


def test_process__that_saves_and_exits_at_once__is_heard_within_a_second(shop):
    """Though the sweep be a minute away; and so are the children of one that saved, then forked."""
    shop.system.configure(SWEEP_INTERVAL=60)
    shop.start_worker("worker")
    shop.wait_until_ready("worker")
    shop.system.django("Product.objects.create(name='warm', price=1)")
    wait_until(shop.arrivals, "the first event of all")
    saved = float(
        shop.system.django("import time; Product.objects.create(name='at once', price=1); print(time.time())")
    )
    wait_until(shop.arrivals, "the event", 1)
    assert time.time() - saved < 1 + 1  # the end of the process is in it, which takes a while itself
    shop.system.django(FORK)
    wait_until(lambda: shop.arrived() == 5, "those of parent and children", 5)


FORK = """
import os
from django.db import connections
Product.objects.create(name="before", price=1)
connections.close_all()  # as a server does before it forks
children = []
for number in range(3):
    if (pid := os.fork()) == 0:
        Product.objects.create(name=number, price=1)
        raise SystemExit
    children.append(pid)
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
Product.objects.create(name="after", price=1)
"""


def test_transaction__that_took_its_id_first_and_commits_last__is_neither_overtaken_nor_skipped(shop):
    """While it is open, others flow; when it commits, its event comes, before the later one of its object."""
    shop.start_worker("worker")
    shop.system.django(FIRST_ID_LAST_COMMIT)
    shop.wait_until_drained()
    arrivals = shop.arrivals()
    late = [arrival for arrival in arrivals if arrival.what[1].startswith("late")]
    assert [arrival.what for arrival in late] == [("created", "late"), ("updated", "late too")]
    assert arrivals.index(late[0]) >= 300
    assert late[0].sequence < arrivals[0].sequence


FIRST_ID_LAST_COMMIT = """
import threading, time
from django.db import connection
from django_events_sourcing.models import QueueEntry

def others():
    products = [Product.objects.create(name=number, price=1) for number in range(20)]
    for number in range(280):
        products[number % 20].save()
    deadline = time.monotonic() + 30
    while QueueEntry.objects.exists():
        assert time.monotonic() < deadline, "they don't flow"
        time.sleep(0.1)
    connection.close()

with transaction.atomic():
    product = Product.objects.create(name="late", price=1)
    thread = threading.Thread(target=others)
    thread.start()
    thread.join()
product.name = "late too"
product.save()
"""


@pytest.mark.parametrize("whom", ["main process", "all processes"])
def test_sigterm__of_a_worker_mid_batch__rest_goes_on_at_once(shop, whom):
    """With a lease and a sweep of a minute: nothing waits for either."""
    shop.system.configure(LEASE=60, SWEEP_INTERVAL=60)
    shop.system.django(BACKLOG)
    shop.start_workers(*WORKERS)
    wait_until(lambda: shop.pending() < 5500, "some have gone out")
    (os.kill if whom == "main process" else os.killpg)(shop.pid_of("worker-0"), signal.SIGTERM)
    shop.wait_until_drained(within=25)
    arrivals = shop.arrivals()
    assert len({arrival.event_id for arrival in arrivals}) == 6000
    for key in {arrival.object for arrival in arrivals}:
        sequences = [arrival.sequence for arrival in arrivals if arrival.object == key]
        assert sequences == sorted(sequences)


BACKLOG = """
products = [Product.objects.create(name=number, price=1) for number in range(100)]
with transaction.atomic():
    for number in range(5900):
        products[number % 100].save()
"""


@pytest.fixture
def with_other_database(shop, database):
    """The shop with a second database."""
    with connect(database) as connection:
        connection.execute("CREATE DATABASE other")
    shop.system.env |= {"OTHER_POSTGRES_PORT": database["POSTGRES_PORT"], "OTHER_POSTGRES_DATABASE": "other"}
    run([sys.executable, "-m", "django", "migrate", "--run-syncdb", "--database", "other"], shop.system.env)
    yield shop
    shop.end()
    with connect(database) as connection:
        connection.execute("DROP DATABASE other WITH (FORCE)")


def test_second_database__has_its_events_relayed__and_holds_up_no_other_when_it_is_away(with_other_database, free_port):
    """Each database with the tables is relayed; one that can't be reached is logged."""
    shop = with_other_database
    shop.start_worker("worker")
    shop.system.django("Product.objects.using('other').create(name='other', price=1)")
    wait_until(lambda: shop.pending("other") == 0, "the event of the other database has gone out")
    shop.system.django("Product.objects.create(name='first', price=1)")
    shop.wait_until_drained()
    assert [arrival.what[1] for arrival in shop.arrivals()] == ["other", "first"]
    shop.end()
    shop.system.env["OTHER_POSTGRES_PORT"] = str(free_port)
    shop.start_worker("worker")
    with stopped(shop.redis):
        shop.system.django("Product.objects.create(name='alone', price=1)")
        shop.wait_until_drained(within=20)
    assert [arrival.what[1] for arrival in shop.arrivals()] == ["alone"]
    wait_until(lambda: "database 'other'" in shop.system.log("worker").read_text(), "the trouble is logged")
