"""Going through the log page by page: no statement reads more of a table than it was told to, and none counts it."""

# Note [Looking within bounds]
# The log has no index but those of its ids: each more would cost every save. So what is looked for by anything else is
# looked for by a walk along the ids, a portion at a time, which ends when the page is full or the time is up, and says
# how far it got; the next page goes on from there. Times are near enough in the order of the ids for a walk between two
# of them to begin and to end at the right place.

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from time import monotonic
from typing import Any

from django.db.models import Q, QuerySet

from django_events_sourcing.models import Failure, LogEntry, QueueEntry
from django_events_sourcing.operating.listing import ListedEvent, describe
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.clock import from_microseconds, to_microseconds
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.outbox.queries import Selection
from django_events_sourcing.outbox.queries.common import FAILED, pending_among, span
from django_events_sourcing.outbox.tables import raises_missing_tables
from django_events_sourcing.types import Alias, SequenceNumber

__all__ = ["Page", "browse", "gather"]

# How many events of the log are looked at by one statement; of the queue and of the failures, which are looked up in
# the log one by one, it is a part of that.
_PORTION = 5000
_LOOKED_UP = 500

# How far the clocks of those who write events may be apart.
_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Page:
    """A part of what was looked for.

    Attributes:
        events: The events, without their bodies.
        looked_at: How many events were looked at for it.
        reached: The time of the last of them; None if there was none.
        after: What the next page is asked for with; None if there is none.
        is_full: Whether there are as many events as were asked for; if not, and there is a next page, the time was up.
    """

    events: list[ListedEvent]
    looked_at: int
    reached: datetime | None
    after: SequenceNumber | None
    is_full: bool


def browse(
    using: Alias,
    selection: Selection,
    *,
    after: SequenceNumber | None = None,
    limit: int = 50,
    within: float = 0.1,
) -> Page:
    """The events that meet all that is given: the latest first, but of what is pending or refused the first.

    Args:
        using: Alias of the database.
        selection: Which are meant.
        after: As the page before has it; None for the first page.
        limit: How many events at most.
        within: After how many seconds it looks no further. It looks at a few thousand events in any case.

    Raises:
        ConfigurationError: The database has no outbox.
        django.db.Error: It can't be asked.
    """
    ends = monotonic() + within
    found: list[SequenceNumber] = []
    looked_at = 0
    reached = after
    with raises_missing_tables(using):
        walk = _Walk(using, selection)
        is_more = False
        for portion in walk.portions(after):
            looked_at += portion.count
            room = limit + 1 - len(found)
            found += islice(portion.found, room)
            reached, is_more = portion.last, portion.is_more
            if len(found) > limit or monotonic() > ends:
                break
        is_full = len(found) > limit
        if is_full:
            found = found[:limit]
            reached = found[-1]
        return Page(
            events=walk.load(found),
            looked_at=looked_at,
            reached=walk.time_of(reached),
            after=reached if is_more or is_full else None,
            is_full=is_full,
        )


def gather(
    using: Alias, selection: Selection, *, limit: int, within: float, until: SequenceNumber | None = None
) -> list[ListedEvent] | None:
    """All the events that meet what is given, in the order of ``browse``; None if there are more, or the time was up.

    Args:
        using: Alias of the database.
        selection: Which are meant.
        limit: How many events at most.
        within: After how many seconds it gives up.
        until: The last id of the log that is looked at, None for its last.

    Raises:
        ConfigurationError: The database has no outbox.
        django.db.Error: It can't be asked.
    """
    ends = monotonic() + within
    found: list[ListedEvent] = []
    after: SequenceNumber | None = None
    while len(found) <= limit and (left := ends - monotonic()) > 0:
        page = browse(using, selection, after=after, limit=limit + 1, within=left)
        found += [event for event in page.events if until is None or event.sequence <= until]
        after = page.after
        if after is None:
            return found if len(found) <= limit else None
    return None


@dataclass(frozen=True)
class _Portion:
    """Some of the events in the order of the walk: how many were looked at, up to which one, and which are meant."""

    count: int
    last: SequenceNumber
    is_more: bool
    found: list[SequenceNumber]


class _Walk:
    """Along the ids, from the last to the first, or the other way."""

    def __init__(self, using: Alias, selection: Selection) -> None:
        self._using = using
        self._selection = selection
        self._is_upwards = selection.state in {"pending", "refused"}
        self._is_along_log = selection.state in {None, "published"}
        self._size = _PORTION if self._is_along_log else _LOOKED_UP

    def portions(self, after: SequenceNumber | None) -> Iterator[_Portion]:
        """Those that follow ``after``, or all."""
        criteria = queries.criteria(self._selection)
        lowest, highest = self._bounds()
        if after is not None:
            lowest, highest = (
                (max(lowest, after + 1), highest) if self._is_upwards else (lowest, min(highest, after - 1))
            )
        while lowest <= highest:
            among = Q(sequence__gte=lowest, sequence__lte=highest)
            candidates = self._candidates(among)
            if not candidates:
                return
            last = candidates[-1]
            is_more = len(candidates) == self._size
            yield _Portion(len(candidates), last, is_more, self._meant(candidates, criteria))
            if not is_more:
                return
            if self._is_upwards:
                lowest = last + 1
            else:
                highest = last - 1

    def load(self, sequences: list[SequenceNumber]) -> list[ListedEvent]:
        """The events, in that order."""
        rows = self._log.defer("body", "headers").in_bulk(sequences)
        # One that was purged meanwhile is no more; and MySQL's comparison may have taken no notice of case.
        found = [rows[sequence] for sequence in sequences if sequence in rows]
        return describe(self._using, list(filter(self._selection.has, found)))

    def time_of(self, sequence: SequenceNumber | None) -> datetime | None:
        """When it happened, as far as that is known."""
        if sequence is None:
            return None
        times = self._log.filter(sequence__gte=sequence).order_by("sequence").values_list("time", flat=True)
        return next(map(from_microseconds, times[:1]), None)

    @property
    def _log(self) -> QuerySet[LogEntry]:
        return LogEntry.objects.using(self._using)

    def _candidates(self, among: Q) -> list[SequenceNumber]:
        if self._selection.state == "pending":
            return self._first_of_queue(among)
        order = "sequence" if self._is_upwards else "-sequence"
        rows: QuerySet[Any] = self._log
        if condition := FAILED.get(self._selection.state or ""):
            rows = Failure.objects.using(self._using).filter(condition)
        return list(rows.filter(among).order_by(order).values_list("sequence", flat=True)[: self._size])

    def _first_of_queue(self, among: Q) -> list[SequenceNumber]:
        """The first of all partitions: each has an order of its own, by the index that begins with it."""
        queue = QueueEntry.objects.using(self._using).filter(among).order_by("sequence")
        found: list[SequenceNumber] = []
        for number in range(PARTITIONS):
            found += queue.filter(partition=number).values_list("sequence", flat=True)[: self._size]
        return sorted(found)[: self._size]

    def _meant(self, candidates: list[SequenceNumber], criteria: Q) -> list[SequenceNumber]:
        left_out: Collection[SequenceNumber] = ()
        if self._selection.state == "published":
            given_up = Failure.objects.using(self._using).filter(span(candidates), FAILED["dead"] | FAILED["buried"])
            left_out = pending_among(self._using, candidates) | set(given_up.values_list("sequence", flat=True))
        if criteria:
            these = span(candidates) if self._is_along_log else Q(sequence__in=candidates)
            matching = set(self._log.filter(these, criteria).values_list("sequence", flat=True))
            candidates = [sequence for sequence in candidates if sequence in matching]
        return [sequence for sequence in candidates if sequence not in left_out] if left_out else candidates

    def _bounds(self) -> tuple[SequenceNumber, SequenceNumber]:
        """The first and the last id of the log that may be meant; none are if they are the other way round."""
        log = self._log.filter(event_id__in=self._selection.ids) if self._selection.ids else self._log
        ids = log.values_list("sequence", flat=True)
        first, last = ids.order_by("sequence").first(), ids.order_by("-sequence").first()
        if first is None or last is None:
            return 1, 0
        since, until = self._selection.since, self._selection.until
        lowest = first if since is None else self._first_since(since - _SKEW, first, last)
        highest = last if until is None else self._first_since(until + _SKEW, first, last)
        return lowest, highest

    def _first_since(self, moment: datetime, first: SequenceNumber, last: SequenceNumber) -> SequenceNumber:
        """The first id whose event is of that moment or later; one after the last if there is none."""
        wanted = to_microseconds(moment)
        low, high = first, last + 1
        while low < high:
            middle = (low + high) // 2
            following = self._log.filter(sequence__gte=middle, sequence__lt=high).order_by("sequence")
            found = following.values_list("sequence", "time").first()
            if found is None or found[1] >= wanted:
                high = middle
            else:
                low = found[0] + 1
        return low
