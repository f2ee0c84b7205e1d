"""The events in Django's admin: who sees what, and what an action comes to."""

import json
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from django.contrib.admin.models import LogEntry as HistoryEntry
from django.db import OperationalError

from django_events_sourcing.admin import events as events_admin
from django_events_sourcing.admin import operations as operations_admin
from django_events_sourcing.conf import get_settings
from django_events_sourcing.models import Operation
from django_events_sourcing.operating.inspection import inspect
from django_events_sourcing.operating.operations import bury, pause
from django_events_sourcing.operating.performing import perform
from django_events_sourcing.tasks.relay import Relay
from tests.project.models import Product

LIST = "/admin/django_events_sourcing/logentry/"
OPERATIONS = "/admin/django_events_sourcing/operation/"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, django_db_blocker):
    """Not the admin's own."""
    from tests.integration.conftest import in_use

    with in_use(request.getfixturevalue(f"{request.param}_alias"), django_db_blocker) as alias:
        yield alias


def page(client, query="", **params):
    """The text of a list, without tags."""
    response = client.get(LIST + "?" + urlencode(params) if params else LIST + query)
    assert response.status_code == 200
    return response


def text_of(response):
    """What stands on a page, without its tags."""
    html = re.sub(r"<(script|style).*?</\1>", "", response.content.decode(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def address(database, event_id):
    return f"{LIST}{database}.{event_id}/change/"


def listed(response):
    return [row["object"] for row in response.context["rows"]]


@pytest.fixture
def outbox(emit, poison, database, options, channel, caplog):
    """An event of each state."""
    options(MAX_ATTEMPTS=1)
    found = {"dead": poison("project.order:1"), "buried": poison("project.order:2")}
    found["published"] = emit("project.product:3", name="product__created", time=datetime.now(UTC) - timedelta(days=3))
    Relay(database, get_settings()).run()
    bury(database, found["buried"].id, "a mistake", "anna")
    options(MAX_ATTEMPTS=5)
    found["refused"] = poison("project.order:4")
    Relay(database, get_settings()).run()
    found["pending"] = emit("project.order:5", '{"id": 5, "name": "five"}')
    return found


def test_list__by_each_criterion__those_that_meet_all(viewer, outbox, database):
    """The same that `events list` finds, with the same words."""
    shown = page(viewer, database=database)
    assert listed(shown) == [outbox[s].object for s in ("pending", "refused", "published", "buried", "dead")]
    assert [row["state"] for row in shown.context["rows"]] == ["pending", "refused", "published", "buried", "dead"]
    assert "refused 1" not in text_of(shown)
    for state in ("refused", "published", "buried", "dead"):
        assert listed(page(viewer, database=database, state=state)) == [outbox[state].object]
    assert len(listed(page(viewer, database=database, state="pending"))) == 2
    for criteria in (
        {"q": str(outbox["published"].id)},
        {"q": "project.Product:3"},
        {"name": "product__created"},
        {"model": "project.Product"},
        {"until": (datetime.now(UTC) - timedelta(days=2)).isoformat()},
    ):
        assert listed(page(viewer, database=database, **criteria)) == ["project.product:3"], criteria
    assert len(listed(page(viewer, database=database, service=outbox["dead"].service))) == 5
    none = page(viewer, database=database, name="none")
    assert listed(none) == []
    assert "No such event here." in text_of(none)


def test_list__of_many__goes_on_page_by_page(viewer, emit, database, monkeypatch):
    """With the same filter; and the last page has no next one."""
    monkeypatch.setattr(events_admin, "_PAGE", 2)
    for number in range(5):
        emit(f"project.product:{number}")
    shown = page(viewer, database=database, model="project.product")
    seen = listed(shown)
    while shown.context["next_url"]:
        shown = viewer.get(shown.context["next_url"])
        seen += listed(shown)
        assert shown.context["using"] == database
    assert seen == [f"project.product:{number}" for number in (4, 3, 2, 1, 0)]


def test_list__whose_time_was_up__says_so(viewer, emit, database, monkeypatch):
    """And offers to go on."""
    from django_events_sourcing.operating import browsing

    emit("project.product:1")
    emit("project.product:2")
    monkeypatch.setattr(browsing, "_PORTION", 1)
    monkeypatch.setattr(events_admin, "browse", lambda *args, **options: browsing.browse(*args, within=0, **options))
    shown = page(viewer, database=database, q="project.product:1")
    assert "The time for this page was up after 1 event, as far back as" in text_of(shown)
    assert listed(viewer.get(shown.context["next_url"])) == ["project.product:1"]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"q": "nonsense"}, "neither the id of an event nor an object"),
        ({"q": "x" * 2000}, "at most 1000 characters"),
        ({"q": "project.product:\0"}, "Null characters are not allowed"),
        ({"database": "nowhere"}, "No database of that name has an outbox"),
        ({"state": "undead"}, "There is no such state"),
        ({"model": "project.Nothing"}, "o installed app has a model"),
        ({"model": "nonsense"}, "o installed app has a model"),
        ({"since": "yesterday"}, "Enter a valid date/time"),
        ({"until": "2026-13-01"}, "Enter a valid date/time"),
        ({"after": "x"}, "Enter a whole number"),
        ({"after": "99999999999999999999"}, "less than or equal to"),
        ({"name": "x' OR 1=1 --"}, ""),
        ({"service": "%' UNION SELECT 1; DROP TABLE django_events_sourcing_log; --"}, ""),
    ],
)
def test_filter__with_bad_input__says_what_is_wrong_and_lists_nothing(viewer, query, problem, emit, database):
    """Each of its own field."""
    emit("project.product:1")
    shown = page(viewer, **{"database": database, **query})
    assert shown.context["rows"] == []
    assert problem in text_of(shown)
    assert listed(page(viewer, database=database)) == ["project.product:1"]


def test_detail__of_each_state__tells_what_show_does(viewer, outbox, database, events):
    """In the same words."""
    pause(database, why="deploy", who="berta")
    for state, event in outbox.items():
        shown = text_of(viewer.get(address(database, event.id)))
        told = events("show", event.id)
        assert f"State {state}" in shown
        assert event.object in shown
        for line in inspect(database, event.id).waits_for:
            assert line.split(";")[0].split(" for ")[0] in shown
        assert ("deploy" in told) == ("deploy" in shown)
    assert "Buried because a mistake" in text_of(viewer.get(address(database, outbox["buried"].id)))
    assert "Last error it cannot be encoded" in text_of(viewer.get(address(database, outbox["dead"].id)))


def test_detail__of_a_body__is_pretty_and_harmless(viewer, emit, database):
    """Whatever it holds: markup, letters that turn the line round, control characters, ten megabytes."""
    evil = "<script>alert(1)</script><svg onload=alert(2)> \u202egnp.exe \x1b[31m"
    event = emit(f"project.product:{evil}", json.dumps({"a": evil, "b": [1, 2]}), headers={"h": evil})
    for response in (viewer.get(address(database, event.id)), page(viewer, database=database)):
        html = response.content.decode()
        assert "<script>alert" not in html
        assert "<svg onload" not in html
        assert "\u202e" not in html
        assert "\x1b" not in html
    html = viewer.get(address(database, event.id)).content.decode()
    assert "&quot;b&quot;: [\n    1,\n    2\n  ]" in html
    large = emit("project.product:1", json.dumps({"a": "<b>" * 4_000_000}))
    response = viewer.get(address(database, large.id))
    assert len(response.content) < 300_000
    assert "characters more" in text_of(response)


def test_detail__links__to_the_object_and_its_other_events(sign_in, viewer, emit, database):
    """To the object's own page only where that is one, for who may see it."""
    event = emit("project.product:7")
    emit("project.product:8")
    shown = viewer.get(address(database, event.id))
    assert listed(viewer.get(shown.context["others_url"])) == ["project.product:7"]
    assert shown.context["object_url"] is None
    other = sign_in("view_logentry", "view_product")
    assert other.get(address(database, event.id)).context["object_url"] == "/admin/project/product/7/change/"
    for key in ("nothing.model:1", "tenant/project.product:7", "project.order:1", "x"):
        assert other.get(address(database, emit(key).id)).context["object_url"] is None


@pytest.mark.parametrize("given", ["x", "nowhere.{id}", "default.{id}", "{id}", ".", "default.", "{other}"])
def test_detail__of_what_is_not_there__is_not_found(viewer, emit, database, given):
    """Also an event of another database than asked."""
    event = emit("project.product:1")
    path = given.format(id=event.id, other=f"{database}.{uuid4()}")
    for name in ("change", "history"):
        assert viewer.get(f"{LIST}{path}/{name}/").status_code == 404


def act(client, database, action, *events, **data):
    return client.post(
        f"{LIST}?{urlencode({'database': database, **data.pop('filter', {})})}",
        {"action": action, "event": [str(event.id) for event in events], **data},
    )


def confirmed(client, database, response, **data):
    """The form of that page, sent."""
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', response.content.decode())
    sending: dict[str, list[str]] = {}
    for name, value in fields:
        sending.setdefault(name, []).append(value)
    return client.post(response.context["here"], {**sending, **data})


def performed(database, response):
    """Do what was asked for."""
    assert response.status_code == 302
    using, operation_id = response["Location"].rstrip("/").split("/")[-2].rsplit(".", 1)
    assert using == database
    assert perform(database, UUID(operation_id))
    return response["Location"]


def test_replay__of_what_was_ticked__asks_says_which_and_is_done_by_a_worker(operator, outbox, database, sent):
    """What is pending already is left out, and it says so; who did it is kept with each event."""
    chosen = [outbox[state] for state in ("dead", "buried", "published", "pending")]
    asking = act(operator, database, "replay", *chosen)
    text = text_of(asking)
    assert "Replay 3 events?" in text
    assert "1 other is pending already, and left out." in text
    assert not Operation.objects.using(database).exists()
    there = performed(database, confirmed(operator, database, asking))
    assert [inspect(database, event.id).state for event in chosen] == ["pending"] * 4
    assert len(sent) == 1
    text = text_of(operator.get(there))
    assert "3 of 3 back in the queue, to be published once more." in text
    assert "Asked for by anna" in text
    assert HistoryEntry.objects.count() == 3
    for event in chosen[:3]:
        history = text_of(operator.get(f"{LIST}{database}.{event.id}/history/"))
        assert "anna Asked to replay it, with operation" in history
    assert "Replay 3 events" in text_of(operator.get("/admin/django_events_sourcing/operation/"))


def test_bury__asks_for_the_reason__and_keeps_it(operator, outbox, database, sent):
    """Without one, nothing is done."""
    chosen = [outbox["dead"], outbox["pending"]]
    asking = act(operator, database, "bury", *chosen)
    for nothing in ({}, {"why": ""}, {"why": "   "}, {"why": "x" * 2000}):
        again = confirmed(operator, database, asking, **nothing)
        assert again.status_code == 200
        assert again.context["why"].errors
    assert not Operation.objects.using(database).exists()
    performed(database, confirmed(operator, database, asking, why=" wrong <b>price</b> "))
    for event in chosen:
        state = inspect(database, event.id)
        assert (state.state, state.buried_by, state.buried_why) == ("buried", "anna", "wrong <b>price</b>")


def test_action__across_the_filter__is_for_all_that_it_finds(operator, emit, database, sent, channel, monkeypatch):
    """Not for what came since it was confirmed, and not for what others dealt with meanwhile."""
    monkeypatch.setattr(events_admin, "_PAGE", 2)
    events = [emit(f"project.product:{number}") for number in range(5)]
    emit("project.order:1")
    which = {"model": "project.product"}
    asking = act(operator, database, "bury", filter=which, across="on")
    assert "Bury 5 events?" in text_of(asking)
    later = emit("project.product:9")
    bury(database, events[0].id, "by another", "berta")
    again = confirmed(operator, database, asking, why="wrong")
    assert "Meanwhile others have been at work: there are 4 events now." in text_of(again)
    performed(database, confirmed(operator, database, again, why="wrong"))
    assert [inspect(database, event.id).state for event in events] == ["buried"] * 5
    assert inspect(database, later.id).state == "pending"


def test_action__on_too_many__does_nothing(operator, emit, database, monkeypatch):
    """And says what to do."""
    monkeypatch.setattr(events_admin, "_MOST", 2)
    for number in range(3):
        emit(f"project.product:{number}")
    response = act(operator, database, "bury", filter={"model": "project.product"}, across="on")
    assert "The filter finds more than 2 events" in text_of(operator.get(response["Location"]))
    assert not Operation.objects.using(database).exists()


def test_buried_events__are_replayed_only_if_they_are_meant(operator, outbox, database):
    """By ticking them, or by the filter."""
    across = act(operator, database, "replay", filter={"service": outbox["dead"].service}, across="on")
    assert "Replay 2 events?" in text_of(across)
    assert "1 other is buried already, and left out." in text_of(across)
    assert "Replay 1 event?" in text_of(act(operator, database, "replay", filter={"state": "buried"}, across="on"))


@pytest.mark.parametrize(
    "data",
    [
        {"action": "replay"},
        {"action": "delete", "event": [str(uuid4())]},
        {"action": "replay", "event": ["x"]},
        {"action": "replay", "event": [str(uuid4())]},
        {"event": [str(uuid4())]},
        {},
    ],
)
def test_action__with_bad_input__does_nothing(operator, outbox, database, data):
    """An error above the list."""
    response = operator.post(f"{LIST}?database={database}", data)
    assert response.status_code == 302
    assert re.search('class="error"', operator.get(response["Location"]).content.decode())
    assert not Operation.objects.using(database).exists()


def test_action__on_events_of_another_database__does_nothing(operator, outbox, database):
    """They are not there."""
    response = act(operator, "default", "replay", outbox["dead"])
    assert "None of them can be replayed." in text_of(operator.get(response["Location"]))
    response = act(operator, "nowhere", "replay", outbox["dead"])
    assert "No database of that name" in text_of(operator.get(response["Location"]))


@pytest.mark.parametrize("permissions", [(), ("replay_logentry", "bury_logentry"), ("view_product",)])
def test_who_may_not_view__sees_nothing(sign_in, outbox, database, permissions):
    """Whatever else he may."""
    client = sign_in(*permissions)
    event = outbox["dead"]
    for path in (LIST, address(database, event.id), "/admin/django_events_sourcing/operation/"):
        assert client.get(path).status_code == 403
    assert act(client, database, "replay", event).status_code == 403


@pytest.mark.parametrize("action", ["replay", "bury"])
def test_who_may_only_view_or_do_the_other__cannot(viewer, sign_in, outbox, database, action, sent):
    """No button, and no way past it."""
    other = sign_in("view_logentry", {"replay": "bury_logentry", "bury": "replay_logentry"}[action], name="other")
    event = outbox["dead"]
    for client in (viewer, other):
        html = client.get(address(database, event.id)).content.decode()
        assert f'value="{action}"' not in html
        for data in ({}, {"confirmed": "1", "why": "x"}):
            assert act(client, database, action, event, **data).status_code == 403
    assert 'name="event"' not in page(viewer, database=database).content.decode()
    assert not Operation.objects.using(database).exists()


def test_stranger__is_asked_to_sign_in(client, outbox, database):
    """And does nothing."""
    assert "/admin/login/" in client.get(LIST)["Location"]
    assert "/admin/login/" in act(client, database, "replay", outbox["dead"], confirmed="1")["Location"]


def test_post__without_the_csrf_token__is_refused(sign_in, outbox, database, sent):
    """On each page that does something."""
    client = sign_in("view_logentry", "replay_logentry", "bury_logentry", enforce_csrf_checks=True)
    assert act(client, database, "replay", outbox["dead"], confirmed="1").status_code == 403
    assert client.post(f"/admin/django_events_sourcing/operation/{database}.{uuid4()}/stop/").status_code == 403
    assert not Operation.objects.using(database).exists()


def test_get__does_nothing(operator, outbox, database):
    """Whatever its address says."""
    query = urlencode({"database": database, "action": "replay", "event": str(outbox["dead"].id), "confirmed": "1"})
    assert operator.get(f"{LIST}?{query}").status_code == 200
    assert not Operation.objects.using(database).exists()


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
def test_pages__by_other_methods__are_refused(operator, outbox, database, method):
    """Nothing is changed by a form."""
    event = outbox["dead"]
    assert getattr(operator, method)(address(database, event.id)).status_code == 405
    if method != "post":
        assert getattr(operator, method)(LIST).status_code == 405
    for path in (f"{LIST}add/", f"{LIST}{database}.{event.id}/delete/"):
        assert getattr(operator, method)(path).status_code in {403, 404, 405}


def test_stop__of_an_operation__is_for_who_may_do_the_same(operator, sign_in, viewer, outbox, database, sent):
    """By POST alone."""
    asking = act(operator, database, "replay", outbox["dead"])
    there = confirmed(operator, database, asking)["Location"]
    stop = there.replace("/change/", "/stop/")
    assert "A worker takes it up" in text_of(viewer.get(there))
    assert viewer.post(stop).status_code == 403
    assert sign_in("view_logentry", "bury_logentry", name="other").post(stop).status_code == 403
    assert operator.get(stop).status_code == 405
    assert stop.endswith(operator.get(there).context["stop_url"])
    assert "It is stopped" in text_of(operator.post(stop, follow=True))
    assert "had ended already" in text_of(operator.post(stop, follow=True))
    assert "Stopped by anna" in text_of(viewer.get(there))
    assert operator.get(there.replace(database, "default")).status_code == 404


def test_database__that_cannot_be_asked__is_named(viewer, database, settings, monkeypatch):
    """The page is there, with a line in place of the list."""

    def fail(*_args, **_options):
        raise OperationalError('connection to "postgres://anna:s3cret@db" failed\n\tIs it running?')

    monkeypatch.setattr(events_admin, "browse", fail)
    monkeypatch.setattr(events_admin, "inspect", fail)
    monkeypatch.setattr(operations_admin, "progress", fail)
    operation = f"{OPERATIONS}{database}.{uuid4()}"
    for response in (
        viewer.get(f"{LIST}?database={database}"),
        viewer.get(address(database, uuid4())),
        viewer.get(f"{operation}/change/"),
        viewer.post(f"{operation}/stop/", follow=True),
    ):
        text = text_of(response)
        assert f"Database &#x27;{database}&#x27; cannot be asked" in text
        assert "s3cret" not in text


def lose_connection(*_args):
    raise OperationalError("server closed the connection")


def test_operation__whose_database_fails_as_it_is_stopped__says_so(operator, outbox, database, sent, monkeypatch):
    """And goes on."""
    asking = act(operator, database, "replay", outbox["dead"])
    there = confirmed(operator, database, asking)["Location"]
    monkeypatch.setattr(operations_admin, "stop", lose_connection)
    text = text_of(operator.post(there.replace("/change/", "/stop/"), follow=True))
    assert "server closed the connection" in text
    assert "A worker takes it up" in text
    assert "It is stopped" not in text


def test_history__of_an_event_whose_database_cannot_be_asked__is_there(operator, outbox, database, sent, monkeypatch):
    """It is in the admin's own database."""
    event_id = outbox["dead"].id
    confirmed(operator, database, act(operator, database, "replay", outbox["dead"]))
    monkeypatch.setattr(events_admin, "raises_missing_tables", lose_connection)
    text = text_of(operator.get(f"{LIST}{database}.{event_id}/history/"))
    assert f"event {event_id} of database &#x27;{database}&#x27;, which cannot be asked" in text
    assert "Asked to replay it" in text


def test_operations__of_a_database_without_an_outbox__are_none(viewer, database, settings, monkeypatch):
    """It is named only if no other has one."""
    from django_events_sourcing.operating import problems

    monkeypatch.setattr(problems, "has_tables", lambda alias: alias == database)
    monkeypatch.setattr(problems, "outbox_databases", lambda: ["default", database])
    assert "Nobody has done anything to the outbox yet" in text_of(viewer.get(OPERATIONS))
    assert "lacks" not in text_of(viewer.get(OPERATIONS))
    monkeypatch.setattr(problems, "outbox_databases", lambda: ["default"])
    assert "lacks the outbox&#x27;s tables" in text_of(viewer.get(OPERATIONS))


def test_pages__of_a_database_without_an_outbox__say_so(viewer, database, settings, monkeypatch):
    """And there is no history of what is not there."""
    from django_events_sourcing import models

    for model in (models.LogEntry, models.Operation):
        monkeypatch.setattr(model._meta, "db_table", "no_such_table")
    there = f"{database}.{uuid4()}"
    assert "lacks the outbox&#x27;s tables" in text_of(viewer.get(f"{LIST}{there}/change/"))
    assert viewer.get(f"{LIST}{there}/history/").status_code == 404
    assert "lacks the outbox&#x27;s tables" in text_of(viewer.get(f"{OPERATIONS}{there}/change/"))


def test_reason__of_a_replay__is_none(operator, outbox, database, sent):
    """Nobody is asked for one, and none is kept unread."""
    asking = act(operator, database, "replay", outbox["dead"])
    confirmed(operator, database, asking, why="x" * 5000)
    assert Operation.objects.using(database).get().why == ""


def test_index__has_the_pages__for_who_may_see_them(viewer, sign_in):
    """In a section of their own."""
    assert LIST in viewer.get("/admin/").content.decode()
    assert "django_events_sourcing" not in sign_in("view_product").get("/admin/").content.decode()


def test_product__is_in_the_admin_of_the_test_project():
    """As the tests of links have it."""
    from django.contrib import admin

    assert admin.site.is_registered(Product)
