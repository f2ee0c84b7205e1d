"""Publishing events of the log once more."""

from collections.abc import Collection, Iterator
from time import monotonic, sleep
from uuid import UUID

from django_events_sourcing.exceptions import OperationError
from django_events_sourcing.models import LogEntry
from django_events_sourcing.operating.operations import reserved
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.queries import Replayable, Selection
from django_events_sourcing.outbox.tables import raises_missing_tables
from django_events_sourcing.texts import counted
from django_events_sourcing.types import Alias

__all__ = ["Replayable", "Selection", "preview", "put_back", "replay", "unknown"]

# How many events of the log are looked at at once.
_PAGE = 5000

# With a rate, how much time one portion is for, in seconds.
_PORTION = 0.5


def preview(using: Alias, selection: Selection, first: int = 0) -> tuple[int, list[Replayable]]:
    """How many events ``replay`` would publish, and the first of them.

    Args:
        using: Alias of the database.
        selection: Which are meant.
        first: How many to return at most.

    Raises:
        ConfigurationError: The database has no outbox.
        django.db.Error: It can't be asked.
    """
    count = 0
    shown: list[Replayable] = []
    with raises_missing_tables(using):
        for page in queries.replayable(using, selection, _PAGE):
            count += len(page)
            shown += page[: max(0, first - len(shown))]
    return count, shown


def unknown(using: Alias, ids: Collection[UUID]) -> set[UUID]:
    """Those of the ids that the log of database ``using`` has no event with.

    Raises:
        ConfigurationError: The database has no outbox.
        django.db.Error: It can't be asked.
    """
    with raises_missing_tables(using):
        return set(ids) - set(LogEntry.objects.using(using).filter(event_id__in=ids).values_list("event_id", flat=True))


def replay(
    using: Alias,
    selection: Selection,
    *,
    to_queue: str | None = None,
    rate: float | None = None,
) -> Iterator[int]:
    """Put published and dead events back into the queue, for the relay to publish them with ``nameko.event_replayed``.

    Each object's are in order among themselves; what is pending already is left alone. It is done portion by portion as
    the result is iterated over: ``sum(replay(…))`` replays all.

    Args:
        using: Alias of the database.
        selection: Which are meant.
        to_queue: The queue of one consumer, which alone gets them; None for all that are bound for them.
        rate: How many in a second at most; None for as fast as it goes.

    Yields:
        How many were just put back.

    Raises:
        ConfigurationError: The database has no outbox, or a setting is wrong.
        OperationError: A partition can't be had; what was put back until then is.
        django.db.Error: The database is in trouble; so it is then.
    """
    replayed = 0
    size = _PAGE if rate is None else max(1, min(_PAGE, int(rate * _PORTION)))
    with raises_missing_tables(using):
        for page in queries.replayable(using, selection, _PAGE):
            for start in range(0, len(page), size):
                begun = monotonic()
                portion = page[start : start + size]
                try:
                    count = put_back(using, portion, to_queue)
                except OperationError as exc:
                    if not replayed:
                        raise
                    raise OperationError(
                        f"{exc} Replayed so far: {counted(replayed, 'event')}; the same command once more takes those, "
                        "too."
                    ) from exc
                replayed += count
                yield count
                if rate is not None:
                    sleep(max(0.0, len(portion) / rate - (monotonic() - begun)))


def put_back(using: Alias, events: Collection[Replayable], to_queue: str | None = None) -> int:
    """Put these events back into the queue; returns how many that were: what is pending already is left out.

    Args:
        using: Alias of the database.
        events: The events; a few thousand at most.
        to_queue: As of ``replay``.

    Raises:
        OperationError: A partition can't be had; nothing was put back.
        django.db.Error: The database is in trouble; the same.
    """
    with reserved(using, {event.partition for event in events}) as owner:
        count = queries.requeue(using, owner, events, to_queue)
    if count is None:
        raise OperationError(f"The lease on a partition of database {using!r} ran out.")
    return count
