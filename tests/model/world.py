"""A world in which one thing happens after another: a database, processes, a clock, and a RabbitMQ that is a list.

Each process is a greenlet that runs the library's own code, and stands still before every statement, every send and
every sleep. There whoever holds the world may let another go on, have time go by, or end it.
"""

import functools
import itertools
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone
from greenlet import GreenletExit, getcurrent, greenlet

from django_events_sourcing import Event
from django_events_sourcing.delivery import waker
from django_events_sourcing.exceptions import EventRefused, OperationError, PublishError
from django_events_sourcing.models import Failure, LogEntry, Partition, PublishedCount, QueueEntry
from django_events_sourcing.operating import operations, purge, replay
from django_events_sourcing.outbox import leases, queries
from django_events_sourcing.outbox.clock import MICROSECONDS
from django_events_sourcing.outbox.partitioning import partition_of
from django_events_sourcing.outbox.queries import Queued, outcomes, purging, replaying
from django_events_sourcing.tasks import reading, relaying
from django_events_sourcing.tasks.batch import Batch
from tests.project.models import Product

__all__ = ["LEASE", "MOODS", "Process", "Stage", "World", "create", "delete", "roll_back", "save", "set_clock"]

#: Of a relay, in seconds.
LEASE = 30.0

#: What RabbitMQ does with what is sent to it, and with what it has not confirmed yet.
MOODS = ("well", "silent", "refuses", "nacks", "breaks")

#: An object, what becomes of it, and its name then.
Change = tuple[str, str, str]

#: What a writer does within a transaction.
Action = Callable[["World"], list[Change]]

_STATEMENTS = [name for name in queries.__all__ if name.islower() and name != "replayable"]  # a generator

_PARTITIONS = (
    f"SELECT failures > 0, owner IS NOT NULL OR (retry_at IS NOT NULL AND number < {queries.PURGE}) "
    "FROM django_events_sourcing_partition"
)
_QUEUE = "SELECT sequence, replay_to FROM django_events_sourcing_queue"
_LOG = "SELECT sequence FROM django_events_sourcing_log"
_FAILURES = "SELECT sequence, dead_at IS NOT NULL, attempts, COALESCE(retry_at, 0) FROM django_events_sourcing_failure"


class Process(greenlet):  # type: ignore[misc]  # it has no types
    """Runs ``main`` until that stands still, again and again."""

    def __init__(self, main: Callable[["Process"], object]) -> None:
        super().__init__(lambda: self._run(main))
        self.is_stopping = False
        self.at = ""
        self.read_at = 0
        self._is_killed = False

    def _run(self, main: Callable[["Process"], object]) -> None:
        try:
            main(self)
        except GreenletExit:
            assert self._is_killed

    def stand_still(self) -> None:
        """Wait until it is switched to."""
        if not self._is_killed:  # else it would clean up after itself
            self.parent.switch()
        if self._is_killed:
            raise GreenletExit

    def kill(self) -> None:
        """As by -9: it does nothing more."""
        self._is_killed = True
        self.throw(GreenletExit())


class _IsLockedError(Exception):
    """The log is locked by somebody else: what begins by locking it has done nothing yet, and tries again."""


def stand_still(at: str = "") -> None:
    """Within a process: have the world decide who goes on; ``at`` says where, if anybody wants to know."""
    process = getcurrent()
    if isinstance(process, Process):
        process.at = at
        process.stand_still()
        process.at = ""


class RabbitMQ:
    """In place of the pipeline: one connection to a broker with moods."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def publish(self, batch: Batch, one_by_one: int = 0) -> None:
        """As ``Pipeline.publish``."""
        in_flight: list[tuple[Queued, Event, bool]] = []
        while True:
            stand_still()
            if self._world.mood == "breaks":
                batch.give_up(PublishError("it breaks"))
                return
            if following := batch.next():
                stand_still()
                arrives = self._world.mood != "refuses" or following[0].sequence % 3 > 0
                if arrives:
                    self._world.arrive(following[0])
                in_flight.append((*following, arrives))
            elif not in_flight:
                return
            elif self._world.mood != "silent":
                self._answer(batch, *in_flight.pop(0))
            batch.tend()

    def _answer(self, batch: Batch, row: Queued, event: Event, has_arrived: bool) -> None:
        if not has_arrived:
            batch.refuse(row, EventRefused("it refuses"))
        elif self._world.mood == "nacks":
            batch.trouble(row, PublishError("it nacks"))
        else:
            batch.confirm(row)


@dataclass
class Transaction:
    """What one has written."""

    entries: list[LogEntry]
    rows: list[QueueEntry]
    changes: list[Change]


@dataclass
class Outbox:
    """What the tables hold.

    Attributes:
        logged: Events of the log; and so on.
        replaying: Where pending replays go to.
        attempts: Of events that were refused, how many attempts there were, and when the next is due.
        met_trouble: Whether any partition met with trouble last.
        is_kept: Whether any partition is leased, or backs off.
    """

    logged: set[int] = field(default_factory=set)
    pending: set[int] = field(default_factory=set)
    replaying: dict[int, str] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    dead: set[int] = field(default_factory=set)
    attempts: dict[int, tuple[int, int]] = field(default_factory=dict)
    met_trouble: bool = False
    is_kept: bool = False

    @classmethod
    def now(cls) -> "Outbox":
        """As it is."""
        queue, failures, partitions = _rows(_QUEUE), _rows(_FAILURES), _rows(_PARTITIONS)
        return cls(
            logged={sequence for (sequence,) in _rows(_LOG)},
            pending={sequence for sequence, _ in queue},
            replaying={sequence: replay_to for sequence, replay_to in queue if replay_to is not None},
            refused={sequence for sequence, is_dead, *_ in failures if not is_dead},
            dead={sequence for sequence, is_dead, *_ in failures if is_dead},
            attempts={sequence: (attempts, retry_at) for sequence, _, attempts, retry_at in failures},
            met_trouble=any(met_trouble for met_trouble, _ in partitions),
            is_kept=any(is_kept for _, is_kept in partitions),
        )


@dataclass
class World:
    """All there is.

    Attributes:
        now: By every clock, in seconds since 1970.
        moment: How many steps were made.
        mood: What RabbitMQ does; one of ``MOODS``.
        processes: Those that have begun and not ended.
        sent: How many wake-ups were sent.
        is_waking: Whether one has not come to a worker yet; those that are sent meanwhile are one with it.
        partitions: Those that it names.
        needs_sweep: Whether something has happened after which only the sweep finds all that is pending.
        names: The objects by their primary keys, with their names.
        committed: The changes that the events of committed transactions report, by their ids.
        open: The rows of transactions that have drawn their ids and are not committed.
    """

    now: float = 2_000_000_000.0
    moment: int = 0
    mood: str = "well"
    processes: list[Process] = field(default_factory=list)
    sent: int = 0
    is_waking: bool = False
    partitions: set[int] = field(default_factory=set)
    needs_sweep: bool = False
    names: dict[int, str] = field(default_factory=dict)
    committed: dict[int, Change] = field(default_factory=dict)
    open: list[Transaction] = field(default_factory=list)

    keys: Iterator[int] = field(default_factory=lambda: filter(_is_in_use, itertools.count(1)))
    _names: Iterator[str] = field(default_factory=lambda: map(str, itertools.count()))
    _arrived: set[int] = field(default_factory=set)
    _were_dead: set[int] = field(default_factory=set)
    _replays: dict[int, tuple[str, int]] = field(default_factory=dict)  # where to, and since when
    _log_is_locked_by: greenlet | None = None
    _outbox: Outbox = field(default_factory=Outbox)
    _changes: int = -1  # SQLite's count of changed rows, when the outbox was last looked at

    def empty(self) -> None:
        """Have nothing in the database."""
        for model in (LogEntry, QueueEntry, Failure, Partition, PublishedCount, Product):
            model.objects.all()._raw_delete("default")
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM sqlite_sequence")  # so that the keys are the same each time

    def new_name(self) -> str:
        """One that no object had."""
        return next(self._names)

    def pass_time(self, seconds: float) -> None:
        """Have all processes stand still for a while."""
        self.now += seconds
        self.needs_sweep |= bool(self.processes)

    def start(self, main: Callable[[Process], object]) -> Process:
        """Have one more process, which stands still before it begins."""
        self.processes.append(Process(main))
        return self.processes[-1]

    def start_relay(self) -> Process:
        """What a worker does that is woken, or sweeps: if there is a wake-up, this is what it came to."""
        self.is_waking = False
        partitions, self.partitions = self.partitions, set()
        return self.start(lambda process: relaying.relay_database("default", lambda: process.is_stopping, partitions))

    def run(self, process: Process, steps: int = 1000, *, to: str | None = None) -> None:
        """Let a process go on for so many steps, or to its end, or to where it stands still at ``to``."""
        for step in range(steps):
            if process.at == to or process.dead or (self.mood == "silent" and step > 20):
                return
            self.step(process)

    def start_operator(self, command: Callable[[], object]) -> Process:
        """Somebody's command, which may find that what it wants can't be done."""

        def main(_process: Process) -> None:
            with suppress(OperationError):
                command()

        return self.start(main)

    def step(self, process: Process) -> None:
        """Let a process go on."""
        self.moment += 1
        try:
            process.switch()
        finally:
            self.processes = [process for process in self.processes if not process.dead]
        self._after_step()

    def lock_log(self) -> None:
        """For the process that is at work, until it unlocks it."""
        if self._log_is_locked_by not in {None, getcurrent()}:
            raise _IsLockedError
        self._log_is_locked_by = getcurrent()

    def unlock_log(self) -> None:
        """If it is locked by the process that is at work."""
        if self._log_is_locked_by is getcurrent():
            self._log_is_locked_by = None

    def lose_wake_up(self) -> None:
        """Have no worker hear of it."""
        self.is_waking = False
        self.needs_sweep = True

    def kill(self, process: Process) -> None:
        """End a process where it stands."""
        process.kill()
        self.processes.remove(process)
        self.needs_sweep = True

    def end(self) -> None:
        """Have nothing of it go on."""
        for process in self.processes:
            process.kill()

    def _after_step(self) -> None:
        if (changes := connection.connection.total_changes) != self._changes:
            self._changes = changes
            self._look()
        outbox = self._outbox
        self.needs_sweep |= bool(outbox.refused) or outbox.met_trouble
        if not (self.processes or outbox.pending or outbox.is_kept):
            self.needs_sweep = False
        if not (self.processes or self.is_waking or self.needs_sweep):
            assert not outbox.pending, f"events {outbox.pending} are pending, and nobody looks before the sweep"

    def _look(self) -> None:
        before, self._outbox = self._outbox, (outbox := Outbox.now())
        self._were_dead |= outbox.dead
        new = outbox.replaying.keys() - before.replaying.keys()
        self._replays |= {key: (outbox.replaying[key], self.moment) for key in new}
        assert outbox.refused <= outbox.pending, f"{outbox.refused - outbox.pending} were refused, and are not pending"
        assert outbox.pending <= outbox.logged, f"{outbox.pending - outbox.logged} were purged, and are pending"
        assert outbox.dead <= outbox.logged, f"{outbox.dead - outbox.logged} were purged, and are dead"
        now = self.now * MICROSECONDS
        for key in outbox.attempts.keys() & before.attempts.keys():
            (count_before, retry_at), (count, _) = before.attempts[key], outbox.attempts[key]
            assert count <= count_before or now >= retry_at, f"event {key} was tried again before its time"

    def arrive(self, row: Queued) -> None:
        """An event has come to RabbitMQ, from the process that is at work."""
        assert row.sequence in self.committed, f"event {row.sequence} arrived and was not committed"
        if row.replay_to is not None:
            self._arrive_again(row)
        elif row.sequence not in self._arrived:
            missing = self._earlier(row.sequence, self.committed) - self._arrived - self._were_dead
            assert not missing, f"event {row.sequence} arrived before {missing}"
        self._arrived.add(row.sequence)

    def _arrive_again(self, row: Queued) -> None:
        process = getcurrent()
        assert isinstance(process, Process)
        where_to, since = self._replays.get(row.sequence, (None, 0))
        if where_to != row.replay_to or process.read_at < since:  # it came before, or is that of an earlier replay
            return
        overtaken = self._earlier(row.sequence, self._replays) - self._were_dead
        if any(process.read_at < self._replays[each][1] for each in overtaken):
            return  # read before those were put back, which took the lease away: it stays pending, and must come again
        del self._replays[row.sequence]
        assert not overtaken, f"event {row.sequence} was replayed before {overtaken}"

    def _earlier(self, sequence: int, among: Iterable[int]) -> set[int]:
        key = self.committed[sequence][0]
        return {each for each in among if each < sequence and self.committed[each][0] == key}

    def finish(self) -> None:
        """Have all go well until nothing is left to do: then all must have arrived, and no trouble be remembered.

        Each object changes once more, because trouble is forgotten when an event is published.
        """
        self.mood = "well"
        if last := [save_object(pk) for pk in self.free]:
            self.transact(last)
        for _ in range(6):
            while self.processes or self.is_waking:
                if self.is_waking:
                    self.start_relay()
                process = self.processes[0]
                self.run(process)
                assert process.dead, "a process goes on for ever"
            if not QueueEntry.objects.exists():
                break
            self.now += LEASE + 10
            self.needs_sweep = True
            self.start_relay()
        assert not QueueEntry.objects.exists(), "pending for ever"
        lost = self.committed.keys() - self._arrived - self._were_dead
        assert not lost, f"events {lost} never arrived"
        used = {_partition(pk) for pk in self.free}
        troubled = set(Partition.objects.filter(failures__gt=0, number__in=used).values_list("number", flat=True))
        assert not troubled, f"partitions {troubled} remember trouble"
        unheard = self._replays.keys() - self._were_dead
        assert not unheard, f"events {unheard} were never replayed"
        self.needs_sweep = False

    def transact(self, actions: list[Action], *, stays_open: bool = False) -> None:
        """Have a writer make a transaction, whose events must be what it did; it is committed, or stays open."""
        last = LogEntry.objects.aggregate(last=Max("sequence"))["last"] or 0
        sent, was_waking = self.sent, self.is_waking
        changes: list[Change] = []
        with transaction.atomic():
            for action in actions:
                changes += action(self)
        entries = list(LogEntry.objects.filter(sequence__gt=last).order_by("sequence"))
        reported = [(entry.object, entry.name.partition("__")[2], json.loads(entry.body)["name"]) for entry in entries]
        assert reported == changes
        assert self.sent - sent == bool(changes)
        done = Transaction(entries, list(QueueEntry.objects.filter(sequence__gt=last)), changes)
        if stays_open:
            self.open.append(done)
            self.is_waking = was_waking
            for model in (LogEntry, QueueEntry):
                model.objects.filter(sequence__gt=last).delete()
        else:
            self._committed(done)

    def commit(self, which: int, *, goes_on: bool) -> None:
        """Have an open transaction be committed; its writer may go on with the same objects."""
        late = self.open.pop(which)
        LogEntry.objects.bulk_create(late.entries)
        QueueEntry.objects.bulk_create(late.rows)
        self._committed(late)
        self.is_waking = True
        self.partitions.update(row.partition for row in late.rows)
        if goes_on:
            self.transact([save_object(int(key.partition(":")[2])) for key, *_ in late.changes])

    def _committed(self, done: Transaction) -> None:
        self.committed.update(zip([entry.sequence for entry in done.entries], done.changes, strict=True))

    @property
    def free(self) -> list[int]:
        """Primary keys of the objects that no open transaction has locked."""
        locked = {key for each in self.open for key, *_ in each.changes}
        return [pk for pk in self.names if _key(pk) not in locked]


# Actions of a writer within a transaction: each makes changes, and says which.


def create(world: World) -> list[Change]:
    """A new object."""
    pk, name = next(world.keys), world.new_name()
    Product(pk=pk, name=name, price=1).save(force_insert=True)
    world.names[pk] = name
    return [(_key(pk), "created", name)]


def save(number: int) -> Action:
    """One of the objects changes."""

    def action(world: World) -> list[Change]:
        return save_object(world.free[number % len(world.free)])(world) if world.free else []

    return action


def save_object(pk: int) -> Action:
    """A certain object changes."""

    def action(world: World) -> list[Change]:
        world.names[pk] = world.new_name()
        Product(pk=pk, name=world.names[pk], price=1, created_at=timezone.now()).save(force_update=True)
        return [(_key(pk), "updated", world.names[pk])]

    return action


def delete(number: int) -> Action:
    """One of the objects goes."""

    def action(world: World) -> list[Change]:
        if not world.free:
            return []
        pk = world.free[number % len(world.free)]
        Product.objects.get(pk=pk).delete()
        return [(_key(pk), "deleted", world.names.pop(pk))]

    return action


def roll_back(actions: list[Action]) -> Action:
    """A savepoint, to which is gone back after some actions."""

    def action(world: World) -> list[Change]:
        names = dict(world.names)
        with transaction.atomic():
            for each in actions:
                each(world)
            transaction.set_rollback(True)
        world.names = names
        return []

    return action


def _rows(statement: str) -> list[Any]:
    return list(connection.connection.execute(statement))  # without what Django adds: this is run thousands of times


def _is_in_use(pk: int) -> bool:
    partition = _partition(pk)
    return partition == 0 or (partition == 1 and pk % 3 == 0)  # so that objects meet in one


def _partition(pk: int) -> int:
    return partition_of(_key(pk))


def _key(pk: int) -> str:
    return f"project.product:{pk}"


class _NoTransactions:
    """In place of ``django.db.transaction``."""

    @staticmethod
    def atomic(**_options: Any) -> AbstractContextManager[None]:
        return nullcontext()


def set_clock(seconds: Callable[[], float]) -> None:
    """Have the database tell the time, in seconds since 1970, by a function of ours.

    It is what DatabaseNow asks, as the SQL that does is kept from one test to the next. SQLite's own doesn't come back.
    """
    connection.ensure_connection()
    connection.connection.create_function("JULIANDAY", 1, lambda _: seconds() / 86_400 + 2_440_587.5)


class Stage:
    """Where the library's own code runs in a world.

    Attributes:
        world: The world of now.
    """

    def __init__(self) -> None:
        self.world = World()

    def set(self, patch: pytest.MonkeyPatch) -> None:
        """Have the library's code use the clock and the broker of the world, and stand still in it."""
        for name in _STATEMENTS:
            patch.setattr(queries, name, self._standing_still(getattr(queries, name)))
        for name in ("start_pass", "read"):
            patch.setattr(queries, name, self._noted(getattr(queries, name)))
        self._set_transactions(patch)
        set_clock(lambda: self.world.now)
        relay = import_module("django_events_sourcing.tasks.relay")  # where the package has the task of that name
        for module in (leases, operations, purge, reading, relay, replay):
            patch.setattr(module, "monotonic", lambda: self.world.now)
        patch.setattr(operations, "_POLL", LEASE / 5)
        for module in (operations, purge, replay):
            patch.setattr(module, "sleep", self._sleep)
        patch.setattr(relay, "Pipeline", lambda _settings: RabbitMQ(self.world))
        for module in (waker, relaying):
            patch.setattr(module, "enqueue", self._enqueue)

    def _set_transactions(self, patch: pytest.MonkeyPatch) -> None:
        """Have the library's code stand still within its transactions, too, where others may come in between.

        All processes have one connection: none may stand still while it is in a transaction. So the purge, which writes
        nothing but by its last statement, has none; the log's lock is the world's.
        """
        patch.setattr(purging, "transaction", _NoTransactions)
        for name, at in {"pending_among": "purging", "delete": ""}.items():
            patch.setattr(purging, name, self._standing_still(getattr(purging, name), at))
        for name in ("purge", "requeue"):
            patch.setattr(queries, name, self._trying_again(getattr(queries, name)))
        for module in (purging, replaying):
            patch.setattr(module, "lock_log", lambda _using: self.world.lock_log())
        delete_rows = outcomes._delete_rows

        def delete_between(using: str, published: Collection[Queued]) -> None:
            if not connection.in_atomic_block:
                stand_still("settling")
            delete_rows(using, published)

        patch.setattr(outcomes, "_delete_rows", delete_between)

    def _trying_again(self, statement: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(statement)
        def wrapped(*args: Any, **options: Any) -> Any:
            while True:
                try:
                    return statement(*args, **options)
                except _IsLockedError:
                    stand_still()
                finally:
                    self.world.unlock_log()

        return wrapped

    def _standing_still(self, statement: Callable[..., Any], at: str = "") -> Callable[..., Any]:
        @functools.wraps(statement)
        def wrapped(*args: Any, **options: Any) -> Any:
            stand_still(at)
            return statement(*args, **options)

        return wrapped

    def _noted(self, read: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(read)
        def wrapped(*args: Any, **options: Any) -> Any:
            found = read(*args, **options)
            process = getcurrent()
            if isinstance(process, Process):
                process.read_at = self.world.moment
            return found

        return wrapped

    def _sleep(self, seconds: float) -> None:
        stand_still()
        self.world.now += seconds

    def _enqueue(
        self, _name: str, _using: str, partitions: Collection[int] = (), _sent: int = 0, **_options: Any
    ) -> None:
        self.world.sent += 1
        self.world.is_waking = True
        self.world.partitions.update(partitions)
