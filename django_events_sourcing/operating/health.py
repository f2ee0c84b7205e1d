"""Whether events can be saved, and whether they flow: for probes, which want a short answer soon."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import Error
from django.db.models import Count, Min

from django_events_sourcing.conf import Settings, get_settings
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.models import Failure
from django_events_sourcing.operating.asking import ask_each
from django_events_sourcing.operating.partitions import partitions
from django_events_sourcing.operating.verdict import in_short
from django_events_sourcing.outbox.clock import from_microseconds, seconds_since
from django_events_sourcing.outbox.tables import missing_tables, outbox_databases, raises_missing_tables
from django_events_sourcing.probes import Problem
from django_events_sourcing.texts import counted
from django_events_sourcing.types import Alias, Microseconds

__all__ = ["ANSWERS", "flow_problems", "health"]

#: What may be asked.
ANSWERS = ("save", "flow")

# How long the answers may take, in seconds.
_WITHIN = 1.0


@dataclass(frozen=True)
class _Seen:
    """What a database said.

    Attributes:
        trouble: Why it could not be asked; empty, if it could. Then the rest is not known.
        lacks_tables: Whether that is because it has no outbox.
        is_read_only: Whether nothing can be written there.
        now: Its time.
        partitions: Its rows of them, with ``due_since``.
        last_sign: When a worker gave a sign of life, None if never.
        dead: How many events are dead.
        dead_since: When the first of them died.
    """

    trouble: str = ""
    lacks_tables: bool = False
    is_read_only: bool = False
    now: Microseconds = 0
    partitions: tuple[Any, ...] = ()
    last_sign: Microseconds | None = None
    dead: int = 0
    dead_since: Microseconds | None = None


def health(written_to: Collection[Alias], only: Collection[str] = ()) -> dict[str, list[Problem]]:
    """What is wrong, by what is asked: "save", whether this process can save events; "flow", whether they go out.

    It takes no longer than two seconds, and two statements for each database.

    Args:
        written_to: Aliases of the databases that registered models are written to.
        only: Which of these; both, if none is named.
    """
    asked = [answer for answer in ANSWERS if answer in only or not only]
    try:
        settings = get_settings()
    except ConfigurationError as exc:
        return {answer: [Problem(None, str(exc))] for answer in asked}
    seen = _look_at_each(settings)
    written = {alias: one for alias, one in seen.items() if alias in written_to}
    found = {"save": _saves(written), "flow": _flows(seen, settings)}
    return {answer: list(found[answer]) for answer in asked}


def flow_problems(using: Alias) -> list[Problem]:
    """What keeps the events of one database from going out, as ``health`` has it.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    settings = get_settings()
    return list(_flows({using: _look(using, settings)}, settings))


def _saves(seen: dict[Alias, _Seen]) -> Iterator[Problem]:
    for alias, one in seen.items():
        if one.trouble:
            yield Problem(alias, one.trouble)
        elif one.is_read_only:
            yield Problem(alias, "the database is read-only")


def _flows(seen: dict[Alias, _Seen], settings: Settings) -> Iterator[Problem]:
    has_any = any(not one.lacks_tables for one in seen.values())
    for alias, one in seen.items():
        if one.trouble:
            if not (one.lacks_tables and (has_any or settings.delivery != "outbox")):
                yield Problem(alias, one.trouble)
            continue
        yield from (Problem(alias, what, since) for what, since in _stopped(one, settings))


def _stopped(one: _Seen, settings: Settings) -> Iterator[tuple[str, datetime | None]]:
    def is_too_old(since: Microseconds) -> bool:
        return seconds_since(since, one.now) > settings.health_max_age

    due = [each for each in one.partitions if each.due_since is not None]
    oldest = min((each.due_since for each in due), default=None)
    if oldest is not None and is_too_old(oldest):
        late = [each for each in due if is_too_old(each.due_since)]
        yield (
            f"events have been waiting for more than {settings.health_max_age:g} s{_because(late)}",
            from_microseconds(oldest),
        )
    is_used = settings.delivery == "outbox" or due
    if is_used and one.last_sign is not None and is_too_old(one.last_sign):
        yield "no worker has looked for events", from_microseconds(one.last_sign)
    elif is_used and one.last_sign is None:
        yield "no worker has ever looked for events", None
    if settings.health_max_dead is not None and one.dead > settings.health_max_dead and one.dead_since is not None:
        yield f"{counted(one.dead, 'event', ('is', 'are'))} dead", from_microseconds(one.dead_since)


def _because(late: list[Any]) -> str:
    if all(each.paused_at is not None for each in late):
        return ": they are paused"
    if troubles := {in_short(each.error) for each in late if each.failures}:
        return f": RabbitMQ {', '.join(sorted(each or 'is in trouble' for each in troubles))}"
    return ""


def _look_at_each(settings: Settings) -> dict[Alias, _Seen]:
    def look(alias: Alias) -> _Seen:
        return _look(alias, settings)

    answers = ask_each(outbox_databases(), look, _WITHIN)
    return {
        alias: _Seen(f"the database has not answered since {answer:%H:%M:%S} UTC")
        if isinstance(answer, datetime)
        else answer
        for alias, answer in answers.items()
    }


def _look(using: Alias, settings: Settings) -> _Seen:
    try:
        with raises_missing_tables(using):
            rows = tuple(partitions(using, dead_blocks=settings.dead_blocks_object))
            dead = Failure.objects.using(using).filter(dead_at__isnull=False, buried_at__isnull=True)
            found = dead.aggregate(count=Count("sequence"), since=Min("dead_at"))
    except ConfigurationError:
        return _Seen(missing_tables(using), lacks_tables=True)
    except Error as exc:
        return _Seen(f"the database cannot be asked ({type(exc).__name__})")
    if not rows:  # no relay has ever been here
        return _Seen(dead=found["count"], dead_since=found["since"], now=found["since"] or 0)
    signs = [each for each in (rows[0].last_look, rows[0].last_published) if each is not None]
    return _Seen(
        is_read_only=bool(rows[0].is_read_only),
        now=rows[0].now,
        partitions=rows,
        last_sign=max(signs, default=None),
        dead=found["count"],
        dead_since=found["since"],
    )
