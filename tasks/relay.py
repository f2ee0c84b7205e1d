"""The relay: claims partitions of the outbox, publishes what is pending in them, and settles what was confirmed."""

import logging
import math
import random
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from time import monotonic

from django_events_sourcing.conf import Settings
from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import PublishError
from django_events_sourcing.logs import log_once
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.leases import Leases
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.outbox.queries import PartitionState, Pass, Queued, RefusalPolicy, UnreadableError
from django_events_sourcing.tasks.batch import Batch, Outcome
from django_events_sourcing.tasks.pipeline import Pipeline
from django_events_sourcing.tasks.rate import PORTION, rate_limit
from django_events_sourcing.tasks.retry import delay

__all__ = ["Relay", "Report"]

logger = logging.getLogger(__name__)

# Of an event that no attempt could get published.
_DEAD_AT_ONCE = RefusalPolicy(1, lambda _attempts: 0.0)

# Note [Sharing the work]
# A relay takes what is due and free, but not the share of the others who are at work. When there is more than it could
# publish within a turn, it leaves one share more, for a relay that comes to help: with every turn all partitions may
# change hands.

#: How long a relay holds on to partitions at a time, in seconds.
TURN = 1.0


@dataclass
class Report:
    """What a relay did.

    Attributes:
        published: How many events were confirmed.
        refused: How many attempts at single events were counted.
        dead: How many events are dead by them.
        trouble: The last trouble with RabbitMQ, None if there was none.
        is_stopped: Whether it was asked to stop before nothing was due any more.
        got_nothing_done: Why it gave up on events that are due, without trouble with RabbitMQ; empty if it didn't.
    """

    published: int = 0
    refused: int = 0
    dead: int = 0
    trouble: PublishError | None = None
    is_stopped: bool = False
    got_nothing_done: str = ""


@dataclass
class _Reading:
    """How far a pass has read.

    Attributes:
        current: The pass.
        after: For each partition that has more, the last id that was read.
        sitting_out: Hashes of the objects that wait until the pass is over.
        ends: When to read no more.
        portions: How often was read.
    """

    current: Pass
    after: dict[int, int]
    sitting_out: set[int]
    ends: float
    portions: int = 0


class Relay:
    """Publishes what is due in one database.

    Args:
        using: Alias of the database.
        settings: All of them.
        stopping: Asked often; once it says yes, what is in flight is awaited, and the rest is left free.
        on_published: Told how many events were just published.
        on_behind: Called once, when there is more than can be published within a turn.

    Raises:
        ConfigurationError: As ``Pipeline``.
    """

    def __init__(
        self,
        using: str,
        settings: Settings,
        *,
        stopping: Callable[[], bool] = lambda: False,
        on_published: Callable[[int], None] = lambda _count: None,
        on_behind: Callable[[], None] = lambda: None,
    ) -> None:
        self.report = Report()
        self._using = using
        self._settings = settings
        self._stopping = stopping
        self._on_published = on_published
        self._on_behind = on_behind
        self._pipeline = Pipeline(settings)
        self._policy = RefusalPolicy(settings.max_attempts, lambda attempts: delay(attempts, settings))
        self._leases = Leases(using, settings.lease)
        self._failures: dict[int, int] = {}
        self._asked_for_help = False

    def run(self, partitions: Collection[int] = ()) -> Report:
        """Publish until nothing is due that is free to be published.

        Args:
            partitions: Those that are known to have new events. If they are free and well, they come first, before any
                other is looked at.

        Raises:
            django.db.Error: The database is in trouble; leases that could not be given back run out.
        """
        is_behind = False
        if partitions and not self._is_stopped():
            self._leases.take(partitions, only_well=True)
            self._failures = {}
            try:
                is_behind = self._turn()
            finally:
                self._leases.release()
        while not self._is_stopped():
            # Also the look that must follow the release: what was committed meanwhile, its wake-up found taken.
            seen = queries.look(self._using, dead_blocks=self._settings.dead_blocks_object)
            self._leases.take(self._share(seen, is_behind=is_behind))
            if not self._leases.numbers:
                break
            self._failures = {state.number: state.failures for state in seen}
            before, began = replace(self.report), monotonic()
            try:
                is_behind = self._turn()
            finally:
                self._leases.release()
            if self.report == before:  # no turn may be in vain for ever, whatever the reason: the sweep looks again
                self._report_turn_in_vain(monotonic() - began)
                break
            if is_behind and not self._asked_for_help:
                self._asked_for_help = True
                self._on_behind()
        return self.report

    def _report_turn_in_vain(self, seconds: float) -> None:
        if seconds < TURN:  # others were quicker
            return
        self.report.got_nothing_done = (
            f"nothing was published in {seconds:.1f} s, though events are due: the database answered so late that "
            "the leases were over. Look at what holds it up, or set a longer EVENTS_SOURCING['LEASE']."
        )
        problem = f"Database {self._using!r}: {self.report.got_nothing_done}"
        log_once(logger, logging.WARNING, (self._using, "nothing done"), problem)

    def _is_stopped(self) -> bool:
        self.report.is_stopped = self.report.is_stopped or self._stopping()
        return self.report.is_stopped

    def _share(self, seen: list[PartitionState], *, is_behind: bool) -> list[int]:
        free = [state.number for state in seen if state.is_due and state.owner is None]
        others = {state.owner for state in seen} - {None, self._leases.owner}
        share = math.ceil(PARTITIONS / (len(others) + (2 if is_behind else 1)))
        return random.sample(free, min(share, len(free)))

    def _turn(self) -> bool:
        """Pass over the leased partitions until they are empty; True if the turn was over before that."""
        ends = monotonic() + TURN
        while self._leases.numbers and not self._is_stopped():
            if monotonic() >= ends:
                return True
            if self._pass(ends):
                break
        return False

    def _pass(self, ends: float) -> bool:
        """Read and publish once from the start; True if that was so little that nothing new can have come."""
        numbers = self._leases.numbers
        dead_blocks = self._settings.dead_blocks_object
        current = queries.start_pass(self._using, numbers, self._limit(numbers), dead_blocks=dead_blocks)
        reading = _Reading(current, dict.fromkeys(numbers, 0), set(current.waiting), ends)
        before = self.report.published
        try:
            while self._goes_on(reading):
                self._leases.keep()
                self._publish(reading)
        finally:
            if published := self.report.published - before:
                queries.count_published(self._using, current.now, min(numbers), published)
        return reading.portions <= 1 and not reading.after

    def _goes_on(self, reading: _Reading) -> bool:
        # What a pass reads first is published, however long it took to read.
        is_time = not reading.portions or monotonic() < reading.ends
        return bool(reading.after) and is_time and not self._is_stopped()

    def _batch_size(self) -> int:
        if self._settings.max_rate is None:
            return self._settings.batch_size
        return max(1, min(self._settings.batch_size, int(self._settings.max_rate * PORTION)))

    def _limit(self, partitions: Collection[int]) -> int:
        """How many rows of each to read at once."""
        return math.ceil(self._batch_size() / len(partitions))

    def _may_go_on(self) -> bool:
        self._leases.keep()
        return not self._is_stopped()

    def _read(self, reading: _Reading) -> list[tuple[Queued, Event]]:
        """The next portion of events."""
        limit = self._limit(reading.after)
        portion = reading.current.first if not reading.portions else None
        if portion is None:
            portion = queries.read(self._using, reading.current, reading.after, limit)
        reading.portions += 1
        counts = Counter(row.partition for row, _ in portion)
        last = {row.partition: row.sequence for row, _ in portion}
        reading.after = {number: last[number] for number in reading.after if counts[number] == limit}
        portion = [(row, event) for row, event in portion if row.object_hash not in reading.sitting_out]
        if portion and self._settings.max_rate is not None:
            # Where it is told to stop meanwhile, the batch publishes nothing.
            rate_limit.wait(len(portion), self._settings.max_rate, self._may_go_on)
        if gone := [row for row, event in portion if event is None]:
            logger.error(
                "The log of database %r lacks events %s, which were pending: somebody deleted them.",
                self._using,
                ", ".join(str(row.sequence) for row in gone),
            )
            queries.settle(self._using, self._leases.owner, gone)
        for row, event in portion:
            if isinstance(event, UnreadableError):
                reading.sitting_out.add(row.object_hash)
                self._count_refusal(row, f"{row.sequence} of the log", event, _DEAD_AT_ONCE)
        self._leases.keep()  # it may have taken long
        return [(row, event) for row, event in portion if isinstance(event, Event)]

    def _publish(self, reading: _Reading) -> None:
        """Publish a portion, and the next ones as long as confirms are awaited."""
        size = self._batch_size()

        def tend() -> None:
            self._leases.keep()
            if len(batch.outcome.confirmed) >= size:
                self._settle_confirmed(batch.outcome, reading)
            # What is read while RabbitMQ has something to do costs no time. A bounded rate is waited for with nothing
            # in flight.
            if self._settings.max_rate is None and batch.left <= size // 2:
                self._leave_out(batch.outcome, reading)
                if self._goes_on(reading):
                    batch.add(self._read(reading))

        batch = Batch(
            self._read(reading),
            may_publish=lambda row: self._leases.holds(row.partition) and not self._is_stopped(),
            sitting_out=reading.sitting_out,
            while_waiting=tend,
        )
        try:
            self._pipeline.publish(batch)
        finally:
            self._settle(batch.outcome, reading)
            self._leave_out(batch.outcome, reading)

    def _leave_out(self, outcome: Outcome, reading: _Reading) -> None:
        """Read no further in what is no longer held, or in trouble."""
        held = self._leases.numbers - outcome.troubled.keys()
        reading.after = {number: last for number, last in reading.after.items() if number in held}

    def _settle(self, outcome: Outcome, reading: _Reading) -> None:
        self._settle_confirmed(outcome, reading)
        for row, event, refusal in outcome.refused:
            self._count_refusal(row, event.label, refusal, self._policy)
        if outcome.troubled:
            self._back_off(outcome.troubled)

    def _settle_confirmed(self, outcome: Outcome, reading: _Reading) -> None:
        if not outcome.confirmed:
            return
        partitions = {row.partition for row in outcome.confirmed}
        queries.settle(
            self._using,
            self._leases.owner,
            outcome.confirmed,
            lambda: reading.current.any_refused or not all(map(self._leases.holds, partitions)),
        )
        self.report.published += len(outcome.confirmed)
        self._on_published(len(outcome.confirmed))
        outcome.confirmed.clear()
        well = partitions - outcome.troubled.keys()
        if recovered := {number for number in well if self._failures.get(number)}:
            queries.recovered(self._using, self._leases.owner, recovered)
            self._failures.update(dict.fromkeys(recovered, 0))

    def _count_refusal(self, row: Queued, label: str, why: Exception, policy: RefusalPolicy) -> None:
        counted = queries.refuse(self._using, self._leases.owner, row, str(why), policy)
        if counted is None:
            self._leases.renew()
            return
        self.report.refused += 1
        self.report.dead += counted.is_dead
        logger.log(
            logging.ERROR if counted.is_dead else logging.WARNING,
            "Event %s %s, attempt %d of %d. %s",
            label,
            "is dead" if counted.is_dead else "was refused",
            counted.attempts,
            policy.max_attempts,
            why,
        )

    def _back_off(self, troubled: dict[int, PublishError]) -> None:
        for number, trouble in troubled.items():
            failures = self._failures[number] = self._failures.get(number, 0) + 1
            seconds = delay(failures, self._settings)
            if not queries.back_off(self._using, self._leases.owner, number, seconds, str(trouble)):
                self._leases.renew()
        self.report.trouble = trouble
        logger.warning(
            "Partitions %s of database %r wait, %d times in a row by now. %s",
            ", ".join(map(str, sorted(troubled))),
            self._using,
            max(self._failures[number] for number in troubled),
            trouble,
        )
