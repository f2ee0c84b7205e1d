"""The promise, in whatever order writers, relays, operators and troubles come: a model test.

Hypothesis makes up the order. ``world`` says what is checked at each step, and at the end.
"""

import logging
import time
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from django_events_sourcing.models import LogEntry, QueueEntry
from django_events_sourcing.operating import operations, purge, replay
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.queries import Selection
from django_events_sourcing.tasks.batch import Batch
from django_events_sourcing.tasks.relay import Relay
from tests.model.world import LEASE, MOODS, Process, Stage, World, create, delete, roll_back, save, set_clock

NUMBERS = st.integers(0, 9)
SAVES = st.builds(save, NUMBERS)
SIMPLE_ACTIONS = st.one_of(st.just(create), SAVES, SAVES, st.builds(delete, NUMBERS))
ACTIONS = st.one_of(SIMPLE_ACTIONS, st.builds(roll_back, st.lists(SIMPLE_ACTIONS, min_size=1, max_size=3)))


@dataclass(frozen=True)
class Replay:
    """All events of the log, or those that are dead."""

    dead: bool
    to_queue: str | None

    def __call__(self) -> None:
        sum(replay.replay("default", Selection(state="dead" if self.dead else None), to_queue=self.to_queue))


@dataclass(frozen=True)
class Purge:
    """What is older."""

    retention: float

    def __call__(self) -> None:
        purge.purge_now("default", self.retention)


@dataclass(frozen=True)
class Bury:
    """One of those that are pending by now."""

    which: int

    def __call__(self) -> None:
        rows = LogEntry.objects.filter(sequence__in=QueueEntry.objects.values("sequence"))
        if pending := list(rows.values_list("event_id", flat=True)):
            operations.bury("default", pending[self.which % len(pending)], "in the way")


# Processes that take turns; more would meet each other no more often.
MOST = 3

stage = Stage()


class Machine(RuleBasedStateMachine):
    """All that may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.world = stage.world = World()
        self.world.empty()
        self.world.transact([create, create])

    @initialize(mood=st.sampled_from(["well", "refuses"]))
    def rabbitmq_begins(self, mood):
        self.world.mood = mood

    @rule(actions=st.lists(ACTIONS, min_size=1, max_size=4))
    def transaction(self, actions):
        self.world.transact(actions)

    @precondition(lambda self: len(self.world.open) < 2 and self.world.free)
    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=2))
    def transaction_that_stays_open(self, numbers):
        self.world.transact([save(number) for number in numbers], stays_open=True)

    @precondition(lambda self: self.world.open)
    @rule(which=NUMBERS, goes_on=st.booleans())
    def commit(self, which, goes_on):
        self.world.commit(which % len(self.world.open), goes_on=goes_on)

    @precondition(lambda self: self.world.open)
    @rule(numbers=st.lists(NUMBERS, min_size=3, max_size=6), at=st.integers(4, 20))
    def commit_while_one_is_at_work(self, numbers, at):
        self.world.transact([save(number) for number in numbers])
        first = self.world.start_relay()
        self.world.run(first, at)
        self.world.commit(0, goes_on=True)
        self.world.run(first)

    @precondition(lambda self: self.world.is_waking and len(self.world.processes) < MOST)
    @rule(is_lost=st.booleans())
    def wake_up(self, is_lost):
        if is_lost:
            self.world.lose_wake_up()
        else:
            self.world.start_relay()

    @precondition(lambda self: len(self.world.processes) < MOST)
    @rule()
    def sweep_or_double_wake_up(self):
        self.world.start_relay()

    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=3), at=st.integers(1, 25))
    def save_while_one_is_at_work(self, numbers, at):
        self.world.transact([save(number) for number in numbers])
        first = self.world.start_relay()
        self.world.run(first, at)
        self.world.transact([save(numbers[0])])
        self.world.run(self.world.start_relay())
        self.world.run(first)

    @precondition(lambda self: self.world.processes)
    @rule(turns=st.lists(st.sampled_from([0, 0, 0, 1, 1, 2, "save", "commit", "wake up"]), min_size=20, max_size=60))
    def all_go_on(self, turns):
        for turn in turns:
            if turn == "save":
                self.world.transact([save(0)])
            elif turn == "commit" and self.world.open:
                self.world.commit(0, goes_on=True)
            elif turn == "wake up" and self.world.is_waking and len(self.world.processes) < MOST:
                self.wake_up(is_lost=False)
            elif self.world.processes and isinstance(turn, int):
                self.world.step(self._process(turn))

    @precondition(lambda self: self.world.processes)
    @rule(which=NUMBERS)
    def one_goes_on(self, which):
        self.world.run(self._process(which))

    @precondition(lambda self: self.world.processes)
    @rule(which=NUMBERS, kill=st.booleans())
    def end(self, which, kill):
        if kill:
            self.world.kill(self._process(which))
        else:
            self._process(which).is_stopping = True

    @rule(seconds=st.sampled_from([0.5, 2, LEASE + 1]))
    def time_goes_by(self, seconds):
        self.world.pass_time(seconds)

    @rule(
        numbers=st.lists(NUMBERS, min_size=1, max_size=4),
        at=st.integers(1, 25),
        steps=st.one_of(st.integers(1, 20), st.just(1000)),
    )
    def one_sleeps_past_its_lease_while_another_takes_over(self, numbers, at, steps):
        self.world.transact([save(number) for number in numbers])
        sleeper = self.world.start_relay()
        self.world.run(sleeper, at)
        self.world.pass_time(LEASE + 1)
        self.world.run(self.world.start_relay(), steps)
        self.world.run(sleeper)

    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=4))
    def one_sleeps_past_its_lease_while_it_settles_what_another_is_refused(self, numbers):
        self.world.mood = "well"
        self.world.transact([save(number) for number in numbers])
        sleeper = self.world.start_relay()
        self.world.run(sleeper, to="settling")
        self.world.pass_time(LEASE + 1)
        self.world.mood = "refuses"
        self.world.run(self.world.start_relay())
        self.world.run(sleeper)

    @precondition(lambda self: len(self.world.processes) < MOST)
    @rule(steps=st.integers(0, 1))
    def replay_while_a_purge_is_at_the_log(self, steps):
        self.world.pass_time(2)
        purging = self.world.start_operator(Purge(retention=1.0))
        self.world.run(purging, to="purging")
        self.world.run(purging, steps)
        replaying = self.world.start_operator(Replay(dead=False, to_queue=""))
        self.world.run(replaying, 60)
        self.world.run(purging)
        self.world.run(replaying)

    @rule(mood=st.sampled_from(["well", "refuses", *MOODS]))
    def rabbitmq_changes_its_mood(self, mood):
        self.world.mood = mood

    @precondition(lambda self: len(self.world.processes) < MOST)
    @rule(
        command=st.one_of(
            st.builds(Replay, dead=st.booleans(), to_queue=st.sampled_from([None, "", "one"])),
            st.builds(Purge, retention=st.sampled_from([1.0, 10.0])),
            st.builds(Bury, NUMBERS),
        ),
        steps=st.sampled_from([0, 5, 1000]),
    )
    def operator(self, command, steps):
        self.world.run(self.world.start_operator(command), steps)

    def _process(self, which: int) -> Process:
        return self.world.processes[which % len(self.world.processes)]

    def teardown(self):
        try:
            self.world.finish()
        finally:
            self.world.end()


@pytest.fixture
def on_stage(monkeypatch, transactional_db, settings, make_celery_app):
    make_celery_app(task_always_eager=True)  # in which a commit sends its wake-up then and there
    settings.EVENTS_SOURCING = {
        "BATCH_SIZE": 2,
        "LEASE": LEASE,
        "MAX_ATTEMPTS": 2,
        "RETRY_BACKOFF": 1,
        "RETRY_BACKOFF_MAX": 2,
    }
    monkeypatch.setattr(logging.getLogger("django_events_sourcing"), "disabled", True)
    stage.set(monkeypatch)
    yield
    set_clock(time.time)


HOW = settings(
    database=None,
    deadline=None,
    max_examples=40,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # to shrink an example takes minutes
    report_multiple_bugs=False,
    print_blob=False,
)


def check(number: int, how: settings) -> None:
    """Try the examples that a seed leads to, the same each time: a failure is a failure of what was changed."""
    run_state_machine_as_test(seed(number)(type("Seeded", (Machine,), {})), settings=how)


def test_library__whatever_comes_in_whatever_order__keeps_the_promise(on_stage):
    """Nothing lost, made up, in disorder or left behind; nothing replayed out of order, or tried before its time."""
    check(1, HOW)


@pytest.mark.soak
def test_library__in_orders_that_nobody_has_tried__keeps_the_promise(on_stage):
    """Other examples each time; one that breaks the promise is made as short as may be."""
    run_state_machine_as_test(
        Machine, settings=settings(HOW, max_examples=1000, phases=[Phase.generate, Phase.shrink], print_blob=True)
    )


# The library broken on purpose.


def no_fence(patch):
    """Whoever wants to count a refusal, bury or replay does so, whether or not his lease has run out."""
    for module in ("outcomes", "replaying"):
        patch.setattr(f"django_events_sourcing.outbox.queries.{module}.fence", lambda *_args: True)


def no_second_look(patch):
    """A relay ends after one turn."""

    def run(self, partitions=()):
        seen = queries.look(self._using, dead_blocks=False)
        self._leases.take(self._share(seen, is_behind=False))
        self._settler.failures = {state.number: state.failures for state in seen}
        self._turn()
        self._leases.release()
        return self.report

    patch.setattr(Relay, "run", run)


def id_above_the_last(patch):
    """A relay reads on from the highest id that was read before it."""
    read = queries.read
    last: dict[int, int] = {}

    def read_on(using, current, after, *limits):
        rows = read(
            using, current, {number: max(where, last.get(number, 0)) for number, where in after.items()}, *limits
        )
        for row, _ in rows:
            last[row.partition] = max(row.sequence, last.get(row.partition, 0))
        return rows

    start = queries.start_pass
    patch.setattr(queries, "start_pass", lambda *args, **options: replace(start(*args, **options), first=None))
    patch.setattr(queries, "read", read_on)


def pass_without_bound(patch):
    """A pass goes on to what is committed after it began."""
    start = queries.start_pass
    patch.setattr(queries, "start_pass", lambda *args, **options: replace(start(*args, **options), top=2**62))


def refused_object_goes_on(patch):
    """A refused event holds back nothing."""

    def refuse(self, row, error):
        waiting = self._by_object[row.object]
        self.outcome.refused.append((row, waiting.popleft()[1], error))
        self._ready.extend([row.object] if waiting else [])

    patch.setattr(Batch, "refuse", refuse)


def purge_of_all(patch):
    """The purge does not ask what is pending."""
    patch.setattr("django_events_sourcing.outbox.queries.purging.pending_among", lambda *_args: set())


def settled_with_one_look(patch):
    """Whoever settles asks only once, before, whether there may be failures."""
    settle = queries.settle

    def settle_at_once(using, owner, published, may_have_failures=lambda: True):
        may_have = may_have_failures()
        settle(using, owner, published, lambda: may_have)

    patch.setattr(queries, "settle", settle_at_once)


def log_without_lock(patch):
    """A purge and a replay may be at the log at the same time."""
    for module in ("purging", "replaying"):
        patch.setattr(f"django_events_sourcing.outbox.queries.{module}.lock_log", lambda _using: None)


def reservation_kept(patch):
    """An operator doesn't give back the partitions that he reserved."""
    patch.setattr(queries, "unreserve", lambda *_args: None)


def trouble_remembered(patch):
    """A partition that events are published from again is not taken for well."""
    patch.setattr(queries, "recovered", lambda *_args: None)


def settled_when_sent(patch):
    """An event is taken for published before its confirm has come."""
    following = Batch.next

    def next_and_confirm(self):
        found = following(self)
        if found:
            self.outcome.confirmed.append(found[0])
        return found

    patch.setattr(Batch, "next", next_and_confirm)


# What is found, by seeds that lead there soon; with others it only takes longer.
BROKEN = {
    no_fence: (11, "was tried again before its time"),
    no_second_look: (12, "nobody looks before the sweep"),
    id_above_the_last: (1, "nobody looks before the sweep"),
    pass_without_bound: (9, "arrived before"),
    refused_object_goes_on: (1, "arrived before"),
    purge_of_all: (1, "were purged, and are pending"),
    settled_with_one_look: (1, "were refused, and are not pending"),
    log_without_lock: (1, "were purged, and are pending"),
    reservation_kept: (2, "nobody looks before the sweep"),
    trouble_remembered: (1, "remember trouble"),
    settled_when_sent: (1, "arrived before"),
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_broken_library__under_the_same_model__is_caught(on_stage, monkeypatch, broken):
    """The test of the test."""
    broken(monkeypatch)
    first, found = BROKEN[broken]
    with pytest.raises(AssertionError, match=found):
        for number in range(first, first + 40):
            check(number, settings(HOW, max_examples=12))
