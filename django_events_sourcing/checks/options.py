"""Checks of the settings but ``MODELS_CRUD_EVENT``, and of their names."""

from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

from django.conf import global_settings, settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's own name

from django_events_sourcing.capture.bypass import has_parser
from django_events_sourcing.checks.readable import readable_settings
from django_events_sourcing.conf import OPTIONS, option_problems

__all__ = ["check_options", "service_name_doubts"]


def check_options(**_kwargs: Any) -> list[CheckMessage]:
    """``EVENTS_SOURCING`` and the other settings: E002, E009, E017, E028 and W004 to W006."""
    doubts = service_name_doubts("SERVICE_NAME", getattr(settings, "SERVICE_NAME", None))
    return [*option_problems(), *doubts, *_misspelt(), *_misplaced(), *_without_parser()]


def service_name_doubts(where: str, name: object) -> list[CheckMessage]:
    """What is odd about the name of a service: blanks, which a service may have in its name, but few do."""
    if not isinstance(name, str) or not name.strip() or not any(character.isspace() for character in name):
        return []
    return [
        Warning(
            f"{where} is {name!r}: services that listen to {name.strip()!r} or the like get none of these events.",
            hint="Write it as nameko's @event_handler has it, without blanks.",
            id="django_events_sourcing.W004",
        )
    ]


def _misspelt() -> Iterator[CheckMessage]:
    """The settings that another name may have been meant for; ``MODELS_CRUD_EVENT``, without which nothing happens."""
    names = [name for name in dir(settings) if name.isupper() and not hasattr(global_settings, name)]
    for name in ("MODELS_CRUD_EVENT", "EVENTS_SOURCING", "NAMEKO_CONFIG"):
        near = [] if name in names else get_close_matches(name, names, n=1, cutoff=0.85)
        if near or (name == "MODELS_CRUD_EVENT" and name not in names):
            yield Warning(
                f"{name} is not set{', so that no model sends events' if name == 'MODELS_CRUD_EVENT' else ''}.",
                hint=f"Did you mean it by {near[0]!r}?" if near else "Name models in it, or set it to [].",
                id="django_events_sourcing.W005",
            )


def _without_parser() -> Iterator[CheckMessage]:
    options = readable_settings()
    if options and options.bypass != "ignore" and not has_parser():
        yield Error(
            f"EVENTS_SOURCING['BYPASS'] is {options.bypass!r}, and sqlglot is not installed: nothing is looked for.",
            hint="Install django-events-sourcing[bypass].",
            id="django_events_sourcing.E028",
        )


def _misplaced() -> Iterator[CheckMessage]:
    """Keys of ``EVENTS_SOURCING`` that stand beside it."""
    inside = getattr(settings, "EVENTS_SOURCING", {})
    for key, (_, parse) in OPTIONS.items():
        if not hasattr(settings, key) or key in inside:
            continue
        with suppress(ValueError):  # one that it could not be is a setting of somebody else's
            parse(getattr(settings, key))
            yield Warning(
                f"{key} is a setting by itself, which nothing of this library reads.",
                hint=f"Write EVENTS_SOURCING = {{{key!r}: …}}. If it is another app's, add this check's id to "
                "SILENCED_SYSTEM_CHECKS.",
                id="django_events_sourcing.W006",
            )
