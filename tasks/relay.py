"""The relay: leases partitions of the outbox, publishes what is due in them, and settles what was confirmed."""

import logging
import random
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from time import monotonic

from django_events_sourcing.conf import Settings
from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import PublishError
from django_events_sourcing.logs import Numbers, log_once
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.leases import Leases
from django_events_sourcing.outbox.partitioning import TURN, share_of_partitions
from django_events_sourcing.outbox.queries import PartitionState, Queued, UnreadableError
from django_events_sourcing.tasks.batch import Batch, Outcome
from django_events_sourcing.tasks.circuit import Circuit
from django_events_sourcing.tasks.pipeline import Pipeline
from django_events_sourcing.tasks.presence import presence
from django_events_sourcing.tasks.rate import PORTION, rate_limit
from django_events_sourcing.tasks.reading import Reading
from django_events_sourcing.tasks.report import Report
from django_events_sourcing.tasks.settling import Settler
from django_events_sourcing.tasks.tallies import Duration, worker_tallies
from django_events_sourcing.types import Alias, PartitionNumber

__all__ = ["Relay"]

logger = logging.getLogger(__name__)


class Relay:
    """Publishes what is due in one database.

    Args:
        using: Alias of the database.
        settings: All of them.
        circuit: Learns how RabbitMQ is; one of its own, if none is given. While it is open, one event goes first.
        stopping: Asked often; once it says yes, what is in flight is awaited, and the rest is left free.
        on_published: Called with the number of events that were just published.
        on_behind: Called once, when there is more than can be published within a turn.
        stands_back: Asked when RabbitMQ has no connection left for this process, with that error: whether others
            publish in its place.

    Raises:
        ConfigurationError: As ``Pipeline``.
    """

    def __init__(  # noqa: PLR0913
        self,
        using: Alias,
        settings: Settings,
        *,
        circuit: Circuit | None = None,
        stopping: Callable[[], bool] = lambda: False,
        on_published: Callable[[int], None] = lambda _count: None,
        on_behind: Callable[[], None] = lambda: None,
        stands_back: Callable[[PublishError], bool] = lambda _trouble: False,
    ) -> None:
        self._using = using
        self._settings = settings
        self._stopping = stopping
        self._on_behind = on_behind
        self._pipeline = Pipeline(settings)
        self._leases = Leases(using, settings.lease, presence.holder)
        self._circuit = circuit or Circuit()
        self._settler = Settler(
            using,
            settings,
            self._leases,
            circuit=self._circuit,
            on_published=on_published,
            stands_back=stands_back,
        )
        self._asked_for_help = False

    def __repr__(self) -> str:
        return f"<Relay of {self._using!r}: {self._leases!r}>"

    @property
    def report(self) -> Report:
        """What it did so far."""
        return self._settler.report

    def run(self, partitions: Collection[PartitionNumber] = ()) -> Report:
        """Publish until nothing is due that is free to be published, or RabbitMQ takes nothing.

        Args:
            partitions: Those that are known to have new events. If they are free and well, they come first, before any
                other is looked at.

        Raises:
            django.db.Error: The database is in trouble; leases that could not be given back run out.
        """
        is_behind = False
        if partitions and not self._is_over():
            self._leases.take(partitions, only_well=True)
            self._settler.failures = {}
            try:
                is_behind = self._turn()
            finally:
                self._leases.release()
        while not self._is_over():
            # Also the look that must follow the release: what was committed meanwhile, its wake-up found taken.
            seen = queries.look(self._using, dead_blocks=self._settings.dead_blocks_object)
            self.report.retry_in = min((state.retry_in for state in seen if state.retry_in is not None), default=None)
            self._leases.take(self._share(seen, is_behind=is_behind))
            if not self._leases.numbers:
                break
            self._settler.failures = {state.number: state.failures for state in seen}
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
        logger.debug("Relay %s of database %r ends: %r.", self._leases.owner, self._using, self.report)
        return self.report

    def _report_turn_in_vain(self, seconds: float) -> None:
        if seconds < TURN:  # others were quicker
            return
        self.report.got_nothing_done = (
            f"nothing was published in {seconds:.1f} s, though events are due: the database answered so late that "
            "the leases were over. Look at what holds it up, or set a longer EVENTS_SOURCING['LEASE']."
        )
        problem = f"Database {self._using!r}: {self.report.got_nothing_done}"
        about = (self._using, "nothing done")
        log_once(logger, logging.WARNING, about, problem, extra={"database": self._using})

    def _is_stopped(self) -> bool:
        self.report.is_stopped = self.report.is_stopped or self._stopping()
        return self.report.is_stopped

    def _is_over(self) -> bool:
        return self.report.is_unavailable or self._is_stopped()

    def _share(self, seen: list[PartitionState], *, is_behind: bool) -> list[PartitionNumber]:
        free = [state.number for state in seen if state.is_due and state.owner is None]
        others = {state.owner for state in seen} - {None, self._leases.owner}
        share = share_of_partitions(len(others), is_behind=is_behind)
        return random.sample(free, min(share, len(free)))

    def _turn(self) -> bool:
        """Pass over the leased partitions until they are empty; True if the turn was over before that."""
        began = monotonic()
        try:
            return self._pass_until(began + TURN)
        finally:
            worker_tallies.measure(Duration.TURN, self._using, [monotonic() - began])

    def _pass_until(self, ends: float) -> bool:
        while self._leases.numbers and not self._is_over():
            if monotonic() >= ends:
                return True
            if self._pass(ends):
                break
        return False

    def _pass(self, ends: float) -> bool:
        """Read and publish once from the start; True if that was so little that nothing new can have come."""
        numbers = self._leases.numbers
        dead_blocks = self._settings.dead_blocks_object
        size, most = self._batch_size(), self._settings.batch_bytes
        reading = Reading(self._using, numbers, size, most, dead_blocks=dead_blocks, ends=ends)
        logger.debug("Relay %s begins a pass: %r.", self._leases.owner, reading)
        before = replace(self.report)
        try:
            while self._goes_on(reading):
                self._leases.keep()
                self._publish(reading)
        finally:
            if published := self.report.published - before.published:
                unrouted = self.report.unrouted - before.unrouted
                queries.count_published(self._using, reading.began, min(numbers), published, unrouted)
        return reading.was_all_at_once

    def _goes_on(self, reading: Reading) -> bool:
        return reading.goes_on and not self._is_over()

    def _batch_size(self) -> int:
        if self._settings.max_rate is None:
            return self._settings.batch_size
        return max(1, min(self._settings.batch_size, int(self._settings.max_rate * PORTION)))

    def _publish(self, reading: Reading) -> None:
        """Publish a portion, and the next ones as long as confirms are awaited."""
        batch = Batch(
            self._read(reading),
            may_publish=lambda row: self._leases.holds(row.partition) and not self._is_stopped(),
            waiting=reading.waiting,
            while_awaited=partial(self._tend, reading),
        )
        try:
            self._pipeline.publish(batch, one_by_one=int(self._circuit.is_open))
        finally:
            self._settler.settle(batch.outcome, any_refused=reading.any_refused)
            self._leave_out(batch.outcome, reading)

    def _tend(self, reading: Reading, batch: Batch) -> None:
        """What there is to do while confirms are awaited."""
        self._leases.keep()
        size = self._batch_size()
        if len(batch.outcome.confirmed) >= size:
            self._settler.settle_confirmed(batch.outcome, any_refused=reading.any_refused)
        # What is read while RabbitMQ has something to do costs no time. A bounded rate is waited for with nothing in
        # flight.
        is_low = batch.left <= size // 2 and batch.bytes_left <= self._settings.batch_bytes // 2
        if self._settings.max_rate is None and is_low:
            self._leave_out(batch.outcome, reading)
            if self._goes_on(reading):
                batch.add(self._read(reading))

    def _read(self, reading: Reading) -> list[tuple[Queued, Event]]:
        """The next events that can be published."""
        portion = reading.next()
        sequences = Numbers([row.sequence for row, _ in portion])
        logger.debug("Relay %s has read events %s: %r.", self._leases.owner, sequences, reading)
        if portion:
            self._wait_for_the_rate(len(portion))
        if gone := [row for row, event in portion if event is None]:
            self._settler.drop(gone)
        for row, event in portion:
            if isinstance(event, UnreadableError):
                reading.waiting.add(row.object)
                self._settler.give_up(row, event)
        self._leases.keep()  # it may have taken long
        return [(row, event) for row, event in portion if isinstance(event, Event)]

    def _wait_for_the_rate(self, count: int) -> None:
        """Until so many events may be published; where it is asked to stop meanwhile, the batch publishes nothing."""
        if self._settings.max_rate is not None:
            rate_limit.wait(count, self._settings.max_rate, self._may_wait)

    def _may_wait(self) -> bool:
        self._leases.keep()
        return not self._is_stopped()

    def _leave_out(self, outcome: Outcome, reading: Reading) -> None:
        """Read no further in what is no longer held, or in trouble."""
        reading.restrict_to(self._leases.numbers - outcome.troubled.keys())
