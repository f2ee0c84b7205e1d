"""The outbox's tables: a log of what happened, and what of it still has to go out.

An event is *pending* while it has a row in the queue, *dead* while it has a failure with ``dead_at``, else *published*;
a dead one is *buried* when an operator took it out of the way.
All times are microseconds since 1970 by ``clock``.
"""

from django.db import models

__all__ = ["Failure", "LogEntry", "ObjectLock", "Operation", "Partition", "PublishedCount", "QueueEntry", "Worker"]


class LogEntry(models.Model):
    """One event. The log is only appended to; what is older than ``RETENTION`` is purged from its beginning.

    ``sequence`` is drawn while the transaction holds the lock on the object's row, so that for each object it follows
    the order of the commits. Between objects it says nothing.
    """

    sequence = models.BigAutoField(primary_key=True)
    event_id = models.UUIDField(unique=True)
    service = models.CharField(max_length=255)
    name = models.CharField(max_length=255)
    object = models.TextField()
    body = models.TextField()
    headers = models.TextField()
    time = models.BigIntegerField()

    class Meta:
        db_table = "django_events_sourcing_log"
        verbose_name = "event"
        default_permissions = ("view",)
        permissions = [("replay_logentry", "Can replay events"), ("bury_logentry", "Can bury events")]

    def __str__(self) -> str:
        return f"{self.name} {self.event_id} of {self.object}"


class QueueEntry(models.Model):
    """An event of the log that is pending. The row is deleted when the event is published.

    ``replay_to`` is set on one that is published once more: the name of the only queue it is for, or empty. So is
    ``queued_at``: when it was put back.
    """

    pk = models.CompositePrimaryKey("partition", "sequence")
    partition = models.SmallIntegerField()
    sequence = models.BigIntegerField()
    object_hash = models.BigIntegerField()
    replay_to = models.CharField(max_length=255, null=True)
    queued_at = models.BigIntegerField(null=True)

    class Meta:
        db_table = "django_events_sourcing_queue"
        default_permissions = ()

    def __str__(self) -> str:
        return f"event {self.sequence} in partition {self.partition}"


class Failure(models.Model):
    """An event that RabbitMQ refused by itself: pending still, and tried again at ``retry_at``, or dead.

    Or one that an operator buried: dead, and in no later event's way. ``error`` is RabbitMQ's; empty if it refused
    nothing. ``object`` is that of the log; without it, the event stands for all objects of its hash.
    """

    sequence = models.BigIntegerField(primary_key=True)
    partition = models.SmallIntegerField()
    object_hash = models.BigIntegerField()
    object = models.TextField(null=True)
    attempts = models.IntegerField()
    retry_at = models.BigIntegerField(null=True)
    dead_at = models.BigIntegerField(null=True)
    buried_at = models.BigIntegerField(null=True)
    buried_by = models.TextField(null=True)
    buried_why = models.TextField(null=True)
    replay_to = models.CharField(max_length=255, null=True)
    error = models.TextField()

    class Meta:
        db_table = "django_events_sourcing_failure"
        default_permissions = ()
        # serves the reading of the queue, which leaves out the objects of these events
        indexes = [models.Index(fields=["partition", "object_hash"], name="events_failure_object")]

    def __str__(self) -> str:
        return f"event {self.sequence}, refused {self.attempts} times"


class Partition(models.Model):
    """Which relay works on a part of the queue, and until when it backs off after trouble.

    While it is paused, only an operator's command takes it. ``holder`` tells people who ``owner`` is. ``failures`` are
    in a row, since ``failing_since``; ``lost`` counts the leases that ran out under a relay that was at work.
    """

    number = models.SmallIntegerField(primary_key=True)
    owner = models.UUIDField(null=True)
    holder = models.TextField(null=True)
    leased_until = models.BigIntegerField(null=True)
    failures = models.IntegerField(default=0)
    failing_since = models.BigIntegerField(null=True)
    retry_at = models.BigIntegerField(null=True)
    error = models.TextField(default="")
    lost = models.IntegerField(default=0)
    paused_at = models.BigIntegerField(null=True)
    paused_by = models.TextField(null=True)
    paused_why = models.TextField(null=True)

    class Meta:
        db_table = "django_events_sourcing_partition"
        verbose_name_plural = "dashboard"
        default_permissions = ("view",)
        permissions = [("pause_partition", "Can pause and resume publishing")]

    def __str__(self) -> str:
        return f"partition {self.number}"


class ObjectLock(models.Model):
    """Held, on MySQL and MariaDB, by who sends an event of an object that has no row: one for many objects."""

    number = models.SmallIntegerField(primary_key=True)

    class Meta:
        db_table = "django_events_sourcing_lock"
        default_permissions = ()

    def __str__(self) -> str:
        return f"lock {self.number}"


class PublishedCount(models.Model):
    """How many events were published within a minute, by the relay that held ``partition`` (and others with it).

    ``unrouted`` of them RabbitMQ had no queue for; ``last_at`` is when some were published for the last time.
    """

    pk = models.CompositePrimaryKey("minute", "partition")
    minute = models.BigIntegerField()
    partition = models.SmallIntegerField()
    count = models.IntegerField()
    unrouted = models.IntegerField(default=0, db_default=0)
    last_at = models.BigIntegerField(null=True)

    class Meta:
        db_table = "django_events_sourcing_published"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.count} events"


class Worker(models.Model):
    """A worker of Celery's, and when one of its relays last looked for events in this database."""

    id = models.UUIDField(primary_key=True)
    name = models.CharField(max_length=255)
    host = models.CharField(max_length=255)
    pid = models.BigIntegerField()
    version = models.CharField(max_length=255)
    started_at = models.BigIntegerField()
    looked_at = models.BigIntegerField()

    class Meta:
        db_table = "django_events_sourcing_worker"
        default_permissions = ()

    def __str__(self) -> str:
        return f"worker {self.name}"


class Operation(models.Model):
    """What somebody does to the outbox, and how far it has got.

    What was asked for in Django's admin a worker does: the rest of its ``events``, the ids from ``position`` on, in
    JSON. ``runner`` does so, and gave its last sign of life at ``seen_at``. ``done`` counts those that it came to
    something for; the others were pending already, say.
    """

    id = models.UUIDField(primary_key=True)
    kind = models.CharField(max_length=255)
    what = models.TextField()
    who = models.TextField()
    why = models.TextField()
    asked_at = models.BigIntegerField()
    runner = models.UUIDField(null=True)
    seen_at = models.BigIntegerField(null=True)
    ended_at = models.BigIntegerField(null=True)
    events = models.TextField(default="")
    total = models.IntegerField()
    position = models.IntegerField(default=0)
    done = models.IntegerField(default=0)
    error = models.TextField(default="")

    class Meta:
        db_table = "django_events_sourcing_operation"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.kind} of {self.what}"
