"""What a relay did."""

from dataclasses import dataclass

from django_events_sourcing.exceptions import PublishError

__all__ = ["Report"]


@dataclass
class Report:
    """What a relay did.

    Attributes:
        published: How many events were confirmed.
        unrouted: How many of them RabbitMQ had no queue for.
        refused: How many attempts at single events were counted.
        dead: How many events are dead by them.
        trouble: The last trouble with RabbitMQ, None if there was none.
        is_unavailable: Whether it ended because RabbitMQ takes nothing.
        is_stopped: Whether it was asked to stop before nothing was due any more.
        retry_in: After how many seconds the first of the partitions that back off is due, None if there is none.
        got_nothing_done: Why it gave up on events that are due, without trouble with RabbitMQ; empty if it didn't.
    """

    published: int = 0
    unrouted: int = 0
    refused: int = 0
    dead: int = 0
    trouble: PublishError | None = None
    is_unavailable: bool = False
    is_stopped: bool = False
    retry_in: float | None = None
    got_nothing_done: str = ""
