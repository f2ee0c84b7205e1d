"""A check for django-health-check (4), beside its own: ``"django_events_sourcing.health_check.Events"``."""

from dataclasses import dataclass, field
from datetime import timedelta

from health_check.base import HealthCheck
from health_check.exceptions import ServiceUnavailable

from django_events_sourcing.views import problems

__all__ = ["Events"]


@dataclass
class Events(HealthCheck):  # type: ignore[misc]
    """Whether events can be saved, and whether they flow, as ``views.health`` has it.

    Args:
        only: "save" or "flow": that alone.

    Raises:
        ValueError: ``only`` is something else.
    """

    only: str = ""
    timeout: timedelta = field(default=timedelta(seconds=2), repr=False)

    def run(self) -> None:
        """Ask.

        Raises:
            health_check.exceptions.ServiceUnavailable: Something is wrong; it says what, in which database, since when.
        """
        found = [each for those in problems(self.only).values() for each in those]
        if found:
            raise ServiceUnavailable("; ".join(dict.fromkeys(map(str, found))))
