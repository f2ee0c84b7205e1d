"""Every statement on the outbox's tables that a guarantee rests on.

None of them leaves a transaction open: events are published in between.
"""

# Note [Why order holds]
# Of two events of one object, a before b, b's id was drawn after a had been committed: the object's row was locked
# until then, or what stands in for it (Note [Locks of emit]). A *pass* asks for the highest id first and reads no
# further than that, in the order of ids. So when it comes upon b, a had been committed before the pass began, and was
# read before b or was gone. Without that bound, a long transaction could commit a below the point that the pass has
# reached, and b, written after that, go out first. What is committed during a pass is for the next one, which begins at
# the lowest id again: nothing is skipped. The first portion is read by the statement that asks for the highest id: it
# sees what was committed when it began.
#
# An object that waits (one of its events was refused, or could not be sent) waits to the end of the pass, whatever
# happens meanwhile: the pass may have gone by its next events.
#
# Only the holder of a partition's lease publishes its events. Two may do so for a moment, when a holder was suspended
# and its lease has run out. Then events go out twice, each time under the same id; the first to arrive of each are in
# order.

from django_events_sourcing.outbox.queries.common import PURGE
from django_events_sourcing.outbox.queries.counting import (
    Published,
    count_parts,
    estimate,
    published_by_minute,
    published_last_hour,
)
from django_events_sourcing.outbox.queries.inserting import insert, is_one_statement
from django_events_sourcing.outbox.queries.locking import lock_object, lock_row
from django_events_sourcing.outbox.queries.outcomes import Refusal, RefusalPolicy, bury, count_published, refuse, settle
from django_events_sourcing.outbox.queries.partitions import (
    PartitionState,
    back_off,
    count_lost,
    end_backoff,
    ensure_partitions,
    leased,
    look,
    pause,
    recovered,
    release,
    renew,
    reserve,
    resume,
    take,
    unreserve,
)
from django_events_sourcing.outbox.queries.passes import (
    LargeEvent,
    Pass,
    Portion,
    Queued,
    UnreadableError,
    complete,
    count_pending,
    load,
    read,
    start_pass,
)
from django_events_sourcing.outbox.queries.purging import buried, purge, purge_buried, purge_counts, purgeable
from django_events_sourcing.outbox.queries.replaying import (
    STATES,
    Replayable,
    Selection,
    criteria,
    replayable,
    requeue,
    selected,
)
from django_events_sourcing.outbox.queries.workers import last_workers, note_look

__all__ = [
    "PURGE",
    "STATES",
    "LargeEvent",
    "PartitionState",
    "Pass",
    "Portion",
    "Published",
    "Queued",
    "Refusal",
    "RefusalPolicy",
    "Replayable",
    "Selection",
    "UnreadableError",
    "back_off",
    "buried",
    "bury",
    "complete",
    "count_lost",
    "count_parts",
    "count_pending",
    "count_published",
    "criteria",
    "end_backoff",
    "ensure_partitions",
    "estimate",
    "insert",
    "is_one_statement",
    "last_workers",
    "leased",
    "load",
    "lock_object",
    "lock_row",
    "look",
    "note_look",
    "pause",
    "published_by_minute",
    "published_last_hour",
    "purge",
    "purge_buried",
    "purge_counts",
    "purgeable",
    "read",
    "recovered",
    "refuse",
    "release",
    "renew",
    "replayable",
    "requeue",
    "reserve",
    "resume",
    "selected",
    "settle",
    "start_pass",
    "take",
    "unreserve",
]
