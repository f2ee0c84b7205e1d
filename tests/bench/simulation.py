"""What ten or a hundred workers and databases would do, which no machine here has: relays, simulated.

    python -m tests.bench.simulation docs/bench.json

prints the tables of docs/explanation/limits.md (``make simulation``). Relays follow the library's rules: leases,
shares, turns, passes, portions, one event of each object in flight. What each step takes was measured (``Costs``). Each
process of a worker has a processor of its own; the database and RabbitMQ have as many as a table says.
"""

import sys
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Any

import simpy

from django_events_sourcing.conf import Settings
from django_events_sourcing.delivery.waker import _FEW, LONGEST_PAUSE, PAUSE, PAUSE_FOR_EACH
from django_events_sourcing.outbox.partitioning import PARTITIONS, TURN, share_of_partitions
from tests.bench.figures import Figures

__all__ = ["Costs", "World", "tables"]

PORTION = Settings.batch_size

#: Of each database, how many objects have events, and how many web processes save.
OBJECTS, WEB_PROCESSES = 5000, 8

#: When all relays are at work: each second one more comes to help.
WARMED_UP = 24.0

#: How many events go at once to RabbitMQ's processors: less than any queue that forms, and fewer steps to simulate.
TOGETHER = 8

Steps = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class Costs:
    """What the steps take, in seconds.

    Attributes:
        relay: Of a relay's thread, for an event; with all that it waits for when it publishes many.
        postgresql: Of the database's processors, for an event.
        rabbitmq: Of RabbitMQ's processors, for an event.
        statement: One statement of a relay's, from being sent to its answer.
        confirm: From RabbitMQ's having dealt with an event to the relay's hearing of it.
        wake_up: From a commit to a relay's beginning, where a wake-up is sent at once and a process is free.
    """

    relay: float
    postgresql: float
    rabbitmq: float
    statement: float
    confirm: float
    wake_up: float

    @classmethod
    def measured(cls, figures: Figures) -> "Costs":
        """As ``make bench`` has measured them."""
        value = {name: spread.median for name, spread in figures.values.items()}
        relay = 1 / value["one_process_5000_objects_events_a_second"]
        postgresql, rabbitmq = (value[f"{each}_processor_us_an_event"] / 1e6 for each in ("postgresql", "rabbitmq"))
        statement = 0.0004  # half of a lone event's lease and reading (CHANGELOG.md, "Faster")
        confirm = 1 / value["one_process_1_objects_events_a_second"] - relay - rabbitmq
        lone = 2 * statement + relay + rabbitmq + confirm
        return cls(relay, postgresql, rabbitmq, statement, confirm, value["ours_20_a_second_p50_ms"] / 1e3 - lone)


@dataclass(eq=False)
class Partition:
    """The pending events, each its object and when it was committed; and who leases it."""

    pending: deque[tuple[int, float]] = field(default_factory=deque)
    owner: object = None


class Processors:
    """Some, of one machine."""

    def __init__(self, env: simpy.Environment, number: int) -> None:
        self._env = env
        self._free = simpy.Resource(env, number)

    def work(self, seconds: float) -> Steps:
        """Take one of them for so long, when there is one."""
        with self._free.request() as mine:
            yield mine
            yield self._env.timeout(seconds)


class Database:
    """One outbox."""

    def __init__(self, processors: Processors) -> None:
        self.processors = processors
        self.partitions = [Partition() for _ in range(PARTITIONS)]

    def commit(self, now: float, about: int) -> Partition:
        """An event of an object."""
        partition = self.partitions[about % PARTITIONS]
        partition.pending.append((about, now))
        return partition


class World:
    """Databases, processes of workers, and RabbitMQ.

    Args:
        costs: What the steps take.
        databases: How many.
        processes: How many of all workers together.
        rabbitmq: How many processors it has. Events go to so many queues, or one queue's would be the bound.
        postgresql: How many each database has.
    """

    def __init__(
        self,
        costs: Costs,
        *,
        databases: int = 1,
        processes: int = 1,
        rabbitmq: int = 32,
        postgresql: int = 8,
    ) -> None:
        self.random = Random(1)
        self.env = simpy.Environment()
        self.costs = costs
        self.rabbitmq = Processors(self.env, rabbitmq)
        self.databases = [Database(Processors(self.env, postgresql)) for _ in range(databases)]
        self.wake_ups: simpy.Store = simpy.Store(self.env)
        self.latencies: list[float] = []
        for _ in range(processes):
            self.env.process(self._process())

    def fill(self, number: int, objects: int) -> None:
        """Have so many events wait in each database."""
        for database in self.databases:
            for place in range(number):
                database.commit(0.0, place % objects)

    def wake(self, database: Database, partitions: Sequence[Partition] = ()) -> None:
        """Send a wake-up."""

        def on_its_way() -> Steps:
            yield self.env.timeout(self.costs.wake_up)
            yield self.wake_ups.put((database, partitions))

        self.env.process(on_its_way())

    def save(self, database: Database, rate: float, objects: int) -> None:
        """Have a web process commit so many events a second, each in a transaction of its own."""
        commits: simpy.Store = simpy.Store(self.env)  # the partition of each

        def saving() -> Steps:
            while True:
                yield self.env.timeout(self.random.expovariate(rate))
                commits.put(database.commit(self.env.now, self.random.randrange(objects)))

        def waking() -> Steps:
            while True:
                waiting = [(yield commits.get()), *_taken(commits)]
                self.wake(database, list(dict.fromkeys(waiting)))
                yield self.env.timeout(min(max(PAUSE, PAUSE_FOR_EACH * len(waiting)), LONGEST_PAUSE))

        self.env.process(saving())
        self.env.process(waking())

    def _process(self) -> Steps:
        while True:
            database, partitions = yield self.wake_ups.get()
            yield from Relay(self, database).run(partitions)


class Relay:
    """One run of a relay."""

    def __init__(self, world: World, database: Database) -> None:
        self._world, self._database = world, database
        self._env, self._costs = world.env, world.costs
        self._held: list[Partition] = []
        self._is_behind = False

    def run(self, partitions: Sequence[Partition]) -> Steps:
        """Until nothing is due that is free."""
        has_asked = False
        if 0 < len(partitions) <= _FEW:
            yield from self._lease(partitions)
            if self._held:
                yield from self._turn()
        while True:
            yield from self._ask()
            free = [each for each in self._database.partitions if each.pending and each.owner is None]
            others = {each.owner for each in self._database.partitions} - {None}
            share = share_of_partitions(len(others), is_behind=self._is_behind)
            yield from self._lease(self._world.random.sample(free, min(share, len(free))))
            if not self._held:
                return
            yield from self._turn()
            if self._is_behind and not has_asked:
                has_asked = True
                self._world.wake(self._database)

    def _ask(self, events: int = 0) -> Steps:
        """A statement, about so many events."""
        yield from self._database.processors.work(self._costs.postgresql * events / 2)
        yield self._env.timeout(self._costs.statement)

    def _lease(self, partitions: Sequence[Partition]) -> Steps:
        if partitions:
            yield from self._ask()
        self._held = [each for each in partitions if each.owner is None]
        for each in self._held:
            each.owner = self

    def _turn(self) -> Steps:
        ends = self._env.now + TURN
        self._is_behind = False
        while any(each.pending for each in self._held):
            if self._env.now >= ends:
                self._is_behind = True
                break
            if (yield from Pass(self._world, self._ask, self._held, ends).run()):
                break
        for each in self._held:
            each.owner = None
        yield from self._ask()  # counted
        yield from self._ask()  # given back


class Pass:
    """One reading of the partitions that a relay holds, up to what was there when it began."""

    def __init__(self, world: World, ask: Callable[[int], Steps], held: list[Partition], ends: float) -> None:
        self._world, self._ask, self._ends = world, ask, ends
        self._unread = {each: len(each.pending) for each in held if each.pending}
        self._unsent: dict[int, deque[float]] = defaultdict(deque)  # of each object, what was read, in order
        self._left = 0  # of all of them
        self._ready: deque[int] = deque()  # objects whose next event may go
        self._in_flight: set[int] = set()
        self._landed: simpy.Store = simpy.Store(world.env)  # objects whose event was confirmed
        self._unsettled = 0

    def run(self) -> Generator[simpy.Event, Any, bool]:
        """Publish; True if all was read at once."""
        portions = 0
        while True:
            self._note_landed(_taken(self._landed))
            if self._unsettled >= PORTION:
                yield from self._settle()
            if self._left <= PORTION // 2 and self._unread and (not portions or self._world.env.now < self._ends):
                portions += 1
                yield from self._read()
            elif self._ready:
                next_ones = [self._ready.popleft() for _ in range(min(TOGETHER, len(self._ready)))]
                self._in_flight.update(next_ones)
                self._left -= len(next_ones)
                yield self._world.env.timeout(self._world.costs.relay * len(next_ones))
                self._world.env.process(self._fly([(each, self._unsent[each].popleft()) for each in next_ones]))
            elif self._in_flight:
                self._note_landed([(yield self._landed.get())])
            else:
                break
        yield from self._settle()
        return portions <= 1 and not self._unread

    def _fly(self, events: list[tuple[int, float]]) -> Steps:
        """By RabbitMQ, and back."""
        yield from self._world.rabbitmq.work(self._world.costs.rabbitmq * len(events))
        yield self._world.env.timeout(self._world.costs.confirm)
        self._world.latencies += [self._world.env.now - committed for _, committed in events]
        for about, _ in events:
            self._landed.put(about)

    def _note_landed(self, objects: list[int]) -> None:
        self._unsettled += len(objects)
        self._in_flight.difference_update(objects)
        self._ready += [about for about in objects if self._unsent[about]]

    def _settle(self) -> Steps:
        yield from self._ask(self._unsettled)
        self._unsettled = 0

    def _read(self) -> Steps:
        of_each = ceil(PORTION / len(self._unread))
        found = []
        for partition, number in list(self._unread.items()):
            count = min(of_each, number)
            found += [partition.pending.popleft() for _ in range(count)]
            self._unread[partition] -= count
            if not self._unread[partition]:
                del self._unread[partition]
        yield from self._ask(len(found))
        self._left += len(found)
        for about, committed in found:
            if not self._unsent[about] and about not in self._in_flight:
                self._ready.append(about)
            self._unsent[about].append(committed)


def _taken(store: simpy.Store) -> list[Any]:
    """All that is in a store at this moment."""
    taken, store.items = store.items, []
    return taken


def rate(costs: Costs, processes: int, rabbitmq: int) -> str:
    """Events a second out of one database, when all relays that may be are at work."""
    at_most = min(min(processes, PARTITIONS) / costs.relay, rabbitmq / costs.rabbitmq)
    world = World(costs, processes=processes, rabbitmq=rabbitmq)
    world.fill(int(at_most * (WARMED_UP + 3)), OBJECTS)
    world.wake(world.databases[0])
    world.env.run(until=WARMED_UP)
    before = len(world.latencies)
    world.env.run(until=WARMED_UP + 2)
    return rounded((len(world.latencies) - before) / 2)


def one_object(costs: Costs, confirm: float) -> str:
    """Events a second of one hot object, where a confirm comes after so many seconds."""
    world = World(replace(costs, confirm=confirm))
    world.fill(1000, 1)
    return rounded(1000 / _drain(world))


def drain(costs: Costs, databases: int, processes: int) -> str:
    """Seconds until a million events are out."""
    world = World(costs, databases=databases, processes=processes)
    world.fill(1_000_000 // databases, OBJECTS)
    return rounded(_drain(world))


def _drain(world: World) -> float:
    total = sum(len(each.pending) for database in world.databases for each in database.partitions)
    for database in world.databases:
        world.wake(database)
    while len(world.latencies) < total:
        world.env.step()
    return float(world.env.now)


def latency(costs: Costs, databases: int, processes: int, events: int) -> str:
    """From commit to confirm, median and p99 in milliseconds, at so many events a second in all."""
    world = World(costs, databases=databases, processes=processes)
    for database in world.databases:
        for _ in range(WEB_PROCESSES):
            world.save(database, events / databases / WEB_PROCESSES, OBJECTS)
    world.env.run(until=8)
    percents = quantiles(world.latencies[len(world.latencies) // 4 :], n=100)
    return f"{percents[49] * 1e3:.0f} / {percents[98] * 1e3:.0f}"


def rounded(number: float) -> str:
    """To two digits."""
    return f"{float(f'{number:.2g}'):,.0f}"


def tables(costs: Costs) -> Iterator[str]:
    """Those of docs/explanation/limits.md, in its order."""
    numbers = [1, 10, 100]
    confirms = [costs.confirm, 0.002, 0.01]
    yield _table(
        ["a confirm comes after", *(f"{each * 1e3:.2g} ms" for each in confirms)],
        [["events/s of one object", *(one_object(costs, each) for each in confirms)]],
    )
    yield _table(
        ["processes", *(f"RabbitMQ with {each} processors" for each in (2, 8, 32))],
        [[str(each), *(rate(costs, each, cores) for cores in (2, 8, 32))] for each in (1, 2, 4, 8, 16, 100)],
    )
    yield _table(
        ["databases", "1 process", "10 processes", "100 processes"],
        [[str(each), *(drain(costs, each, processes) for processes in numbers)] for each in numbers],
    )
    yield _table(
        ["databases", "processes", *(f"{each:,} events/s" for each in (100, 1000, 10_000))],
        [
            [str(databases), str(each), *(latency(costs, databases, each, events) for events in (100, 1000, 10_000))]
            for databases, each in [(1, 1), (1, 10), (1, 100), (10, 10), (10, 100), (100, 100)]
        ],
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    head_line, *lines = (f"| {' | '.join(row)} |" for row in [head, *rows])
    return "\n".join([head_line, f"|{'---|' * len(head)}", *lines])


if __name__ == "__main__":
    for each in tables(Costs.measured(Figures.read(Path(sys.argv[1])))):
        print(each, end="\n\n", flush=True)
