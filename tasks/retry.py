"""The one retry policy: exponential backoff, capped, with jitter."""

import math
import random

from celery.utils.time import get_exponential_backoff_interval

from django_events_sourcing.conf import Settings

__all__ = ["delay"]

# Past this many doublings every cap is reached; the bound keeps the power of two small.
_MAX_DOUBLINGS = 30


def delay(attempts: int, settings: Settings, longest: float = math.inf, shortest: float = 0) -> float:
    """How long to wait before the next attempt.

    Celery's exponential interval; of its jitter only half, so that delays still grow from one attempt to the next.

    Args:
        attempts: How many have failed so far, 1 or more.
        settings: For ``RETRY_BACKOFF`` (the first delay) and ``RETRY_BACKOFF_MAX`` (the longest).
        longest: The longest, where that is less; in seconds.
        shortest: The shortest, to which up to half of it is added, if that is no longer than the longest; in seconds.

    Returns:
        Seconds, between a half and the whole of the capped interval, or more where ``shortest`` asks for it.
    """
    interval: float = get_exponential_backoff_interval(
        settings.retry_backoff, min(attempts - 1, _MAX_DOUBLINGS), min(settings.retry_backoff_max, longest)
    )
    at_least = min(shortest * random.uniform(1, 1.5), settings.retry_backoff_max)  # noqa: S311 - jitter keeps no secret
    return max(interval * random.uniform(0.5, 1), at_least)  # noqa: S311
