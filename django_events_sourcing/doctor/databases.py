"""The databases with an outbox."""

import time
from collections.abc import Collection, Iterator
from datetime import datetime

from django.db import Error, connections
from django.db.migrations.executor import MigrationExecutor

from django_events_sourcing.capture.registry import registry
from django_events_sourcing.checks import DATABASE_CHECKS
from django_events_sourcing.doctor.findings import CLOCKS_DIFFER, Finding, Item, Level, no_answer
from django_events_sourcing.doctor.project import finding_of
from django_events_sourcing.exceptions import ConfigurationError
from django_events_sourcing.operating.asking import ask_each
from django_events_sourcing.operating.health import flow_problems
from django_events_sourcing.operating.status import Status, status
from django_events_sourcing.operating.verdict import duration, verdict
from django_events_sourcing.outbox.tables import has_tables
from django_events_sourcing.texts import without_passwords
from django_events_sourcing.types import Alias

__all__ = ["examine_databases"]

# How long they may take all together, in seconds.
_WITHIN = 10.0

# For how long a transaction may be open without a word, in seconds.
_LONG = 600.0

_APP = "django_events_sourcing"


def examine_databases(aliases: Collection[Alias]) -> Iterator[Finding]:
    """Each by itself; none keeps the others waiting."""
    for alias, answer in ask_each(aliases, _examined, _WITHIN).items():
        if isinstance(answer, datetime):
            yield no_answer(Item.DATABASE, _WITHIN, alias)
        else:
            yield from answer


def _examined(alias: Alias) -> list[Finding]:
    try:
        return list(_look(alias))
    except Error as exc:
        problem = f"It cannot be asked: {type(exc).__name__}: {without_passwords(exc)}"
        return [Finding(Item.DATABASE, Level.FAILING, problem, f"Mend it, or DATABASES[{alias!r}].", alias)]


def _look(alias: Alias) -> Iterator[Finding]:
    began = time.monotonic()
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")
    took = time.monotonic() - began
    if problems := list(_migrations(alias)):
        if alias in registry.databases or has_tables(alias):
            yield from problems
        return
    try:
        one = status(alias)
    except ConfigurationError as exc:
        yield Finding(Item.DATABASE, Level.FAILING, str(exc), "The error says what to do.", alias)
        return
    name = connections[alias].display_name
    yield Finding(Item.DATABASE, Level.OK, f"{name} answers, in {1000 * took:.0f} ms.", database=alias)
    for check in DATABASE_CHECKS:
        yield from (finding_of(message, Item.DATABASE, alias) for message in check(databases=[alias]))
    yield from _clock(alias, one)
    yield from _transaction(alias, one)
    yield from _flow(alias, one)


def _migrations(alias: Alias) -> Iterator[Finding]:
    executor = MigrationExecutor(connections[alias])
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == _APP]
    plan = executor.migration_plan(targets)
    if lacking := [migration.name for migration, _ in plan if migration.app_label == _APP]:
        problem = f"It lacks the migrations {', '.join(lacking)} of {_APP}: saves, or workers, fail over that."
        yield Finding(Item.DATABASE, Level.FAILING, problem, f"Run `manage.py migrate --database={alias}`.", alias)


def _clock(alias: Alias, one: Status) -> Iterator[Finding]:
    ahead = one.now.timestamp() - time.time()
    if abs(ahead) > CLOCKS_DIFFER:
        yield Finding(
            Item.DATABASE,
            Level.WARNING,
            f"Its clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} that of this machine: the "
            "times of events, and how long they wait, are wrong by that. Nothing is lost by it.",
            "Have both follow NTP.",
            alias,
        )


def _transaction(alias: Alias, one: Status) -> Iterator[Finding]:
    oldest = one.oldest_transaction
    if oldest and oldest.seconds is not None and oldest.seconds > _LONG:
        yield Finding(
            Item.DATABASE,
            Level.WARNING,
            f"A transaction has been open for {duration(oldest.seconds)} ({oldest.holder}): until it ends no dead "
            "row of the queue can be vacuumed, and reading it becomes slower.",
            "End it; idle_in_transaction_session_timeout ends such transactions by itself.",
            alias,
        )


def _flow(alias: Alias, one: Status) -> Iterator[Finding]:
    """What ``events status`` says; it fails where the health view says that events don't flow."""
    stand = bool(flow_problems(alias))
    sentences = verdict(one)
    if not stand and len(sentences) == 1 and (one.delivery != "outbox" or sentences[0].startswith("All is well")):
        yield Finding(Item.DATABASE, Level.OK, sentences[0], database=alias)
        return
    for number, sentence in enumerate(sentences):
        level = Level.FAILING if stand and number == 0 else Level.WARNING
        yield Finding(Item.DATABASE, level, sentence, database=alias)  # it says itself what to do
