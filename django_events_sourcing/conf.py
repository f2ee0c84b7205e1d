"""The settings: read here and nowhere else, lazily, and again whenever tests override them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import Error
from django.core.signals import setting_changed

from django_events_sourcing.exceptions import ConfigurationError

__all__ = [
    "DELIVERIES",
    "OPTIONS",
    "Settings",
    "get_settings",
    "model_entries",
    "option_problems",
    "unknown_key",
]

#: Known deliveries and where each is implemented: ``(events, using) -> None``.
DELIVERIES = {
    "outbox": "django_events_sourcing.delivery.outbox.hand_over",
    "direct": "django_events_sourcing.delivery.direct.hand_over",
}


def _one_of(*known: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(" or ".join([", ".join(map(repr, known[:-1])), repr(known[-1])]))
        return value

    return parse


def _positive(value: object, wanted: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(wanted)
    return float(value)


def _seconds(value: object) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    return _positive(value, "a number of seconds above 0, or a timedelta")


def _lease(value: object) -> float:
    seconds = _seconds(value)
    if seconds < 1:
        raise ValueError("1 second or more")
    return seconds


def _whole(value: object, wanted: str, lowest: int, highest: float = math.inf) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise ValueError(wanted)
    return value


def _count(value: object) -> int:
    return _whole(value, "a whole number above 0", 1)


def _most(value: object) -> int | None:
    return None if value is None else _whole(value, "a whole number from 0 on, or None for no bound", 0)


def _size(value: object) -> int | None:
    return None if value is None else _whole(value, "a whole number of bytes above 0, or None for no bound", 1)


def _rate(value: object) -> float | None:
    if value is None:
        return None
    return _positive(value, "a number of events in a second above 0, or None for no bound")


def _port(value: object) -> int | None:
    return None if value is None else _whole(value, "the number of a port, 1 to 65535, or None for none", 1, 65535)


def _host(value: object) -> str:
    if not (isinstance(value, str) and value.strip()):
        raise ValueError('an address of the worker\'s machine, as "127.0.0.1", or "0.0.0.0" for all of them')
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("True or False")  # noqa: TRY004 - one kind of error for every option
    return value


def _queue(value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and value):
        raise ValueError("the name of a Celery queue, or None for the default one")
    return value


def _option(default: object, parse: Callable[[object], Any]) -> Any:
    return field(default=default, metadata={"parse": parse})


@dataclass(frozen=True, eq=False)
class Settings:
    """All settings, checked. Times are seconds.

    The fields after the first two are the keys of ``EVENTS_SOURCING`` in lower case, with their defaults.
    """

    service_name: str | None
    nameko_config: Mapping[str, Any] = field(repr=False)  # holds passwords
    delivery: str = _option("outbox", _one_of(*DELIVERIES))
    batch_size: int = _option(200, _count)
    batch_bytes: int = _option(8 * 1024 * 1024, _count)
    max_payload_bytes: int | None = _option(15 * 1024 * 1024, _size)
    sweep_interval: float = _option(10.0, _seconds)
    lease: float = _option(30.0, _lease)
    retry_backoff: float = _option(1.0, _seconds)
    retry_backoff_max: float = _option(300.0, _seconds)
    max_attempts: int = _option(10, _count)
    retention: float = _option(7 * 24 * 3600.0, _seconds)
    max_rate: float | None = _option(None, _rate)
    dead_blocks_object: bool = _option(default=False, parse=_flag)
    queue: str | None = _option(None, _queue)
    mandatory: bool = _option(default=False, parse=_flag)
    health_max_age: float = _option(300.0, _seconds)
    health_max_dead: int | None = _option(None, _most)
    metrics_port: int | None = _option(None, _port)
    metrics_host: str = _option("0.0.0.0", _host)  # noqa: S104 - to be scraped, as exporters are
    publish_span: str = _option("linked", _one_of("linked", "child"))
    bypass: str = _option("ignore", _one_of("ignore", "warn", "raise"))
    publish_in_tests: bool = _option(default=False, parse=_flag)
    virtual_transport: bool = _option(default=False, parse=_flag)


#: The keys of ``EVENTS_SOURCING``: for each its default, and what returns a value as the library takes it, or raises
#: ValueError.
OPTIONS: dict[str, tuple[Any, Callable[[object], Any]]] = {
    option.name.upper(): (option.default, option.metadata["parse"])
    for option in fields(Settings)
    if "parse" in option.metadata
}


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings now in force.

    Raises:
        ConfigurationError: ``SERVICE_NAME``, ``NAMEKO_CONFIG`` or a value of ``EVENTS_SOURCING`` is wrong; the message
            names it.
    """
    options, problems = _read_options()
    problems += _service_name_problems()
    if problems:
        raise ConfigurationError(" ".join(f"{problem.msg} {problem.hint}" for problem in problems))
    nameko_config = getattr(django_settings, "NAMEKO_CONFIG", {})
    if amqp_uri := getattr(django_settings, "AMQP_URI", None):
        nameko_config = {**nameko_config, "AMQP_URI": amqp_uri}
    return Settings(
        service_name=getattr(django_settings, "SERVICE_NAME", None),
        nameko_config=nameko_config,
        **{name.lower(): value for name, value in options.items()},
    )


def model_entries() -> object:
    """``MODELS_CRUD_EVENT`` as it stands in the settings, unchecked."""
    return getattr(django_settings, "MODELS_CRUD_EVENT", [])


def option_problems() -> list[Error]:
    """What is wrong with ``EVENTS_SOURCING``, ``NAMEKO_CONFIG`` and ``SERVICE_NAME``."""
    return [*_read_options()[1], *_service_name_problems()]


def _service_name_problems() -> list[Error]:
    name = getattr(django_settings, "SERVICE_NAME", None)
    if name is None or name == "" or (isinstance(name, str) and name.strip()):
        return []  # a missing one is reported for each entry
    return [
        Error(
            f"SERVICE_NAME is {name!r}.",
            hint="It must be the name of the service that the events come from, a string with something in it.",
            id="django_events_sourcing.E017",
        )
    ]


def unknown_key(where: str, key: object, known: list[str]) -> Error:
    """The error for a key that does not exist, naming the nearest one that does."""
    near = get_close_matches(str(key), known, n=1) or get_close_matches(str(key).upper(), known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known keys: {', '.join(known)}."
    return Error(f"{where} has an unknown key, {key!r}.", hint=hint, id="django_events_sourcing.E002")


def _read_options() -> tuple[dict[str, Any], list[Error]]:
    options: dict[str, Any] = {}
    problems = [
        Error(f"{name} is {type(value).__name__}.", hint="It must be a dict.", id="django_events_sourcing.E009")
        for name in ("EVENTS_SOURCING", "NAMEKO_CONFIG")
        if not isinstance(value := getattr(django_settings, name, {}), Mapping)
    ]
    if problems:
        return options, problems
    for key, value in getattr(django_settings, "EVENTS_SOURCING", {}).items():
        if key not in OPTIONS:
            problems.append(unknown_key("EVENTS_SOURCING", key, list(OPTIONS)))
            continue
        try:
            _, parse = OPTIONS[key]
            options[key] = parse(value)
        except ValueError as exc:
            problems.append(
                Error(
                    f"EVENTS_SOURCING[{key!r}] is {value!r}.",
                    hint=f"It must be {exc}.",
                    id="django_events_sourcing.E009",
                )
            )
    shortest, longest = (options.get(key, OPTIONS[key][0]) for key in ("RETRY_BACKOFF", "RETRY_BACKOFF_MAX"))
    if not problems and shortest > longest:
        problems.append(
            Error(
                f"EVENTS_SOURCING['RETRY_BACKOFF'], {shortest:g} s, is longer than 'RETRY_BACKOFF_MAX', {longest:g} s.",
                hint="The first delay must not be longer than the longest.",
                id="django_events_sourcing.E009",
            )
        )
    return options, problems


def _forget(*, setting: str, **_kwargs: object) -> None:
    if setting in {"EVENTS_SOURCING", "NAMEKO_CONFIG", "AMQP_URI", "SERVICE_NAME"}:
        get_settings.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_events_sourcing.conf")
