"""What a status comes to, in a sentence or a few: for whoever is called at night."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TypeAlias

from django.utils import timezone

from django_events_sourcing.conf import get_settings
from django_events_sourcing.logs import Numbers
from django_events_sourcing.operating.status import PartitionStatus, Status
from django_events_sourcing.texts import by_and_why, counted

__all__ = ["duration", "in_short", "is_silent", "verdict"]

# After how many times SWEEP_INTERVAL a worker that has not looked is missed.
_MISSED = 3

# How long an attempt may take while RabbitMQ hangs, in seconds, before a worker looks again.
_ATTEMPT = 60.0

# After which part of its lease the holder is missed, who renews it at a third.
_SILENT = 0.5

# How long the waiting events may wait without a word about it, in times of SWEEP_INTERVAL.
_LATE = 3

# What is the matter, and what comes of it.
_Finding: TypeAlias = tuple[str, str]

_PLACE = re.compile(r"RabbitMQ at \S+, vhost '[^']*'")

# What an error comes to, by words of it; the first that fits.
_IN_SHORT = {
    "which blocks those who publish": "blocks those who publish",
    "ConnectionRefusedError": "refuses connections",
    "gaierror": "cannot be found",
    "no answer": "does not answer",
    "no confirm": "does not answer",
    "TimeoutError": "does not answer",
}


def verdict(one: Status) -> list[str]:
    """What there is to say about the outbox of a database, the answer first; the rest goes beside it."""
    found = [*_paused(one), *_nobody_looks(one), *_trouble(one), *_held(one), *_late(one)]
    sentences = [f"{what}; {then}." for what, then in found]
    if found and one.pending:
        what, then = found[0]
        sentences[0] = f"{what}; {_waiting(one.pending)}; {then}."
    answer = [*_unused(one), *sentences]
    beside = [*_refused(one), *_dead(one), *_unrouted(one)]
    if answer:
        return answer + beside
    return [*beside, f"{'Otherwise all' if beside else 'All'} is well: {_last(one)}."]


def duration(seconds: float | None) -> str:
    """For people."""
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def in_short(error: str) -> str:
    """What RabbitMQ does, by the error of a partition, "refuses connections"; empty where it needs the whole error."""
    return next((short for words, short in _IN_SHORT.items() if words in error), "")


def _looks(one: Status) -> bool:
    """Whether anybody looks for events: a worker has, or one was published, or a lease was renewed lately."""
    return (seen := _last_look(one)) is not None and seen <= _missed_after(one)


def is_silent(partition: PartitionStatus) -> bool:
    """Whether the lease's holder gives no sign of life, as one that was killed doesn't."""
    seen = partition.holder_seen_seconds
    return seen is not None and seen > _SILENT * get_settings().lease


def _missed_after(one: Status) -> float:
    in_trouble = any(partition.failures for partition in one.partitions)
    return _MISSED * get_settings().sweep_interval + (_ATTEMPT if in_trouble else 0)


def _last_look(one: Status) -> float | None:
    signs = [each.looked_seconds for each in one.workers]
    signs += [each.holder_seen_seconds for each in one.partitions if each.holder_seen_seconds is not None]
    if one.last_published_seconds is not None:
        signs.append(one.last_published_seconds)
    return min(signs, default=None)


def _unused(one: Status) -> Iterator[str]:
    if one.delivery != "outbox":
        rest = f" {_waiting(one.pending)} in it from before." if one.pending else ""
        yield f"The outbox is not used: EVENTS_SOURCING['DELIVERY'] is {one.delivery!r}.{rest}"


def _paused(one: Status) -> Iterator[_Finding]:
    groups: dict[tuple[str, str], list[PartitionStatus]] = {}
    for partition in one.partitions:
        if partition.paused_seconds is not None:
            groups.setdefault((partition.paused_by, partition.paused_why), []).append(partition)
    for (who, why), paused in groups.items():
        since = _since(one, max(each.paused_seconds or 0.0 for each in paused))
        is_all = len(paused) == len(one.partitions)
        which = "" if is_all else f", {_named(paused)} ({_waiting(sum(each.pending for each in paused))} there),"
        yield f"PAUSED{which} since {since}{by_and_why(who, why)}", "`manage.py events resume` ends it"


def _nobody_looks(one: Status) -> Iterator[_Finding]:
    if _looks(one) or (one.delivery != "outbox" and not one.pending):
        return
    seen = _last_look(one)
    since = "has ever looked for events here" if seen is None else f"has looked for events since {_since(one, seen)}"
    yield f"No worker {since}", "start one: celery -A PROJECT worker"


def _trouble(one: Status) -> Iterator[_Finding]:
    failing = [each for each in one.partitions if each.failures]
    if not failing:
        return
    error = max(failing, key=lambda each: each.failing_seconds or 0.0).error
    place = _PLACE.search(error)
    what = in_short(error)
    since = _since(one, max(each.failing_seconds or 0.0 for each in failing))
    waits = [each.retry_seconds for each in failing if each.retry_seconds is not None]
    following = f"next attempt in {min(waits):.0f} s" if waits else "the next attempt is due"
    advice = "nothing to do but repair it" if what else "the error says what to do"
    where = place[0] if place else "RabbitMQ"
    yield f"{where} {what or f'is in trouble with {_named(failing)}'} since {since}", f"{following}; {advice}"


def _held(one: Status) -> Iterator[_Finding]:
    silent = [each for each in one.partitions if is_silent(each) and each.is_due]
    for holder in sorted({each.holder or "" for each in silent}):
        its = [each for each in silent if each.holder == holder]
        most = max(each.leased_seconds or 0.0 for each in its)
        yield (
            f"{holder[:1].upper()}{holder[1:]} gives no sign of life, and holds {_named(its)}",
            f"in {most:.0f} s another may take them",
        )


def _late(one: Status) -> Iterator[_Finding]:
    unexplained = any(not each.failures and each.paused_seconds is None for each in one.partitions if each.is_due)
    if one.oldest_pending_seconds > _LATE * get_settings().sweep_interval and unexplained and _looks(one):
        yield (
            f"Events are late, the oldest by {duration(one.oldest_pending_seconds)}",
            f"{one.published_last_hour:,} went out in the last hour",
        )


def _refused(one: Status) -> Iterator[str]:
    if one.refused:
        yield (
            f"{counted(one.refused, 'event', ('was', 'were'))} refused, to be tried again, with those of their objects "
            "behind them: `manage.py events list --pending` says why."
        )


def _dead(one: Status) -> Iterator[str]:
    if one.dead:
        dead = counted(one.dead, "event", ("is", "are"))
        yield f"{dead} dead: `manage.py events list --dead` says why, and what to do."


def _unrouted(one: Status) -> Iterator[str]:
    if one.unrouted_last_hour:
        yield (
            f"{counted(one.unrouted_last_hour, 'event')} of the last hour went to no queue: RabbitMQ has none bound "
            "for them; the worker's log names them."
        )


def _last(one: Status) -> str:
    if one.last_published_seconds is None:
        last = "no event in the last hour"
    else:
        last = f"last event {duration(one.last_published_seconds)} ago"
    if not one.pending:
        return last
    return f"{counted(one.pending, 'event', ('is', 'are'))} on the way; {last}"


def _waiting(pending: int) -> str:
    return counted(pending, "event", ("waits", "wait"))


def _named(partitions: list[PartitionStatus]) -> str:
    noun = "partition" if len(partitions) == 1 else "partitions"
    return f"{noun} {Numbers([each.number for each in partitions])}"


def _since(one: Status, seconds: float) -> str:
    """The moment, in the project's time zone; with its day, where that is another."""
    now = timezone.localtime(one.now, timezone.get_default_timezone())
    moment = now - timedelta(seconds=seconds)
    return f"{moment:%H:%M:%S %Z}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M %Z}"
