"""Checks of what a database makes of the outbox: ``manage.py check --database ALIAS``."""

import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from django.core.checks import CheckMessage, Warning  # noqa: A004 - Django's own name
from django.db import connections

from django_events_sourcing.capture.registry import registry
from django_events_sourcing.checks.readable import readable_settings
from django_events_sourcing.conf import Settings
from django_events_sourcing.models import LogEntry, ObjectLock, Partition, QueueEntry
from django_events_sourcing.outbox.dialects import dialect
from django_events_sourcing.outbox.identity import writable_twin
from django_events_sourcing.outbox.partitioning import PARTITIONS
from django_events_sourcing.outbox.tables import TABLES, has_tables
from django_events_sourcing.texts import counted
from django_events_sourcing.types import Alias

__all__ = ["check_outbox"]

_LOG, _QUEUE = LogEntry._meta.db_table, QueueEntry._meta.db_table

# Of how many pending events of each partition the services are looked at.
_LOOKED_AT = 100

# From so many deleted rows of the queue in an hour on, a database is busy.
_BUSY = 100_000

_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")

# What nobody needs: the log is only appended to and purged, and each partition has its row for good.
_NEEDLESS = {(_LOG, "UPDATE"), (Partition._meta.db_table, "DELETE")}

_LACKING = """
SELECT r, t FROM unnest(%s::text[], %s::text[]) AS needed (t, r) WHERE NOT has_table_privilege(t, r)
"""
_USAGE = """
SELECT current_user, name, has_sequence_privilege(name, 'USAGE') FROM pg_get_serial_sequence(%s, 'sequence') name
"""
_VACUUM = """
SELECT c.reloptions, s.n_tup_del / greatest(1, extract(epoch FROM now() - coalesce(
    (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()), pg_postmaster_start_time()
)) / 3600)
FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid WHERE c.oid = %s::regclass
"""
_CACHE = """
SELECT seqrelid::regclass::text, seqcache FROM pg_sequence
WHERE seqrelid = pg_get_serial_sequence(%s, 'sequence')::regclass
"""


def check_outbox(*, databases: Collection[str] | None = None, **_kwargs: Any) -> list[CheckMessage]:
    """W011 to W014: what makes an outbox slow, or breaks its order, or what no service of this project wrote there."""
    settings = readable_settings()
    if not registry.registrations or settings is None or settings.delivery != "outbox" or "migrate" in sys.argv[1:2]:
        return []
    return [problem for alias in databases or () if has_tables(alias) for problem in _problems(alias, settings)]


def _problems(alias: Alias, settings: Settings) -> Iterator[CheckMessage]:
    if dialect(connections[alias]) == "postgresql":
        if lacking := list(_rights(alias)):  # what else is asked might be forbidden
            yield from lacking
            return
        yield from _vacuum(alias)
        yield from _cache(alias)
    yield from _services(alias, settings)


def _rights(alias: Alias) -> Iterator[CheckMessage]:
    """W014: the role may not do what saves or workers do."""
    tables = sorted(TABLES - {ObjectLock._meta.db_table})  # which PostgreSQL has no use for
    needed = [(table, right) for table in tables for right in _RIGHTS if (table, right) not in _NEEDLESS]
    with connections[alias].cursor() as cursor:
        cursor.execute(_LACKING, [list(each) for each in zip(*needed, strict=True)])
        found = set(cursor.fetchall())
        cursor.execute(_USAGE, [_LOG])
        role, sequence, may_draw = cursor.fetchone()
    lacking = {right: those for right in _RIGHTS if (those := [each for each in tables if (right, each) in found])}
    if sequence and not may_draw:
        lacking["USAGE"] = [sequence]
    if lacking and writable_twin(alias) is None:
        yield Warning(
            f"The role {role!r} of database {alias!r} lacks "
            f"{'; '.join(f'{right} on {_and(those)}' for right, those in lacking.items())}.",
            hint="Processes that only save need SELECT and INSERT on the log, INSERT on the queue, and USAGE on the "
            "log's sequence; workers and `manage.py events` need more. The docs' page on permissions has the GRANTs.",
            id="django_events_sourcing.W014",
        )


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _vacuum(alias: Alias) -> Iterator[CheckMessage]:
    """W012: the dead rows of the queue stay there, and each reading of it goes by them."""
    with connections[alias].cursor() as cursor:
        cursor.execute(_VACUUM, [_QUEUE])
        options, deleted = cursor.fetchone()
    given = dict(option.partition("=")[::2] for option in options or ())
    is_off = given.get("autovacuum_enabled", "true") in {"false", "off", "no", "0"}
    is_default = not any(name.startswith("autovacuum_vacuum") for name in given)
    if not is_off and not (is_default and float(deleted or 0) > _BUSY):
        return
    why = "is off" if is_off else f"is as PostgreSQL has it for any table, at {int(deleted):,} deleted rows an hour"
    yield Warning(
        f"Autovacuum of the queue of database {alias!r} {why}: its dead rows pile up, and slow the relay down.",
        hint=f"ALTER TABLE {_QUEUE} SET (autovacuum_enabled = on, autovacuum_vacuum_scale_factor = 0, "
        "autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0);",
        id="django_events_sourcing.W012",
    )


def _cache(alias: Alias) -> Iterator[CheckMessage]:
    """W013: sessions that draw ids ahead give an object's later event a lower one."""
    with connections[alias].cursor() as cursor:
        cursor.execute(_CACHE, [_LOG])
        found = cursor.fetchone()
    if found and found[1] > 1:
        yield Warning(
            f"The sequence {found[0]} of database {alias!r} has CACHE {found[1]}: an object's events may go out in "
            "another order than they happened in.",
            hint=f"ALTER SEQUENCE {found[0]} CACHE 1;",
            id="django_events_sourcing.W013",
        )


def _services(alias: Alias, settings: Settings) -> Iterator[CheckMessage]:
    """W011: events wait that come from a service of which the settings know nothing."""
    known = {settings.service_name, *(registration.service_name for registration in registry.registrations)}
    pending: dict[str, int] = {}
    for number in range(PARTITIONS):
        rows = QueueEntry.objects.using(alias).filter(partition=number).order_by("sequence")
        first = list(rows.values_list("sequence", flat=True)[:_LOOKED_AT])
        log = LogEntry.objects.using(alias).filter(sequence__in=first).exclude(service__in=filter(None, known))
        for service in log.values_list("service", flat=True):
            pending[service] = pending.get(service, 0) + 1
    for service, count in sorted(pending.items()):
        yield Warning(
            f"{counted(count, 'pending event')} of database {alias!r} (among the first of each partition) "
            f"{'is' if count == 1 else 'are'} of the service {service!r}, which is in no setting.",
            hint=f"They go out to the exchange {service}.events all the same. If the service has a new name, its "
            "handlers of the old one are still needed until then. If your code passes it to emit(), nothing is wrong.",
            id="django_events_sourcing.W011",
        )
