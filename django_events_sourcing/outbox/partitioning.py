"""Which part of the queue an object's events are in."""

import zlib

from django_events_sourcing.types import ObjectHash

__all__ = ["PARTITIONS", "object_hash"]

#: Into how many parts the queue is divided. No setting: while relays of two numbers ran, two of them could hold one
#: object's events.
PARTITIONS = 16


def object_hash(object_key: str) -> ObjectHash:
    """A number of 32 bits for an object, the same in every process; its remainder by ``PARTITIONS`` is the partition.

    Two objects of one number would at times wait for each other, nothing worse.
    """
    return zlib.crc32(object_key.encode())
