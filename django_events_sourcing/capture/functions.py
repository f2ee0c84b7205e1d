"""Functions of the project's that an entry names."""

import inspect
from collections.abc import Callable
from typing import Any

from django.utils.module_loading import import_string

from django_events_sourcing.exceptions import ConfigurationError

__all__ = ["function_of"]


def function_of(where: str, value: object, *arguments: str) -> Callable[..., Any]:
    """The function that a value of an entry is, or is the dotted path of.

    Args:
        where: The value's place in the settings, for messages.
        value: As it stands there.
        arguments: What it is called with.

    Raises:
        ConfigurationError: It can't be imported, or not be called so.
    """
    found = value
    if isinstance(value, str):
        try:
            found = import_string(value)
        except Exception as exc:
            raise ConfigurationError(f"{where}, {value!r}, cannot be imported: {type(exc).__name__}: {exc}") from exc
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
