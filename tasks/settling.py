"""Writing down what became of events: published, refused, or held up by trouble that is not their own."""

import logging
from collections.abc import Callable, Collection
from functools import partial

from django_events_sourcing.conf import Settings
from django_events_sourcing.events import Event
from django_events_sourcing.exceptions import NoConnectionLeft, PublishError
from django_events_sourcing.logs import Numbers, log_once
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.leases import Leases
from django_events_sourcing.outbox.queries import Queued, RefusalPolicy, UnreadableError
from django_events_sourcing.tasks.batch import Outcome
from django_events_sourcing.tasks.circuit import Circuit
from django_events_sourcing.tasks.report import Report
from django_events_sourcing.tasks.retry import delay
from django_events_sourcing.tasks.tallies import Count, Duration, worker_tallies
from django_events_sourcing.tasks.unrouted import tell_of_unrouted
from django_events_sourcing.texts import counted
from django_events_sourcing.types import Alias, PartitionNumber

__all__ = ["Settler"]

logger = logging.getLogger(__name__)

# Of an event that no attempt could get published.
_DEAD_AT_ONCE = RefusalPolicy(1, lambda _attempts: 0.0)

# Of an event that is dead.
_WHAT_NEXT = " (It is kept: `manage.py events list --dead` says what to do next.)"


class Settler:
    """Of one relay.

    Args:
        using: Alias of the database.
        settings: All of them.
        leases: The relay's.
        circuit: Learns how RabbitMQ is.
        on_published: As of ``Relay``.
        stands_back: As of ``Relay``.

    Attributes:
        report: What the relay did.
        failures: How often in a row each partition met with trouble, as far as is known.
    """

    def __init__(  # noqa: PLR0913
        self,
        using: Alias,
        settings: Settings,
        leases: Leases,
        *,
        circuit: Circuit,
        on_published: Callable[[int], None],
        stands_back: Callable[[PublishError], bool],
    ) -> None:
        self.report = Report()
        self.failures: dict[PartitionNumber, int] = {}
        self._using = using
        self._settings = settings
        self._leases = leases
        self._circuit = circuit
        self._on_published = on_published
        self._stands_back = stands_back
        self._published_before = 0
        self._policy = RefusalPolicy(settings.max_attempts, lambda attempts: delay(attempts, settings))

    def settle(self, outcome: Outcome, *, any_refused: bool) -> None:
        """Write down what became of a batch.

        Args:
            outcome: That.
            any_refused: Whether any of its events may have been refused before.
        """
        self.settle_confirmed(outcome, any_refused=any_refused)
        for row, event, refusal in outcome.refused:
            self._count_refusal(row, event, refusal, self._policy)
        if outcome.given_up:
            self._give_up(outcome, outcome.given_up)
        if outcome.troubled:
            self._back_off(outcome)

    def settle_confirmed(self, outcome: Outcome, *, any_refused: bool) -> None:
        """Write down, of what became of a batch, which events are published; they are taken out of ``outcome``."""
        if not outcome.confirmed:
            return
        partitions = {row.partition for row in outcome.confirmed}
        queries.settle(
            self._using,
            self._leases.owner,
            outcome.confirmed,
            lambda: any_refused or not all(map(self._leases.holds, partitions)),
        )
        logger.debug(
            "Relay %s has settled events %s of database %r.",
            self._leases.owner,
            Numbers([row.sequence for row in outcome.confirmed]),
            self._using,
        )
        self.report.published += len(outcome.confirmed)
        self._on_published(len(outcome.confirmed))
        self._circuit.succeeded(partial(self._waiting, len(outcome.confirmed)))
        outcome.confirmed.clear()
        worker_tallies.count(Count.PUBLISHED, outcome.published)
        outcome.published.clear()
        worker_tallies.measure(Duration.DELAY, self._using, outcome.delays)
        outcome.delays.clear()
        if outcome.unrouted:
            self.report.unrouted += outcome.unrouted.total()
            worker_tallies.count(Count.UNROUTED, outcome.unrouted)
            tell_of_unrouted(outcome.unrouted)
            outcome.unrouted.clear()
        well = partitions - outcome.troubled.keys()
        if recovered := {number for number in well if self.failures.get(number)}:
            # Where some get through and some don't, to try all of the others at once would be to try in a loop.
            rest_in = delay(1, self._settings) if self.report.trouble else None
            queries.recovered(self._using, self._leases.owner, recovered, rest_in)
            logger.debug("Partitions %s of database %r have recovered.", Numbers(recovered), self._using)
            self.failures.update(dict.fromkeys(recovered, 0))

    def drop(self, gone: Collection[Queued]) -> None:
        """Have the queue forget events that the log lacks."""
        logger.error(
            "The log of database %r lacks events %s, which were pending: somebody deleted them.",
            self._using,
            Numbers([row.sequence for row in gone]),
            extra={"database": self._using, "partitions": sorted({row.partition for row in gone})},
        )
        queries.settle(self._using, self._leases.owner, gone)

    def give_up(self, row: Queued, error: UnreadableError) -> None:
        """Have an event be dead that can't be read."""
        self._count_refusal(row, None, error, _DEAD_AT_ONCE)

    def _count_refusal(self, row: Queued, event: Event | None, why: Exception, policy: RefusalPolicy) -> None:
        refusal = queries.refuse(self._using, self._leases.owner, row, str(why), policy)
        if refusal is None:
            self._leases.renew()
            return
        self.report.refused += 1
        self.report.dead += refusal.is_dead
        worker_tallies.count_one(Count.REFUSED, event)
        if refusal.is_dead:
            worker_tallies.count_one(Count.DEAD, event)
        logger.log(
            logging.ERROR if refusal.is_dead else logging.WARNING,
            "Event %s %s, attempt %d of %d. %s%s",
            event.label if event else f"{row.sequence} of the log",
            "is dead" if refusal.is_dead else "was refused",
            refusal.attempts,
            policy.max_attempts,
            why,
            _WHAT_NEXT if refusal.is_dead else "",
            extra={
                **(event.log_fields if event else {}),
                "database": self._using,
                "partitions": [row.partition],
            },
        )

    def _give_up(self, outcome: Outcome, trouble: PublishError) -> None:
        self.report.is_unavailable, self.report.trouble = True, trouble
        lacks_connection = isinstance(trouble, NoConnectionLeft)
        if lacks_connection:
            outcome.troubled.clear()  # those who have one shall not wait
        if not (lacks_connection and self._stands_back(trouble)):
            self.report.retry_in = self._circuit.failed(trouble, self._settings, self._waiting)

    def _back_off(self, outcome: Outcome) -> None:
        """Have partitions wait; where others get through, no longer than after their first trouble."""
        anew = self.report.published > self._published_before
        self._published_before = self.report.published
        for number, trouble in outcome.troubled.items():
            failures = self.failures[number] = 1 if anew else self.failures.get(number, 0) + 1
            seconds = delay(failures, self._settings)
            if trouble is outcome.given_up and self.report.retry_in is not None:
                seconds = self.report.retry_in
            if not queries.back_off(self._using, self._leases.owner, number, seconds, str(trouble), anew=anew):
                self._leases.renew()
        last = self.report.trouble = list(outcome.troubled.values())[-1]
        if last is outcome.given_up:  # the circuit has logged it
            return
        problem = (
            f"Partitions {Numbers(outcome.troubled)} of database {self._using!r} wait, "
            f"{counted(max(self.failures[number] for number in outcome.troubled), 'time')} in a row by now. {last}"
        )
        fields = {"database": self._using, "partitions": sorted(outcome.troubled)}
        log_once(logger, logging.WARNING, (self._using, str(last)), problem, extra=fields)

    def _waiting(self, until_now: int = 0) -> str:
        pending = queries.count_pending(self._using) + until_now
        return f"{counted(pending, 'event', ('waits', 'wait'))} in database {self._using!r}; "
