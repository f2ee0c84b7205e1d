"""Names for the plain types of what flows through the library."""

from typing import TypeAlias

__all__ = ["Alias", "Microseconds", "ObjectHash", "PartitionNumber", "SequenceNumber"]

#: Of a database: a key of ``DATABASES``.
Alias: TypeAlias = str

#: Of one of the parts of the queue, from 0; the lease on the purge has the number behind the last.
PartitionNumber: TypeAlias = int

#: An event's id in the log, from 1; for one object it grows in the order of commits.
SequenceNumber: TypeAlias = int

#: Of an object, 32 bits; its remainder by the number of partitions is its partition.
ObjectHash: TypeAlias = int

#: Since 1970, UTC, by the database's clock; or between two such moments.
Microseconds: TypeAlias = int
