"""What PostgreSQL makes of the relay's, the purge's and the probes' statements when there are many events."""

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from django_events_sourcing.conf import get_settings
from django_events_sourcing.operating import health, purge
from django_events_sourcing.tasks.relay import Relay
from tests.backlog import fill
from tests.integration.conftest import connect

PUBLISHED, PENDING = 50_000, 150_000


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("statistics", ["of now", "of empty tables"])
def test_plans__with_many_events__go_by_an_index(database, queue, options, settings, statistics):
    """Whatever PostgreSQL believes to be in the tables, which it may have counted when they were empty."""
    with connect(database, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        fill(connection, settings.SERVICE_NAME, PUBLISHED, PENDING)
        if statistics == "of now":
            connection.execute("VACUUM ANALYZE")
    published: list[int] = []
    options(BATCH_SIZE=200)
    with CaptureQueriesContext(connections[database]) as captured:
        relay = Relay(database, get_settings(), stopping=lambda: sum(published) >= 2000, on_published=published.append)
        relay.run()
        passed = len(captured)
        assert not health._look(database, get_settings()).trouble
        assert purge.purge_now(database, 3600, stopping=iter([False, False, True]).__next__) > 0
    assert sum(published) >= 2000
    assert passed < len(captured)
    plans = []
    with connections[database].cursor() as cursor:
        for query in captured:
            if query["sql"].startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH", "(SELECT")):
                cursor.execute(f"EXPLAIN {query['sql']}")
                plans.append(f"{query['sql'][:2000]}\n" + "\n".join(line for (line,) in cursor.fetchall()))
    assert len(plans) > 10
    for plan in plans:
        assert "Seq Scan on django_events_sourcing_log" not in plan
        assert "Seq Scan on django_events_sourcing_queue" not in plan
    print(*plans[:8], *plans[-3:], sep="\n\n")
