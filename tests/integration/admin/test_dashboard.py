"""The dashboard in Django's admin: what it says, and who may press its buttons."""

import re
from datetime import UTC, datetime

import pytest
from django.contrib.admin.models import LogEntry as HistoryEntry
from django.db import OperationalError, connections
from django.test.utils import CaptureQueriesContext

from django_events_sourcing.admin import dashboard
from django_events_sourcing.admin.chart import chart
from django_events_sourcing.conf import get_settings
from django_events_sourcing.models import Partition, PublishedCount
from django_events_sourcing.operating import problems
from django_events_sourcing.operating.operations import pause
from django_events_sourcing.operating.performing import latest
from django_events_sourcing.operating.status import status
from django_events_sourcing.outbox.clock import MINUTE
from django_events_sourcing.outbox.queries import published_by_minute
from django_events_sourcing.tasks.relay import Relay
from tests.backlog import fill
from tests.integration.admin.test_events import text_of
from tests.integration.conftest import connect, in_use

DASHBOARD = "/admin/django_events_sourcing/partition/"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, django_db_blocker, monkeypatch):
    """The only one with an outbox; not the admin's own."""
    with in_use(request.getfixturevalue(f"{request.param}_alias"), django_db_blocker) as alias:
        monkeypatch.setattr(dashboard, "outbox_databases", lambda: [alias])
        monkeypatch.setattr(problems, "outbox_databases", lambda: [alias])
        yield alias


@pytest.fixture
def viewer(sign_in):
    """Who may look at the dashboard, and at no event."""
    return sign_in("view_partition", name="viewer")


@pytest.fixture
def operator(sign_in):
    """Who may press its buttons, too."""
    return sign_in("view_partition", "pause_partition", "view_logentry")


def press(client, database, action, **data):
    return client.post(DASHBOARD, {"database": database, "action": action, **data})


def paused(database):
    return [each.number for each in status(database).partitions if each.paused_seconds is not None]


def test_dashboard__says_how_it_stands__in_the_words_of_the_command(
    viewer, emit, poison, relay, database, options, start_worker, caplog
):
    """The answer first; then numbers, dead and refused events with their errors, and each partition."""
    options(MAX_ATTEMPTS=1)
    emit("project.product:1")
    poison("project.product:2<b>")
    Relay(database, get_settings()).run()
    options(MAX_ATTEMPTS=5)
    poison("project.product:3")
    Relay(database, get_settings()).run()
    start_worker("celery@here")
    emit("project.product:4")
    text = text_of(viewer.get(DASHBOARD))
    assert "1 event is dead: `manage.py events list --dead` says why" in text
    assert "Pending 2" in text
    assert "Refused, to be tried again 1" in text
    assert "1 event in the last 60 minutes" in text
    assert "celery@here" in text
    assert "project.product:2&lt;b&gt; 0 s 1\u00d7 it cannot be encoded" in text
    assert "project.product:3" in text
    assert [section["using"] for section in viewer.get(DASHBOARD).context["sections"]] == [database]
    assert 'href="/admin/django_events_sourcing/logentry/' not in viewer.get(DASHBOARD).content.decode()


def test_dashboard__when_all_is_well__says_so(viewer, emit, relay, database, start_worker):
    """In a word."""
    start_worker()
    emit("project.product:1")
    relay()
    PublishedCount.objects.using(database).update(unrouted=0)
    shown = viewer.get(DASHBOARD)
    assert "All is well" in text_of(shown)
    assert "verdict-well" in shown.content.decode()


def test_pause__and_resume__as_the_commands_do(operator, emit, relay, database):
    """Of all partitions or some; who did it and why is kept, also in the admin's history."""
    emit("project.product:1")
    page = operator.post(
        DASHBOARD, {"database": database, "action": "pause", "why": "deploy <b>", "partition": ["3", "5"]}, follow=True
    )
    assert f"Partitions 3, 5 of database &#x27;{database}&#x27;: paused: deploy &lt;b&gt;." in text_of(page)
    assert paused(database) == [3, 5]
    assert "by anna: deploy &lt;b&gt;" in text_of(page)
    press(operator, database, "pause")
    assert len(paused(database)) == 16
    assert relay() == []
    press(operator, database, "resume")
    assert paused(database) == []
    Partition.objects.using(database).update(failures=3, retry_at=2**60, error="no <i>")
    text = text_of(operator.get(DASHBOARD))
    assert text.count("no &lt;i&gt;") == 1 + text.split("Now")[0].count("no &lt;i&gt;")
    press(operator, database, "resume now")
    assert relay() == ["project.product:1"]
    assert [(each.kind, each.what, each.who) for each in reversed(latest(database, 9))] == [
        ("pause", "partitions 3, 5", "anna"),
        ("pause", "all partitions", "anna"),
        ("resume", "all partitions", "anna"),
        ("resume", "all partitions, without its delay after trouble", "anna"),
    ]
    assert "Pause partitions 3, 5" in text_of(operator.get("/admin/django_events_sourcing/operation/"))
    assert [entry.change_message for entry in HistoryEntry.objects.order_by("id")] == [
        f"Partitions 3, 5 of database '{database}': paused: deploy <b>.",
        f"All partitions of database '{database}': paused.",
        f"All partitions of database '{database}': resumed.",
        f"All partitions of database '{database}': resumed, without its delay after trouble.",
    ]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"action": "pause"},
        {"action": "stop", "database": "default"},
        {"action": "pause", "database": "nowhere"},
        {"action": "pause", "database": "default", "partition": ["16"]},
        {"action": "pause", "database": "default", "partition": ["x"]},
        {"action": "pause", "database": "default", "why": "x" * 2000},
        {"action": "pause", "database": "default", "why": "\0"},
    ],
)
def test_button__with_bad_input__does_nothing(operator, database, data):
    """And says what is wrong."""
    given = {key: database if value == "default" else value for key, value in data.items()}
    response = operator.post(DASHBOARD, given or {"x": "y"})
    assert response.status_code == 200
    assert 'class="errornote"' in response.content.decode()
    assert paused(database) == []


def test_button__of_who_may_not__is_none(viewer, sign_in, client, database):
    """And there is no way past it."""
    html = viewer.get(DASHBOARD).content.decode()
    assert 'name="action"' not in html
    assert press(viewer, database, "pause").status_code == 403
    assert press(sign_in("pause_partition"), database, "pause").status_code == 403
    assert "/admin/login/" in press(client, database, "pause")["Location"]
    strict = sign_in("view_partition", "pause_partition", name="strict", enforce_csrf_checks=True)
    assert press(strict, database, "pause").status_code == 403
    assert strict.get(f"{DASHBOARD}?database={database}&action=pause").status_code == 200
    assert strict.put(DASHBOARD).status_code in {403, 405}
    assert sign_in("view_logentry", name="other").get(DASHBOARD).status_code == 403
    assert paused(database) == []
    for path in ("3/change/", "3/history/", "3/"):
        assert viewer.get(f"{DASHBOARD}{path}", follow=True).status_code == 404


def test_dashboard__whose_database_is_in_trouble__has_the_others(viewer, database, monkeypatch):
    """A line in place of the rest."""
    monkeypatch.setattr(dashboard, "outbox_databases", lambda: [database, "default"])

    def fail(using, **_options):
        raise OperationalError('connection to "postgres://anna:s3cret@db" failed')

    shown = viewer.get(DASHBOARD)
    assert len(shown.context["sections"]) == 2
    monkeypatch.setattr(dashboard, "status", fail)
    text = text_of(viewer.get(DASHBOARD))
    assert f"Database &#x27;{database}&#x27; cannot be asked" in text
    assert "s3cret" not in text
    monkeypatch.setattr(dashboard, "ask_each", lambda *_args: {database: datetime(2026, 1, 1, 12, tzinfo=UTC)})
    assert "has not answered since 12:00:00 UTC" in text_of(viewer.get(DASHBOARD))


@pytest.fixture
def empty(tmp_path):
    """Alias of a database without any table."""
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "empty")}
    connections.settings["empty"] = connections.configure_settings({"default": {}, "empty": settings})["empty"]
    yield "empty"
    connections["empty"].close()
    del connections["empty"], connections.settings["empty"]


def test_database__without_an_outbox__is_named_only_if_no_other_has_one(viewer, database, empty, monkeypatch):
    """As the commands do."""
    monkeypatch.setattr(dashboard, "outbox_databases", lambda: [database, empty])
    assert [section["using"] for section in viewer.get(DASHBOARD).context["sections"]] == [database]
    monkeypatch.setattr(dashboard, "outbox_databases", lambda: [empty])
    assert "lacks the outbox&#x27;s tables" in text_of(viewer.get(DASHBOARD))


def test_chart__says_in_words_what_it_shows(database):
    """For who can't see it."""
    now = 100 * MINUTE + 7
    counts = [(100, 0, 2), (100, 3, 1), (98, 0, 10), (41, 0, 4), (40, 0, 99)]
    PublishedCount.objects.using(database).bulk_create(
        PublishedCount(minute=minute * MINUTE, partition=partition, count=count) for minute, partition, count in counts
    )
    by_minute = published_by_minute(database, now)
    assert len(by_minute) == 60
    assert (by_minute[-1], by_minute[-3], by_minute[0]) == (3, 10, 4)
    drawn = chart(by_minute)
    assert drawn.summary == (
        "17 events in the last 60 minutes; most of them 2 minutes ago, 10 events; the last in this minute."
    )
    assert [bar.height for bar in drawn.bars if bar.height] == [40, 100, 30]
    assert drawn.bars[-3].label == "2 minutes ago: 10 events"
    assert all(0 <= bar.x < drawn.width and bar.y + bar.height == drawn.height for bar in drawn.bars)
    assert chart([0] * 60).summary == "No event was published in the last 60 minutes."


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_dashboard__of_a_long_queue__costs_no_more(viewer, database, settings, channel):
    """No statement counts it; the numbers are near enough."""
    with connect(database, autocommit=True) as connection:
        fill(connection, settings.SERVICE_NAME, 1000, 100_000)
        connection.execute("VACUUM ANALYZE")
    pause(database, {3}, why="x" * 140_000)
    with CaptureQueriesContext(connections[database]) as captured:
        look = dashboard._look(database)
    assert len(captured) < 40
    assert look.status
    assert abs(look.status.pending - 100_000) < 1000
    facts = dict(dashboard._facts(look.status))
    assert re.fullmatch(r"about [\d,]+", facts["pending"][0])
    with connections[database].cursor() as cursor:
        for query in captured:
            if query["sql"].startswith(("SELECT", "(SELECT", "WITH")) and "pg_stat" not in query["sql"]:
                cursor.execute(f"EXPLAIN {query['sql']}")
                plan = "\n".join(line for (line,) in cursor.fetchall())
                assert "Seq Scan on django_events_sourcing_queue" not in plan, query["sql"]
                assert "Seq Scan on django_events_sourcing_log" not in plan, query["sql"]
