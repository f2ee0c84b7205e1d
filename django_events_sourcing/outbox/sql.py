"""The statements that run for every event, or every lone one, as text.

Each can be read, and EXPLAINed, as it stands here. They are no QuerySets because to make the SQL takes Django's ORM
longer than to run it takes the database: 4.6 ms of a lone event's way through a worker. Whatever runs now and then is a
QuerySet.

Names in double quotes are quoted as the database wants it. ``{now}`` is its time in microseconds, ``{bigint}`` its type
of whole numbers with 64 bits. What else stands in braces is filled in by ``queries``, with nothing but whole numbers,
texts of this module, and names of a project's tables and columns, quoted by Django.
"""

from collections.abc import Collection
from functools import cache
from typing import Any

from django.db import connections

from django_events_sourcing.outbox.clock import NOW
from django_events_sourcing.outbox.dialects import dialect, letters
from django_events_sourcing.types import Alias

__all__ = [
    "ANY_DEAD",
    "COUNT",
    "COUNT_PART",
    "DELETE",
    "INSERT",
    "INSERT_LOG",
    "INSERT_MANY",
    "INSERT_QUEUE",
    "LOCK_OBJECT",
    "LOCK_ROW",
    "LOOK",
    "NOT_WAITING",
    "ONLY_WELL",
    "ORDERED",
    "PART",
    "READ",
    "RELEASE",
    "START_PASS",
    "TAKE",
    "THOSE",
    "execute",
    "rows",
    "sql",
    "waits",
    "whole_numbers",
]

INSERT_LOG = """
INSERT INTO "django_events_sourcing_log" ("event_id", "service", "name", "object", "body", "headers", "time")
VALUES (%(event_id)s, %(service)s, %(name)s, %(object)s, %(body)s, %(headers)s, %(time)s)
"""

INSERT_QUEUE = """
INSERT INTO "django_events_sourcing_queue" ("partition", "sequence", "object_hash")
VALUES (%(partition)s, %(sequence)s, %(object_hash)s)
"""

#: Both, on PostgreSQL.
INSERT = f"""
WITH entry AS ({INSERT_LOG.strip()} RETURNING "sequence")
INSERT INTO "django_events_sourcing_queue" ("partition", "sequence", "object_hash")
SELECT %(partition)s, "sequence", %(object_hash)s FROM entry
"""

#: The same of many, which are one text, as drivers and PostgreSQL read that sooner than arrays or lists of values. Log
#: and queue are both filled from what has the ids already, so that nothing is to be joined.
INSERT_MANY = """
WITH event AS MATERIALIZED (
    SELECT
        nextval((SELECT pg_get_serial_sequence('django_events_sourcing_log', 'sequence'))::regclass) AS "sequence",
        r.*
    FROM json_to_recordset(%(events)s::json) AS r(
        "event_id" uuid, "service" text, "name" text, "object" text, "body" text, "headers" text, "time" bigint,
        "object_hash" bigint
    )
), entry AS (
    INSERT INTO "django_events_sourcing_log"
        ("sequence", "event_id", "service", "name", "object", "body", "headers", "time")
    SELECT "sequence", "event_id", "service", "name", "object", "body", "headers", "time" FROM event
)
INSERT INTO "django_events_sourcing_queue" ("partition", "sequence", "object_hash")
SELECT "object_hash" %% {partitions}, "sequence", "object_hash" FROM event
"""

#: Of a project's table, whose name and columns are quoted already.
LOCK_ROW = "SELECT 1 FROM {table} WHERE {key} FOR {strength}"

LOCK_OBJECT = {
    "postgresql": "SELECT pg_advisory_xact_lock(%s, %s)",
    "mysql": "INSERT INTO django_events_sourcing_lock (number) VALUES (%s) ON DUPLICATE KEY UPDATE number = number",
}

# Of failures: dead, and with DEAD_BLOCKS_OBJECT in the way of the later events of its object. What died on its way to
# one consumer's queue is not, as all others have it.
_BLOCKS_OBJECT = """f."dead_at" IS NOT NULL AND f."buried_at" IS NULL AND COALESCE(f."replay_to", '') = ''"""

_WAITS = """f."retry_at" > {now}"""

# Of queue rows ``q``: 1 where their object waits, as an event of its own was refused, or is dead and in the way; or 0.
# The hash finds the few that it may be, the object decides: whoever chooses keys finds one of any hash in a moment.
# Of an EXISTS, PostgreSQL would make a join with the queue, and might go through all of a partition for it.
_OBJECT_WAITS = """COALESCE((
    SELECT 1 FROM "django_events_sourcing_failure" f
    WHERE f."partition" = q."partition" AND f."object_hash" = q."object_hash" AND ({waits}) AND (
        f."object" IS NULL OR {its_object}
            = (SELECT l."object" FROM "django_events_sourcing_log" l WHERE l."sequence" = q."sequence")
    )
    LIMIT 1
), 0)"""

# In place of EXISTS, for which PostgreSQL would read the queue from its start, dead rows and all, it is asked for the
# first event that is due.
LOOK = f"""
SELECT p."number", p."owner", p."failures",
    (
        SELECT q."sequence" FROM "django_events_sourcing_queue" q
        WHERE q."partition" = p."number" AND {_OBJECT_WAITS} <> 1
        ORDER BY q."sequence" LIMIT 1
    ) AS "first_due",
    p."owner" IS NOT NULL AND p."leased_until" > {{now}} AS "is_leased",
    p."paused_at" IS NOT NULL AS "is_paused",
    CASE WHEN p."retry_at" > {{now}} THEN p."retry_at" - {{now}} END AS "retry_in"
FROM "django_events_sourcing_partition" p
WHERE p."number" < {{partitions}}
ORDER BY p."number"
"""

TAKE = """
UPDATE "django_events_sourcing_partition"
SET "owner" = %(owner)s, "holder" = %(holder)s, "leased_until" = {now} + CAST(%(lease)s AS {bigint})
WHERE "number" {numbers}
    AND ("owner" IS NULL OR "leased_until" <= {now})
    AND ("retry_at" IS NULL OR "retry_at" <= {now})
    AND "paused_at" IS NULL{only_well}
"""
ONLY_WELL = ' AND "failures" = 0'

RELEASE = """
UPDATE "django_events_sourcing_partition" SET "owner" = NULL, "leased_until" = NULL
WHERE "owner" = %(owner)s AND "number" {numbers}
"""

# One short scan of the index for each partition, whatever the statistics say.
PART = """
SELECT * FROM (
    SELECT q."partition", q."sequence", q."object_hash", q."replay_to" FROM "django_events_sourcing_queue" q
    WHERE q."partition" = CAST(%({name}_number)s AS {bigint})
        AND q."sequence" > CAST(%({name}_after)s AS {bigint}){more}
    ORDER BY q."sequence" LIMIT {limit}
) {name}
"""

#: What more a pass says of its parts, but for the first.
ORDERED = """ AND q."sequence" <= CAST(%(top)s AS {bigint}){left_out}"""

#: Of queue rows: their object doesn't wait.
NOT_WAITING = f" AND {_OBJECT_WAITS} <> 1"

# A body that is too large to come along is left to be asked for by itself; what is known is how large it is.
_BODY = """CASE WHEN {octets} <= CAST(%(most_of_each)s AS {bigint}) THEN l."body" END, {octets}"""
_OCTETS = {
    "postgresql": 'OCTET_LENGTH(l."body")',
    "mysql": 'OCTET_LENGTH(l."body")',
    "sqlite": 'LENGTH(CAST(l."body" AS BLOB))',
}

_ROWS = 'q."partition", q."sequence", q."object_hash", q."replay_to"'
_EVENT = f'{_BODY}, l."event_id", l."service", l."name", l."object", l."headers", l."time"'

READ = f"""
SELECT {_ROWS}, {_EVENT}
FROM ({{parts}}) q
LEFT JOIN "django_events_sourcing_log" l ON l."sequence" = q."sequence"
"""

# The highest id and the first portion are of the same moment. It has no row only where the partitions have been emptied
# meanwhile: then nothing is the relay's to read.
START_PASS = f"""
SELECT s.*, {_ROWS}, {_EVENT}
FROM (
    SELECT {{now}} AS "now",
        (SELECT l."sequence" FROM "django_events_sourcing_log" l ORDER BY l."sequence" DESC LIMIT 1) AS "top",
        EXISTS (
            SELECT 1 FROM "django_events_sourcing_failure" f
            WHERE f."partition" {{numbers}} AND f."retry_at" IS NOT NULL
        ) AS "any_refused",
        {{any_dead}} AS "any_dead"
    FROM "django_events_sourcing_partition"
    WHERE "number" = CAST(%(first)s AS {{bigint}})
) s
LEFT JOIN ({{parts}}) q ON 1 = 1
LEFT JOIN "django_events_sourcing_log" l ON l."sequence" = q."sequence"
"""
ANY_DEAD = f"""EXISTS (
    SELECT 1 FROM "django_events_sourcing_failure" f WHERE f."partition" {{numbers}} AND {_BLOCKS_OBJECT}
)"""

DELETE = """DELETE FROM "django_events_sourcing_queue" WHERE "replay_to" {is_null} AND ({them})"""

#: Of queue rows: those of one partition.
THOSE = """("partition" = CAST(%({name})s AS {bigint}) AND "sequence" {sequences})"""

COUNT = """
UPDATE "django_events_sourcing_published"
SET "count" = "count" + CAST(%(count)s AS {bigint}), "unrouted" = "unrouted" + CAST(%(unrouted)s AS {bigint}),
    "last_at" = CAST(%(last_at)s AS {bigint})
WHERE "minute" = CAST(%(minute)s AS {bigint}) AND "partition" = CAST(%(partition)s AS {bigint})
"""

#: Of one partition: how many events are pending, and how many of them due, as far as the first ``limit`` of them go.
COUNT_PART = f"""
SELECT {{number}}, COUNT(*), SUM(1 - {_OBJECT_WAITS})
FROM (
    SELECT "partition", "sequence", "object_hash" FROM "django_events_sourcing_queue"
    WHERE "partition" = {{number}} ORDER BY "sequence" LIMIT {{limit}}
) q
"""


def sql(using: Alias, template: str, **parts: object) -> str:
    """One of the statements, or a part of one, as database ``using`` takes it."""
    spoken = dialect(connections[using])
    return _filled_in(spoken, template, **parts) if parts else _without_parts(spoken, template)


@cache  # the statements of a save are among them
def _without_parts(spoken: str, template: str) -> str:
    return _filled_in(spoken, template)


def _filled_in(spoken: str, template: str, **parts: object) -> str:
    bigint = "SIGNED" if spoken == "mysql" else "BIGINT"
    its_object = letters(spoken, 'f."object"')
    text = template.format(now=NOW[spoken], bigint=bigint, octets=_OCTETS[spoken], its_object=its_object, **parts)
    return text.replace('"', "`") if spoken == "mysql" else text


def waits(*, dead_blocks: bool) -> str:
    """What says of failures that their objects wait: a part of a statement, still to be filled in.

    Args:
        dead_blocks: Whether an object with a dead event does.
    """
    return f"{_WAITS} OR ({_BLOCKS_OBJECT})" if dead_blocks else _WAITS


def whole_numbers(using: Alias, name: str, values: Collection[int]) -> tuple[str, dict[str, Any]]:
    """What says that a whole number is among some: a text, and the parameter that belongs to it.

    On PostgreSQL it is the same text however many there are, whose plan can be kept.
    """
    if dialect(connections[using]) == "postgresql":
        return f"= ANY(CAST(%({name})s AS bigint[]))", {name: list(values)}
    return f"IN ({', '.join(f'{value:d}' for value in values)})", {}


def rows(using: Alias, statement: str, params: dict[str, Any]) -> list[Any]:
    """Run a statement, and return what it selects, as the driver gives it."""
    with connections[using].cursor() as cursor:
        cursor.execute(statement, params)
        return list(cursor.fetchall())


def execute(using: Alias, statement: str, params: dict[str, Any]) -> int:
    """Run a statement, and return how many rows it was about."""
    with connections[using].cursor() as cursor:
        cursor.execute(statement, params)
        return int(cursor.rowcount)
