"""The leases that one relay holds."""

import logging
import os
import socket
from collections.abc import Collection
from time import monotonic
from uuid import uuid4

from django_events_sourcing.logs import Numbers
from django_events_sourcing.outbox import queries
from django_events_sourcing.types import Alias, PartitionNumber

__all__ = ["Leases", "this_process"]

logger = logging.getLogger(__name__)

# A lease is renewed when this part of it is over.
_RENEW_AFTER = 1 / 3


class Leases:
    """Which partitions one relay may publish from, and until when.

    The database's clock says when a lease ends. Here only the time that has passed since it was asked for is measured,
    which began before the lease did: it is never trusted for too long.

    Args:
        using: Alias of the database.
        duration: Of a lease, in seconds.
        holder: Who holds them, for people; by default, this process.
    """

    def __init__(self, using: Alias, duration: float, holder: str = "") -> None:
        self.owner = uuid4()
        self._holder = holder or this_process()
        self._using = using
        self._duration = duration
        self._numbers: set[PartitionNumber] = set()
        self._asked = 0.0

    def __repr__(self) -> str:
        seconds = max(0.0, self._asked + self._duration - monotonic()) if self._numbers else 0.0
        return f"<Leases of {self.owner} on partitions {Numbers(self._numbers)} of {self._using!r} for {seconds:.1f} s>"

    @property
    def numbers(self) -> frozenset[PartitionNumber]:
        """The partitions that are held."""
        return frozenset(self._numbers)

    def holds(self, number: PartitionNumber) -> bool:
        """Whether an event of the partition may be published at this moment."""
        return number in self._numbers and monotonic() < self._asked + self._duration

    def take(self, numbers: Collection[PartitionNumber], *, only_well: bool = False) -> None:
        """Lease what is free of the partitions, in place of those held before; or of that what met with no trouble."""
        self._numbers, self._asked = set(), monotonic()
        if numbers:
            self._numbers = queries.take(
                self._using, self.owner, numbers, self._duration, holder=self._holder, only_well=only_well
            )
            logger.debug("Leased, of partitions %s: %r.", Numbers(numbers), self)

    def reserve(self, number: PartitionNumber) -> bool:
        """Lease a partition as an operator does, also one that is paused or backs off."""
        asked = monotonic()
        if queries.reserve(self._using, self.owner, number, self._duration, self._holder):
            self._numbers = {number}
            self._asked = asked
        logger.debug("Reserved, of partition %d: %r.", number, self)
        return number in self._numbers

    def keep(self) -> None:
        """Renew the leases when it is time; those that were lost are no longer held."""
        if self._numbers and monotonic() >= self._asked + self._duration * _RENEW_AFTER:
            self.renew()

    def renew(self) -> None:
        """Renew the leases; those that were lost are no longer held."""
        asked = monotonic()
        lost = self._numbers - queries.renew(self._using, self.owner, self._numbers, self._duration)
        self._asked = asked
        self._numbers -= lost
        logger.debug("Renewed, and lost those on partitions %s: %r.", Numbers(lost), self)
        if not lost:
            return
        queries.count_lost(self._using, lost)
        logger.warning(
            "Leases on partitions %s of database %r ran out after %s s while events were published; another relay has "
            "taken over. If this happens often, set a longer EVENTS_SOURCING['LEASE'].",
            Numbers(lost),
            self._using,
            self._duration,
            extra={"database": self._using, "partitions": sorted(lost)},
        )

    def release(self, *, retry_in: float | None = None) -> None:
        """Give back what is held; for nobody to take within ``retry_in`` seconds."""
        if self._numbers:
            queries.release(self._using, self.owner, self._numbers, retry_in=retry_in)
            logger.debug("Gave back: %r.", self)
            self._numbers = set()


def this_process() -> str:
    """Where people find it."""
    return f"pid {os.getpid()} on {socket.gethostname()}"
