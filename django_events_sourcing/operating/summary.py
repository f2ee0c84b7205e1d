"""How an outbox stands, in the words that tables have it in: a terminal's, and those of the admin's dashboard."""

from collections.abc import Iterator, Sequence

from django_events_sourcing.operating.status import PartitionStatus, Status, WorkerStatus
from django_events_sourcing.operating.verdict import duration, is_silent
from django_events_sourcing.texts import by_and_why

__all__ = ["facts", "leases", "pauses_and_backoffs", "troubles"]

# A worker that has not looked for longer, in seconds, is not named beside others.
_LATELY = 600.0


def facts(one: Status) -> dict[str, str | list[str]]:
    """What there is to say of it as a whole: each a line, or several, by its name for people."""
    told: dict[str, str | list[str]] = {
        "pending": f"{one.pending:,}",
        "oldest due": duration(one.oldest_pending_seconds),
        "refused, to be tried again": f"{one.refused:,}",
        "dead": f"{one.dead:,}",
        "buried": f"{one.buried:,}",
        "published in the last hour": f"{one.published_last_hour:,}",
        "workers": _workers(one.workers) or "none has looked within a day",
    }
    if one.unrouted_last_hour:
        told["of these, to no queue"] = f"{one.unrouted_last_hour:,}"
    if one.oldest_transaction:
        age = duration(one.oldest_transaction.seconds)
        told["oldest open transaction"] = f"{age}: {one.oldest_transaction.holder}"
    return told


def pauses_and_backoffs(group: Sequence[PartitionStatus]) -> list[str]:
    """What keeps relays from partitions that stand alike; nothing, if nothing does."""
    one = group[0]
    said = []
    if one.paused_seconds is not None:
        lasts = duration(_most(each.paused_seconds for each in group))
        said.append(f"paused for {lasts}{by_and_why(one.paused_by, one.paused_why)}")
    if failures := max(each.failures for each in group):
        waits = _least(each.retry_seconds for each in group)
        following = f"next attempt in {duration(waits)}" if waits else "next attempt due"
        said.append(f"{failures} failures in a row, {following}" if failures > 1 else f"in trouble, {following}")
    elif one.retry_seconds:
        said.append(f"waits {duration(_least(each.retry_seconds for each in group))}, for an operator's command")
    return said


def leases(group: Sequence[PartitionStatus]) -> list[str]:
    """Who holds partitions that stand alike; nothing, if nobody does."""
    one = group[0]
    if not one.holder:
        return []
    seen = duration(_least(each.holder_seen_seconds for each in group))
    if not is_silent(one):
        return [f"at work: {one.holder}, {seen} ago"]
    most = duration(_most(each.leased_seconds for each in group))
    return [f"held by {one.holder}, which gives no sign of life for {seen}; free in {most}"]


def troubles(partitions: Sequence[PartitionStatus]) -> dict[str, list[PartitionStatus]]:
    """Each error once, with the partitions that have it."""
    found: dict[str, list[PartitionStatus]] = {}
    for each in partitions:
        if each.error:
            found.setdefault(each.error, []).append(each)
    return found


def _workers(workers: list[WorkerStatus]) -> list[str]:
    known = [each for each in workers if each.looked_seconds <= _LATELY] or workers[:1]
    return [f"{each.name} (pid {each.pid}) looked {duration(each.looked_seconds)} ago" for each in known]


def _least(found: Iterator[float | None]) -> float | None:
    return min((each for each in found if each is not None), default=None)


def _most(found: Iterator[float | None]) -> float | None:
    return max((each for each in found if each is not None), default=None)
