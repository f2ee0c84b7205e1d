"""What several subcommands are given, as argparse takes it."""

import getpass
import math
import os
import socket
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from datetime import datetime, time

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from django_events_sourcing.criteria import model_label, object_key

__all__ = ["add_by", "add_criteria", "days", "moment", "positive", "text"]


# How much somebody may say.
_LONGEST = 1000


def add_by(parser: ArgumentParser) -> None:
    """Who does it."""
    parser.add_argument("--by", type=text, metavar="NAME", default=_user(), help="Who says so; by default, the user.")


def add_criteria(parser: ArgumentParser) -> None:
    """Which events, by what they are."""
    parser.add_argument("--service", metavar="NAME", help="Events that come from that service.")
    parser.add_argument("--name", metavar="EVENT", help="Events of that name.")
    parser.add_argument(
        "--model", type=_argument(model_label), metavar="APP.MODEL", help="Events about objects of that model."
    )
    parser.add_argument(
        "--object", type=_argument(object_key), metavar="APP.MODEL:PK", help="Events about that object."
    )
    parser.add_argument("--since", type=moment, metavar="TIME", help="Events of that time and later; ISO 8601.")


def _user() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # of a container, whose user has no name
        name = f"user {os.getuid()}"
    return f"{name} on {socket.gethostname()}"


def _number(text: str, *, may_be_zero: bool) -> float:
    """A finite number.

    Raises:
        argparse.ArgumentTypeError: It isn't one, or too low.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf or (value == 0 and not may_be_zero):
        raise ArgumentTypeError(f"{text!r} is not a number {'from 0 on' if may_be_zero else 'above 0'}")
    return value


def days(text: str) -> float:
    """Days, as seconds."""
    return _number(text, may_be_zero=True) * 24 * 3600


def positive(text: str) -> float:
    """A finite number above 0."""
    return _number(text, may_be_zero=False)


def text(given: str) -> str:
    """Something that somebody says."""
    if not given.strip():
        raise ArgumentTypeError("it says nothing")
    if len(given) > _LONGEST:
        raise ArgumentTypeError(f"it has {len(given):,} characters, more than {_LONGEST:,}")
    return given.strip()


def _argument(parse: Callable[[str], str]) -> Callable[[str], str]:
    """The same, as argparse takes it: by its own error, whose message it shows."""

    def parse_argument(given: str) -> str:
        try:
            return parse(given)
        except ValueError as exc:
            raise ArgumentTypeError(str(exc)) from None

    return parse_argument


def moment(text: str) -> datetime:
    """A moment; one without a time zone is in that of the project."""
    try:
        found = parse_datetime(text)
        if found is None and (day := parse_date(text)):
            found = datetime.combine(day, time())
    except ValueError:
        found = None
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no time like 2026-01-31 or 2026-01-31T12:00:00+01:00")
    return timezone.make_aware(found, timezone.get_default_timezone()) if timezone.is_naive(found) else found
