"""Which part of the queue an object's events are in, and how relays share the parts."""

import math
import zlib

from django_events_sourcing.types import ObjectHash, PartitionNumber

__all__ = ["PARTITIONS", "TURN", "object_hash", "partition_of", "share_of_partitions"]

# Note [Sharing the work]
# A relay takes what is due and free, but not the share of the others who are at work. When there is more than it could
# publish within a turn, it leaves one share more, for a relay that comes to help: with every turn all partitions may
# change hands. What is left is rounded up, not down: a helper that finds nothing goes, and nobody asks again.

#: Into how many parts the queue is divided. No setting: while relays of two numbers ran, two of them could hold one
#: object's events.
PARTITIONS = 16

#: How long a relay holds on to partitions at a time, in seconds.
TURN = 1.0


def object_hash(object_key: str) -> ObjectHash:
    """A number of 32 bits for an object, the same in every process.

    Whoever chooses keys can choose their numbers: no object may wait for another's events because they are the same.
    """
    return zlib.crc32(object_key.encode())


def partition_of(object_key: str) -> PartitionNumber:
    """The number of the partition that an object's events are in."""
    return object_hash(object_key) % PARTITIONS


def share_of_partitions(others: int, *, is_behind: bool) -> int:
    """How many partitions a relay takes at most.

    Args:
        others: How many relays are at work beside it.
        is_behind: Whether it has more than it could publish within a turn.
    """
    return max(1, PARTITIONS // (others + 2)) if is_behind else math.ceil(PARTITIONS / (others + 1))
