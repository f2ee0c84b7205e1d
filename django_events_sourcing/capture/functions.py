"""What of the project's an entry names: classes and functions, which are imported and called here."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError
from django.utils.module_loading import import_string

from django_events_sourcing.exceptions import ConfigurationError, SerializationError

__all__ = ["function_of", "imported", "naming"]


def imported(where: str, value: object) -> object:
    """What a value of an entry is, or is the dotted path of; arguments and errors as ``function_of``."""
    if not isinstance(value, str):
        return value
    try:
        return import_string(value)
    except Exception as exc:
        raise ConfigurationError(f"{where}, {value!r}, cannot be imported: {exc}") from exc


@contextmanager
def naming(problem: str) -> Iterator[None]:
    """Within it a function of the project's runs; what it raises, but for a database's error, fails the save.

    Args:
        problem: What the error says before that.

    Raises:
        SerializationError: It raised something.
        django.db.DatabaseError: A query of it failed; passed on, as who tries again after a deadlock looks for it.
    """
    try:
        yield
    except DatabaseError:
        raise
    except Exception as exc:
        raise SerializationError(f"{problem}: {type(exc).__name__}: {exc}") from exc


def function_of(where: str, value: object, *arguments: str) -> Callable[..., Any]:
    """The function that a value of an entry is, or is the dotted path of.

    Args:
        where: The value's place in the settings, for messages.
        value: As it stands there.
        arguments: What it is called with.

    Raises:
        ConfigurationError: It can't be imported, or not be called so.
    """
    found = imported(where, value)
    if not callable(found):
        raise ConfigurationError(f"{where}, {value!r}, is a {type(found).__name__}, and cannot be called.")
    if inspect.iscoroutinefunction(found):
        raise ConfigurationError(f"{where}, {value!r}, is async, and nothing awaits it.")
    try:
        inspect.signature(found).bind(*arguments)
    except TypeError as exc:
        call = f"({', '.join(arguments)})"
        raise ConfigurationError(f"{where}, {value!r}, cannot be called with {call}: {exc}.") from exc
    except ValueError:  # one that is written in C, and does not say
        pass
    return found
