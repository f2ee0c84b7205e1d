"""A PostgreSQL database full of events, made by a few statements."""

from psycopg import Connection

from django_events_sourcing.outbox.partitioning import PARTITIONS, object_hash

__all__ = ["BODY", "fill", "refill"]

_DAY = 24 * 3600
BODY = '{"id": 1, "name": "0123456789", "price": "1.00", "created_at": "2026-01-01T00:00:00Z"}'

_LOG = """
INSERT INTO django_events_sourcing_log (event_id, service, name, object, body, headers, time)
SELECT gen_random_uuid(), %(service)s, 'product__updated', key, %(body)s, '{}',
    (extract(epoch FROM now() - %(age)s * interval '1 second') * 1000000)::bigint
FROM generate_series(1, %(count)s) n JOIN object ON number = n %% %(objects)s
ORDER BY n
"""

_QUEUE = """
INSERT INTO django_events_sourcing_queue (partition, sequence, object_hash)
SELECT hash %% %(partitions)s, sequence, hash
FROM (SELECT * FROM django_events_sourcing_log ORDER BY sequence DESC LIMIT %(pending)s) log
JOIN object ON key = log.object
ORDER BY sequence
"""


def fill(
    connection: Connection, service: str, published: int, pending: int, objects: int = 5000, age: float = _DAY
) -> None:
    """Have events of so many objects in the log, and the last of them in the queue.

    Args:
        connection: In autocommit mode.
        service: Where they come from.
        published: How many are in the log alone.
        pending: How many are in the queue, too.
        objects: How many objects they are about, one after the other.
        age: How old they are, in seconds.
    """
    params = {"service": service, "body": BODY, "age": age, "objects": objects, "partitions": PARTITIONS}
    with connection.transaction():
        connection.execute("CREATE TEMPORARY TABLE object (number int, key text, hash bigint) ON COMMIT DROP")
        with connection.cursor().copy("COPY object FROM STDIN") as copy:
            for number in range(objects):
                copy.write_row((number, key := f"project.product:{number}", object_hash(key)))
        connection.execute(_LOG, {**params, "count": published + pending})
        connection.execute(_QUEUE, {**params, "pending": pending})


def refill(connection: Connection, service: str, pending: int, objects: int = 5000, age: float = _DAY) -> None:
    """Have nothing but so many pending events, and tables as if they had never held more; arguments as of ``fill``."""
    connection.execute(
        "TRUNCATE django_events_sourcing_log, django_events_sourcing_queue, django_events_sourcing_failure"
    )
    fill(connection, service, 0, pending, objects, age)
    connection.execute("VACUUM ANALYZE")
