"""Whether the relays of this worker are alive: for its own probe."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from django_events_sourcing.conf import get_settings
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.outbox.tables import outbox_databases
from django_events_sourcing.probes import Problem
from django_events_sourcing.tasks.heartbeats import Sign, worker_heartbeats
from django_events_sourcing.tasks.schedule import MOST_DATABASES
from django_events_sourcing.tasks.stopping import is_stopping

__all__ = ["is_silent", "relay_problems"]


def relay_problems() -> Iterator[Problem]:
    """What is wrong with them; no database is asked.

    It is for the process that the others are forked from.
    """
    if is_stopping():
        yield Problem(None, "this worker is shutting down")
        return
    try:
        longest = get_settings().health_max_age
    except ConfigurationError as exc:
        yield Problem(None, str(exc))
        return
    signs = list(worker_heartbeats.signs())
    for place, alias in enumerate(outbox_databases()[:MOST_DATABASES]):
        of_this = [sign for sign in signs if sign.place == place]
        if not of_this:
            yield Problem(alias, "no process of this worker relays")
        for sign in of_this:
            if is_silent(sign, longest):
                yield Problem(alias, _what(sign), datetime.now(UTC) - timedelta(seconds=sign.silent))


def is_silent(sign: Sign, longest: float) -> bool:
    """Whether the thread has given no sign of life for longer than ``longest`` seconds."""
    return sign.silent > longest


def _what(sign: Sign) -> str:
    # The numbers are what a debugger, or py-spy, is pointed at.
    at = "is at work, and makes no progress" if sign.is_at_work else "gives no sign of life"
    return f"the relay of process {sign.process} (thread {sign.thread}) {at}"
