"""Looking for writes to a registered model's table that send no event, though the entry wants one."""

# Note [What bypasses the library]
# Every statement of Django's cursors goes by an instrumentation of the connection, which Django provides. One that
# writes to a registered model's table is a bypass, unless the library knows of it: a save, a bulk write that is told,
# a delete whose signals have been sent. Nor is it one where no event is wanted: of an action that the entry leaves out,
# under disable_dispatcher, in a migration, or where a test empties its tables.
#
# Most statements are ruled out by a glance at their text. What is left is parsed, once for each text, by sqlglot, which
# knows the dialects of all databases: names in quotes, comments and literals, statements within others.

import logging
import re
import sys
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from django_events_sourcing.capture.deletions import Deletion
from django_events_sourcing.capture.registration import Registration
from django_events_sourcing.capture.registry import registry
from django_events_sourcing.capture.rows import telling
from django_events_sourcing.capture.stored import concrete_model
from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery.accounted import bare_name, is_accounted, is_watched, watch
from django_events_sourcing.exceptions import BypassError, ConfigurationError
from django_events_sourcing.outbox.dialects import speaks

__all__ = ["Write", "connect", "has_parser", "is_out_of_date", "writes_in"]

logger = logging.getLogger(__name__)

#: sqlglot's names for what databases speak.
_DIALECTS = {"postgresql": "postgres", "mysql": "mysql", "sqlite": "sqlite"}

# What a statement that writes has in it.
_VERB = re.compile(r"\b(?:insert|update|delete|replace|truncate|merge)\b", re.IGNORECASE)

# Of a longer statement only its beginning is parsed: what follows are values, a million of them at times.
_LONG = 20_000
_BEGINNING = re.compile(
    r"\s*(?:insert\b.*?\bvalues\b|update\b.*?\bset\b|delete\b.*?\bwhere\b)", re.IGNORECASE | re.DOTALL
)
_REST = {"values": " (NULL)", "set": " x = NULL", "where": " TRUE"}

# In a statement that sqlglot can't parse, the table is among so many words behind the first.
_NEAR = 5

# Of Django: they write tables as a whole, or what has no event.
_NOT_THE_PROJECTS = (
    "django.db.migrations.",
    "django.core.management.commands.flush",
    "django.core.management.commands.loaddata",
    "django.core.management.commands.migrate",
    "django.core.serializers.",
)

_PACKAGES = tuple({str(Path(sysconfig.get_path(name))) for name in ("purelib", "platlib")})
_NO_CODE = ("<frozen", "<string>", str(Path(sysconfig.get_path("stdlib"))))
_OURS = str(Path(__file__).parent.parent)

# By the names of tables, while somebody looks.
_registered: dict[str, list[Registration]] = {}

# Places that were logged.
_seen: set[str] = set()


class Write(NamedTuple):
    """What a statement does to a table.

    Attributes:
        action: What happens to rows: ``"created"``, ``"updated"`` or ``"deleted"``.
        table: The table's name, in lower case.
    """

    action: str
    table: str


def has_parser() -> bool:
    """Whether sqlglot is there: the extra ``[bypass]``."""
    try:
        import_module("sqlglot")
    except ImportError:
        return False
    return True


def connect() -> None:
    """Look for such writes if the settings say so; no more, if they do not."""
    is_on = _mode() != "ignore"
    if is_on and not has_parser():
        logger.warning(
            "EVENTS_SOURCING['BYPASS'] needs sqlglot, which is not installed: nothing is looked for. Install "
            "django-events-sourcing[bypass]."
        )
        is_on = False
    watch(is_on)
    _registered.clear()
    if is_on:
        for registration in registry.registrations:
            table = bare_name(concrete_model(registration.model)._meta.db_table)
            _registered.setdefault(table, []).append(registration)
        connection_created.connect(_instrument, dispatch_uid=__name__)
        for connection in connections.all(initialized_only=True):
            _instrument(connection=connection)
    else:
        connection_created.disconnect(dispatch_uid=__name__)
        for connection in connections.all(initialized_only=True):
            connection.execute_wrappers[:] = [each for each in connection.execute_wrappers if each is not _look]


def is_out_of_date() -> bool:
    """Whether the settings now say otherwise."""
    return is_watched() != (_mode() != "ignore")


def _mode() -> str:
    try:
        return get_settings().bypass
    except ConfigurationError:  # which is reported where something is sent, and by check
        return "ignore"


def _instrument(*, connection: BaseDatabaseWrapper, **_: Any) -> None:
    if _look not in connection.execute_wrappers:
        connection.execute_wrappers.append(_look)


def _look(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
    statement = str(sql)
    if _VERB.search(statement):
        _judge(context["connection"], statement)
    return execute(sql, params, many, context)


def _judge(connection: BaseDatabaseWrapper, statement: str) -> None:
    lowered = statement.lower()
    tables = frozenset(table for table in _registered if table in lowered and not is_accounted(table))
    if not tables:
        return
    spoken = next((name for name in _DIALECTS if speaks(connection, name)), "")
    for write in writes_in(statement, spoken, tables):
        registrations = _registered[write.table]
        if _lacks_event(registrations, write, connection) and (place := _place()):
            _report(registrations[0], write, place)


def _lacks_event(registrations: list[Registration], write: Write, connection: BaseDatabaseWrapper) -> bool:
    """Whether an event of it is missing."""
    using = connection.alias
    if not any(telling([each], each.model, using, (write.action,)) for each in registrations):
        return False
    return write.action != "deleted" or not Deletion.deletes(concrete_model(registrations[0].model), using)


def writes_in(statement: str, spoken: str, tables: frozenset[str]) -> tuple[Write, ...]:
    """What a statement, or several in one text, writes to some tables.

    Args:
        statement: SQL as Django's cursors take it.
        spoken: The dialect: ``"postgresql"``, ``"mysql"``, ``"sqlite"``, or empty for another one.
        tables: Their names, in lower case.
    """
    return _parsed(_beginning(statement), spoken, tables)


@lru_cache(maxsize=1000)
def _parsed(statement: str, spoken: str, tables: frozenset[str]) -> tuple[Write, ...]:
    sqlglot: Any = import_module("sqlglot")
    text = re.sub(r"%(?:\(\w+\))?s", "NULL", statement).replace("%%", "%")
    try:
        parsed = [each for each in sqlglot.parse(text, read=_DIALECTS.get(spoken)) if each is not None]
    except sqlglot.errors.SqlglotError:
        parsed = []
    if not parsed or any(isinstance(each, sqlglot.exp.Command) for each in parsed):  # it knows no more of it
        found = list(_by_words(text, tables))
    else:
        found = [write for each in parsed for write in _writes(sqlglot.exp, each)]
    return tuple(dict.fromkeys(write for write in found if write.table in tables))


def _beginning(statement: str) -> str:
    if len(statement) > _LONG and (found := _BEGINNING.match(statement)):
        beginning = found.group()
        return beginning + _REST[re.split(r"\s", beginning)[-1].lower()]
    return statement


def _writes(exp: Any, parsed: Any) -> Iterator[Write]:
    for node in parsed.walk():
        if isinstance(node, exp.Insert):
            yield from _of_tables("created", node.find(exp.Table))
        elif isinstance(node, exp.Update) and node.this is not None:  # that of a MERGE has no table
            names = {column.table for each in node.expressions for column in (each.this,) if column.table}
            named = [each for each in node.this.find_all(exp.Table) if not names or each.alias_or_name in names]
            yield from _of_tables("updated", *(named or [node.this]))
        elif isinstance(node, exp.Delete):
            yield from _of_tables("deleted", *(node.args.get("tables") or [node.this]))
        elif isinstance(node, exp.TruncateTable):
            yield from _of_tables("deleted", *node.expressions)
        elif isinstance(node, exp.Merge):
            yield from _of_tables("updated", node.this)


def _of_tables(action: str, *tables: Any) -> Iterator[Write]:
    return (Write(action, table.name.lower()) for table in tables if table is not None)


def _by_words(text: str, tables: frozenset[str]) -> Iterator[Write]:
    words = re.findall(r'[\w.]+|"[^"]+"|`[^`]+`', text)
    actions = {"insert": "created", "replace": "created", "update": "updated", "delete": "deleted"}
    action = actions.get(words[0].lower()) if words else None
    near = [bare_name(word) for word in words[1 : 1 + _NEAR]]
    table = next((name for name in near if name in tables), None)
    if action and table:
        yield Write(action, table)


def _place() -> str | None:
    """Where in the project's code this is; None for what is no matter of the project's."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - as `logging` does
    found = other = None
    while frame is not None:
        module, file = frame.f_globals.get("__name__", ""), frame.f_code.co_filename
        if module.startswith(_NOT_THE_PROJECTS):
            return None
        where = f"{file}:{frame.f_lineno}"
        if file.startswith(_PACKAGES):
            other = other or (None if module.startswith("django") else where)
        elif not file.startswith((_OURS, *_NO_CODE)):
            found = found or where
        frame = frame.f_back
    return found or other or "an unknown place"


def _report(registration: Registration, write: Write, place: str) -> None:
    problem = (
        f"{registration.model._meta.label} is {write.action} by SQL, and no event tells of it: {place}. Save the "
        f"instances; or set 'bulk': True in {registration.where}, for update() and bulk_create(); or do it under "
        "disable_dispatcher(), if nobody is to hear of it."
    )
    if _mode() == "raise":
        raise BypassError(problem)
    if place not in _seen:
        _seen.add(place)
        logger.warning("%s (Logged once for each place.)", problem)
