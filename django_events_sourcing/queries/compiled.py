"""Statements of Django's ORM that are made into SQL once for each database, for they are run all the time.

Making the SQL takes the ORM longer than running it takes the database.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connections
from django.db.models import Expression, QuerySet
from django.db.models.sql import Query, UpdateQuery
from django.db.models.sql.compiler import SQLCompiler

__all__ = ["Argument", "Compiled", "arguments", "compiled", "to_uuid", "update"]


class Argument(Expression):
    """What stands in a statement for a value that is given when it is run.

    Args:
        name: What it is given under.
        field: What prepares it for the database, where that needs it.
        position: If the value is a list, which of its items.
    """

    def __init__(self, name: str, field: Any = None, position: int | None = None) -> None:
        super().__init__(output_field=field)
        self.name = name
        self.position = position
        self._field = field

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> Any:  # noqa: ARG002 - Django's
        """A placeholder, with itself as the parameter."""
        return "%s", [self]

    def of(self, arguments: dict[str, Any], connection: Any) -> Any:
        """Its value among those that are given."""
        value = arguments[self.name]
        if self.position is not None:
            value = value[self.position]
        return self._field.get_db_prep_value(value, connection) if self._field else value


@dataclass(frozen=True)
class Compiled:
    """A statement.

    Attributes:
        sql: Its text.
        params: What it is run with: values, and ``Argument`` for those to come.
    """

    sql: str
    params: tuple[Any, ...]

    def rows(self, using: str, **arguments: Any) -> list[tuple[Any, ...]]:
        """Run it, and return what it selects, as the driver gives it."""
        with connections[using].cursor() as cursor:
            cursor.execute(self.sql, self.filled(using, **arguments))
            found: list[tuple[Any, ...]] = list(cursor.fetchall())
            return found

    def count(self, using: str, **arguments: Any) -> int:
        """Run it, and return how many rows it changed."""
        with connections[using].cursor() as cursor:
            cursor.execute(self.sql, self.filled(using, **arguments))
            return int(cursor.rowcount)

    def filled(self, using: str, **arguments: Any) -> list[Any]:
        """The parameters, with the arguments in their places."""
        connection = connections[using]
        return [each.of(arguments, connection) if isinstance(each, Argument) else each for each in self.params]


def compiled(make: Callable[..., Query]) -> Callable[..., Compiled]:
    """The statement that a function makes; called with the alias of a database, and what it is made of beside that."""

    @cache
    def statement(using: str, *shape: Any, **named_shape: Any) -> Compiled:
        sql, params = make(*shape, **named_shape).get_compiler(using).as_sql()
        return Compiled(sql, tuple(params))

    return statement


def update(rows: QuerySet[Any], **values: Any) -> Query:
    """UPDATE the rows."""
    query: Any = rows.query.chain(UpdateQuery)
    query.add_update_values(values)
    return query  # type: ignore[no-any-return]


def to_uuid(value: Any) -> UUID:
    """A UUID that was selected: text, where a database has no such type."""
    return value if isinstance(value, UUID) else UUID(value)


def arguments(name: str, count: int) -> Any:
    """So many of them, for the items of a list."""
    return [Argument(name, position=position) for position in range(count)]
