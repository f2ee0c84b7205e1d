"""Sums that the processes of a worker share: each adds to them, and one reads them all."""

# Note [Sums in shared memory]
# Processes of a pool come and go, and may be killed; what they counted is to stay. prometheus-client has a mode for
# several processes, but that is one for all that a project measures, keeps files for each process that ever was, and
# must be asked for before it is imported. A few numbers in memory that all processes have since the fork need no file,
# no thread, and nobody who listens.

import json
import mmap
from collections.abc import Mapping

from django_events_sourcing.tasks.moments import SharedLock
from django_events_sourcing.texts import printable

__all__ = ["OTHER", "Key", "SharedSums"]

#: What a row is known by.
Key = tuple[str, ...]

#: What each part of the key is of the row for all that have none of their own.
OTHER = "other"

# How many bytes a key may take.
_LONGEST_KEY = 1024


class SharedSums:
    """Rows of numbers, 0 at first, for all processes that are forked after they were made.

    A key has a row from when it is first added to. What has no place any more, or a key that is too long, is added to
    one row for all of these.

    Args:
        rows: How many keys have one of their own.
        columns: How many numbers are in a row.
        parts: How many a key has.
    """

    def __init__(self, rows: int, columns: int, parts: int) -> None:
        self._most = rows
        self._columns = columns
        self._other: Key = (OTHER,) * parts
        self._lock = SharedLock()
        self._keys = mmap.mmap(-1, _LONGEST_KEY * rows)
        # How many keys there are; the row of all others; those of the keys. A number is written at once, or not.
        self._numbers = memoryview(mmap.mmap(-1, 8 * (1 + columns * (1 + rows)))).cast("d")
        self._rows: dict[Key, int] = {}  # as far as this process has read them
        self._found: dict[bytes, int] = {}  # the same, as they are kept

    def __repr__(self) -> str:
        return f"<SharedSums: {int(self._numbers[0])} of {self._most} rows, {self._columns} columns>"

    def add(self, key: Key, numbers: Mapping[int, float]) -> None:
        """Add to the key's row: by column, what."""
        with self._lock.locked():
            first = 1 + self._columns * self._row(key)
            for column, number in numbers.items():
                self._numbers[first + column] += number

    def read(self) -> dict[Key, list[float]]:
        """What each key's row has; that of all others is always there.

        It takes no lock: who reads may be the process that forks, and a lock is forked as it stands.
        """
        keys = [self._other, *(tuple(json.loads(self._kept(number))) for number in range(int(self._numbers[0])))]
        firsts = range(1, 1 + self._columns * len(keys), self._columns)
        return {
            key: [*map(float, self._numbers[first : first + self._columns])]
            for key, first in zip(keys, firsts, strict=True)
        }

    def _row(self, key: Key) -> int:
        """Its number, from 1 on; 0 is that of all others."""
        if found := self._rows.get(key):
            return found
        kept = json.dumps([printable(part) for part in key]).encode()
        for number in range(len(self._found), int(self._numbers[0])):  # that other processes have added
            self._found[self._kept(number)] = number + 1
        if kept not in self._found:
            number = len(self._found)
            if number == self._most or len(kept) > _LONGEST_KEY or key == self._other:
                return 0
            self._keys[_LONGEST_KEY * number : _LONGEST_KEY * number + len(kept)] = kept
            self._found[kept] = number + 1
            self._numbers[0] = number + 1
        return self._rows.setdefault(key, self._found[kept])

    def _kept(self, number: int) -> bytes:
        return self._keys[_LONGEST_KEY * number : _LONGEST_KEY * (number + 1)].rstrip(b"\0")
