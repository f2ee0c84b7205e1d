"""What PostgreSQL makes of the statements when there are many events."""

import re
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from django_events_sourcing.conf import get_settings
from django_events_sourcing.operating import browsing, health, purge
from django_events_sourcing.operating.listing import Selection
from django_events_sourcing.outbox.queries import STATES
from django_events_sourcing.tasks.relay import Relay
from tests.backlog import fill
from tests.integration.conftest import connect, in_use

PUBLISHED, PENDING = 50_000, 150_000
FAILURE = "django_events_sourcing_failure"

# By which cost PostgreSQL compiles a plan, which takes it longer than these take to run: its jit_above_cost.
COMPILED = 100_000


@pytest.fixture(params=["of now", "of empty tables"])
def backlog(request, queue, settings, postgresql_alias, django_db_blocker):
    """A database full of events, whatever PostgreSQL believes to be in it: it may have counted when it was empty."""
    with in_use(postgresql_alias, django_db_blocker) as database:
        with connect(database, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
            fill(connection, settings.SERVICE_NAME, PUBLISHED, PENDING)
            if request.param == "of now":
                connection.execute("VACUUM ANALYZE")
        yield database


def assert_none_reads_a_table(database, captured):
    """No statement goes through all of the log, of the queue, or of a partition."""
    plans = []
    with connections[database].cursor() as cursor:
        for query in captured:
            if query["sql"].strip().startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH", "(SELECT")):
                cursor.execute(f"EXPLAIN {query['sql']}")
                plans.append(f"{query['sql'][:2000]}\n" + "\n".join(line for (line,) in cursor.fetchall()))
    assert len(plans) > 10
    for plan in plans:
        assert "Seq Scan on django_events_sourcing_log" not in plan
        assert "Seq Scan on django_events_sourcing_queue" not in plan
        assert "Sort Key: q" not in plan  # of all that a partition has, to find the first of it
        assert float(re.findall(r"cost=[\d.]+?\.\.([\d.]+)", plan)[0]) < COMPILED
    print(*plans[:8], *plans[-3:], sep="\n\n")


def test_plans__of_relay_purge_and_probes__go_by_an_index(backlog, options):
    """Whatever there is to do, also where objects wait."""
    with connect(backlog, autocommit=True) as connection:
        connection.execute(
            f"INSERT INTO {FAILURE} (sequence, partition, object_hash, object, attempts, retry_at, error) "
            "SELECT sequence, partition, object_hash, object, 1, 4e18, 'no' FROM django_events_sourcing_queue "
            "JOIN django_events_sourcing_log USING (sequence) ORDER BY sequence LIMIT 100"
        )
    published: list[int] = []
    options(BATCH_SIZE=200)
    with CaptureQueriesContext(connections[backlog]) as captured:
        relay = Relay(backlog, get_settings(), stopping=lambda: sum(published) >= 2000, on_published=published.append)
        relay.run()
        passed = len(captured)
        assert not health._look(backlog, get_settings()).trouble
        assert purge.purge_now(backlog, 3600, stopping=iter([False, False, True]).__next__) > 0
    assert sum(published) >= 2000
    assert passed < len(captured)
    assert_none_reads_a_table(backlog, captured)


def test_plans__of_what_people_look_for__go_by_an_index(backlog):
    """In each state, by all that can be asked for, on the first page and on a later one."""
    with connect(backlog, autocommit=True) as connection:
        connection.execute(
            f"INSERT INTO {FAILURE} (sequence, partition, object_hash, object, attempts, dead_at, error) "
            "SELECT sequence, 0, 0, object, 1, 1, 'no' FROM django_events_sourcing_log WHERE sequence % 7 = 0"
        )
    some = browsing.browse(backlog, Selection()).events[7]
    moment = some.time
    criteria: list[dict[str, Any]] = [
        {},
        {"name": some.name},
        {"name": "no__such"},
        {"service": some.service},
        {"model": "project.product"},
        {"object": some.object},
        {"since": moment},
        {"until": moment},
        {"since": moment, "until": moment, "name": some.name},
        {"ids": frozenset({some.id})},
    ]
    with CaptureQueriesContext(connections[backlog]) as captured:
        for state in (None, *STATES):
            for each in criteria:
                page = browsing.browse(backlog, Selection(state=state, **each), within=0)
                if page.after is not None:
                    browsing.browse(backlog, Selection(state=state, **each), after=page.after, within=0)
    assert_none_reads_a_table(backlog, captured)
