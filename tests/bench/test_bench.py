"""Each figure of the benchmark, and whether it is what it must be. See the package's docstring for the ways."""

import random
import time
from statistics import median

import pytest

from tests.acceptance.conftest import held_open
from tests.acceptance.shop import p99
from tests.backlog import BODY
from tests.bench.conftest import child_of, processor_seconds, resident
from tests.bench.figures import BOUNDS, Spread
from tests.processes import pause
from tests.servers import pid_of_postgresql, stopped, suspended

pytestmark = pytest.mark.bench


def check(figures, *names):
    for name in names:
        assert BOUNDS[name].holds(figures.ratios[name].median), BOUNDS[name].what


def by(ours, theirs):
    """Each by the median of the others: one of those may be the odd one out."""
    middle = median(theirs)
    return [each / middle for each in ours]


def test_saves(actor, figures, rounds):
    found = [actor.ask("saves") for _ in rounds(40)]

    def added(way, bulk=""):
        return [each[bulk + way] - each[f"{bulk}Silent"] for each in found]

    micro = {
        f"{name}_added_to_a_save_us": [1e6 * each for each in values]
        for name, values in (
            ("INSERT", added("Inserted")),
            ("delay", added("Enqueued")),
            ("delay_methods", added("EnqueuedByMethods")),
            ("ours", added("Told")),
            ("ours_methods", added("ToldByMethods")),
            ("bulk_INSERT", added("Inserted", "bulk_")),
            ("bulk_ours", added("Told", "bulk_")),
        )
    }
    figures.add("save_insert", by(added("Told", "bulk_"), added("Inserted", "bulk_")), **micro)
    figures.add("save_alone", by(added("Told"), added("Inserted")))
    figures.add("save_delay", by(added("Told"), added("Enqueued")))
    figures.add("save_delay_methods", by(added("ToldByMethods"), added("EnqueuedByMethods")))
    figures.add("bulk", by(added("Told", "bulk_"), added("Told")))
    check(figures, "save_insert", "save_alone", "save_delay", "save_delay_methods", "bulk")


def test_bulk_writes(bench, figures, rounds):
    found = []
    for _ in rounds(5):
        actor = bench.actor()
        found.append(actor.ask("bulk_writes", number=100_000))
        actor.end()
    for write in ("create", "update"):
        silent, told = ([each[f"{write}_{way}"] for each in found] for way in ("Silent", "ToldInBulk"))
        values = {f"bulk_{write}_silent_s": silent, f"bulk_{write}_told_s": told}
        figures.add(f"bulk_{write}", by(told, silent), **values)
    figures.add("bulk_memory", [each["MiB"] for each in found])
    check(figures, "bulk_create", "bulk_update", "bulk_memory")


def test_view_under_gunicorn(bench, actor, figures, rounds):
    ways = ["Silent", "Enqueued", "Told", "EnqueuedByMethods", "ToldByMethods"]
    rates: dict[str, list[float]] = {way: [] for way in ways}
    slowest: dict[str, list[float]] = {way: [] for way in ways}
    with bench.web_server(workers=2) as port:

        def ask(way, seconds):
            took = actor.ask("load", port=port, path=f"/{way}", clients=8, seconds=seconds)
            return len(took) / seconds, p99(took)

        for way in ways:
            ask(way, 1)
        for _ in rounds(10):
            random.shuffle(ways)
            for way in ways:
                rate, slow = ask(way, 4)
                rates[way].append(rate)
                slowest[way].append(1000 * slow)
    values = {f"view_{way}_requests_a_second": found for way, found in rates.items()}
    values |= {f"view_{way}_p99_ms": found for way, found in slowest.items()}
    figures.add("view_silent", by(rates["Told"], rates["Silent"]), **values)
    figures.add("view_silent_methods", by(rates["ToldByMethods"], rates["Silent"]))
    figures.add("view_delay", by(rates["Told"], rates["Enqueued"]))
    figures.add("view_delay_methods", by(rates["ToldByMethods"], rates["EnqueuedByMethods"]))
    figures.add("view_p99_silent", by(slowest["Told"], slowest["Silent"]))
    figures.add("view_p99_delay", by(slowest["Told"], slowest["Enqueued"]))
    check(figures, "view_silent", "view_silent_methods", "view_delay", "view_delay_methods")


def test_drain_by_two_processes(bench, actor, figures, rounds):
    ours, theirs = [], []
    for _ in rounds(3):
        bench.fill(20_000)
        ours.append(bench.rate(20_000, lambda: bench.start_worker("worker")))
        bench.shut_down_worker("worker")
        actor.ask("enqueue", number=5000)
        theirs.append(bench.rate(5000, lambda: bench.start_worker("worker")))
        bench.shut_down_worker("worker")
    figures.add("drain_delay", by(ours, theirs), two_processes_events_a_second=ours, delay_events_a_second=theirs)
    check(figures, "drain_delay")


@pytest.mark.parametrize("objects, number", [(5000, 20_000), (100, 10_000), (1, 3000)])
def test_drain_by_one_process(objects, number, bench, actor, figures, rounds):
    bench.start_idle_worker("--concurrency", "1")
    ours, bare = [], []
    for _ in rounds(5):
        bench.fill(number, objects)
        ours.append(bench.rate(number, lambda: actor.ask("wake_relay")))
        bare.append(actor.ask("publish_pipelined", body=BODY, number=10_000))
    values = {f"one_process_{objects}_objects_events_a_second": ours, "pipelined_loop_events_a_second": bare}
    figures.add(f"drain_{objects}", by(ours, bare), **values)
    if objects == 5000:
        slow = [actor.ask("publish_one_by_one", number=1000) for _ in range(3)]
        figures.add("drain_nameko", by(ours, slow), nameko_loop_events_a_second=slow)
    check(figures, f"drain_{objects}")


def test_processor_time(bench, actor, figures, rounds, postgresql_proc, rabbitmq_proc):
    """What an event takes of the processors of a relay and of each server: what more of them could do, it says."""
    bench.start_idle_worker("--concurrency", "1")
    servers = {
        "relay": child_of(bench.pid_of("worker")),
        "postgresql": pid_of_postgresql(postgresql_proc),
        "rabbitmq": rabbitmq_proc.process.pid,
    }
    took: dict[str, list[float]] = {name: [] for name in servers}
    for _ in rounds(5):
        bench.fill(20_000)
        before = {name: processor_seconds(each) for name, each in servers.items()}
        bench.rate(20_000, lambda: actor.ask("wake_relay"))
        for name, each in servers.items():
            seconds = sum(so_far - before[name].get(pid, 0) for pid, so_far in processor_seconds(each).items())
            took[name].append(seconds / 20_000 * 1e6)
    for name, microseconds in took.items():
        figures.values[f"{name}_processor_us_an_event"] = Spread.of(microseconds)


def test_drain_with_a_transaction_held_open(bench, actor, figures, rounds):
    bench.start_idle_worker("--concurrency", "1")
    free, held = [], []
    for _ in rounds(5):
        bench.fill(20_000)
        free.append(bench.rate(20_000, lambda: actor.ask("wake_relay")))
        bench.fill(20_000)
        with held_open(bench.system.env):
            held.append(bench.rate(20_000, lambda: actor.ask("wake_relay")))
    figures.add("drain_held", by(held, free), held_open_events_a_second=held)
    check(figures, "drain_held")


def test_latency(bench, actor, figures, rounds):
    bench.start_idle_worker()
    consumer = bench.actor()

    def latencies(model, rate, seconds):
        consumer.send("consume", seconds=3)
        pause(0.5)  # until it listens
        committed = actor.ask("pace", model=model, rate=rate, seconds=seconds)
        came = consumer.answer()
        assert committed.keys() <= came.keys()
        return [1000 * (came[number] - at) for number, at in committed.items()]

    latencies("Told", 20, 1)
    latencies("Enqueued", 20, 1)
    ours, theirs, many = [], [], []
    for _ in rounds(6):
        ours.append(latencies("Told", 20, 10))
        theirs.append(latencies("Enqueued", 20, 10))
        many.append(latencies("Told", 200, 10))
    consumer.end()
    values = {}
    for name, found in (("ours_20", ours), ("delay_20", theirs), ("ours_200", many)):
        values[f"{name}_a_second_p50_ms"] = list(map(median, found))
        values[f"{name}_a_second_p99_ms"] = list(map(p99, found))
    figures.add("latency_p50", by(map(median, ours), map(median, theirs)), **values)
    figures.add("latency_p99", by(map(p99, ours), map(p99, theirs)))
    figures.add("latency_200", by(map(p99, many), map(p99, ours)))
    check(figures, "latency_p50", "latency_p99", "latency_200")


def test_saves_while_a_server_is_away(bench, actor, figures, rounds):
    bench.start_worker("worker")
    faults = {
        "rabbitmq_down": lambda: stopped(bench.rabbitmq),
        "redis_down": lambda: stopped(bench.redis),
        "redis_suspended": lambda: suspended(bench.redis),
    }
    save = {"number": 1000, "pause": 0.002}
    actor.ask("durations", **save)
    up: list[float] = []
    down: dict[str, list[float]] = {name: [] for name in faults}
    for _ in rounds(3):
        for name, fault in faults.items():
            up.append(p99(actor.ask("durations", **save)))
            with fault():
                down[name].append(p99(actor.ask("durations", **save)))
            pause(3)
    for name, found in down.items():
        values = {f"save_p99_{name}_ms": [1000 * each for each in found]}
        figures.add(name, by(found, up), **values)
    figures.values["save_p99_all_up_ms"] = Spread.of([1000 * each for each in up])
    check(figures, *faults)


def test_pages_of_the_admin(bench, figures, rounds):
    bench.fill_log(published=800_000, pending=200_000, dead=500)
    actor = bench.actor()
    found = [{url: 1000 * took for url, took in actor.ask("pages", rounds=5).items()} for _ in rounds(3)]
    actor.end()
    slowest, middle = [max(each.values()) for each in found], [median(each.values()) for each in found]
    print("\n".join(f"{took:6.0f} ms {url}" for url, took in found[0].items()))
    seconds = [each / 1000 for each in slowest]
    figures.add("pages", seconds, admin_slowest_page_ms=slowest, admin_median_page_ms=middle)
    bench.fill(0)
    check(figures, "pages")


def test_memory(bench, actor, figures, rounds):
    bench.start_idle_worker("--concurrency", "1")
    child = child_of(bench.pid_of("worker"))
    bench.fill(5000)
    bench.rate(5000, lambda: actor.ask("wake_relay"))
    bench.fill(200_000)
    before = resident(child)
    most = [before]

    def watch():
        actor.ask("wake_relay")
        for _ in range(20):
            time.sleep(1)
            most.append(resident(child))

    for _ in rounds(1):
        bench.rate(200_000, watch)
    most.append(resident(child))
    figures.add("memory", [max(most) - before], memory_before_MiB=[before], memory_most_MiB=[max(most)])
    check(figures, "memory")
