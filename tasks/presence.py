"""Who this worker is, for people who find its leases, and its signs of life."""

import os
import socket
from uuid import UUID, uuid4

from django_events_sourcing import __version__
from django_events_sourcing.outbox import queries
from django_events_sourcing.outbox.leases import this_process
from django_events_sourcing.types import Alias

__all__ = ["Presence", "presence"]


class Presence:
    """Of a worker, in each of its processes; of any other process, before ``begin``.

    Attributes:
        name: The one that Celery knows the worker by; empty before ``begin``.
    """

    def __init__(self) -> None:
        self._id: UUID | None = None
        self.name = ""
        self._pid = 0

    def begin(self, name: str) -> None:
        """Be the worker that Celery knows by this name; what is forked afterwards is of the same."""
        self._id, self.name, self._pid = uuid4(), name, os.getpid()

    @property
    def holder(self) -> str:
        """Who holds this process' leases."""
        return f"worker {self.name}, {this_process()}" if self._id else this_process()

    def note_look(self, using: Alias) -> None:
        """Have database ``using`` know that the worker has just looked for events there."""
        if self._id:
            about = {"name": self.name, "host": socket.gethostname(), "pid": self._pid, "version": __version__}
            queries.note_look(using, self._id, about)


#: That of this process and all that it forks.
presence = Presence()
