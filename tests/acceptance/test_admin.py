"""The pages of Django's admin in a real browser, beside a real worker and RabbitMQ: looked at, and worked with."""

import json
import sys
from contextlib import contextmanager
from time import monotonic
from uuid import uuid4

import pytest
from kombu.connection import Connection
from kombu.entity import Queue
from nameko.standalone.events import get_event_exchange

from tests.acceptance.browser import VARIANTS, Site, assert_fine, chromium, tab
from tests.processes import running, wait_until
from tests.servers import free_port, stopped

DASHBOARD = "/admin/django_events_sourcing/partition/"
EVENTS = "/admin/django_events_sourcing/logentry/"
OPERATIONS = "/admin/django_events_sourcing/operation/"

# In which the pages are looked at that every state has alike.
TWO = [(1280, "light"), (360, "dark")]

_USERS = """
from django.contrib.auth.models import Permission, User
User.objects.filter(username__in=["anna", "viewer"]).delete()
for name, codenames in {
    "viewer": ["view_logentry", "view_partition"],
    "anna": ["view_logentry", "view_partition", "replay_logentry", "bury_logentry", "pause_partition"],
}.items():
    user = User.objects.create_user(name, password="tests only", is_staff=True)
    ours = Permission.objects.filter(content_type__app_label="django_events_sourcing", codename__in=codenames)
    user.user_permissions.set(ours)
"""

# With a header of 300 letters RabbitMQ takes none of them.
_EVENTS = """
from django_events_sourcing import Event
from django_events_sourcing.conf import get_settings
from django_events_sourcing.delivery.deliver import deliver
body = '{{"number": 1, "text": "<b>markup</b>", "tags": ["one", "two"]}}'
about = {{"name": "product__counted", "service": get_settings().service_name, "body": body, "headers": {headers}}}
for first in range(0, {count}, 1000):
    numbers = range(first, min({count}, first + 1000))
    deliver([Event(object=f"project.product:{{number % 9}}", **about) for number in numbers], "default")
"""


_PAUSE = """
from django_events_sourcing.operating.operations import pause
pause("default", why="deploy", who="berta", stopping=lambda: True)
"""


@pytest.fixture(scope="module")
def browser():
    """One for all tests here. Not for longer: while it is there, Django takes this thread for an async one."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def web(system):
    """A web server; two people may sign in there."""
    system.configure(MAX_ATTEMPTS=1, SWEEP_INTERVAL=1, RETRY_BACKOFF=1, RETRY_BACKOFF_MAX=5)
    system.django(_USERS)
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-w", "1", "--threads", "4", "-b", f"127.0.0.1:{port}"]
    with running([*command, "tests.project.wsgi"], "Booting worker", system.log("web"), system.env):
        yield Site(f"http://127.0.0.1:{port}", "tests only")


def send(system, count, headers=None):
    system.django(_EVENTS.format(count=count, headers=json.dumps(headers or {})))


@contextmanager
def bound_queue(system):
    """A queue that takes all events."""
    with Connection(system.env["AMQP_URI"]) as connection:
        exchange = get_event_exchange(system.env["SERVICE_NAME"], {})
        Queue(str(uuid4()), exchange, "#", exclusive=True)(connection.default_channel).declare()
        yield


@contextmanager
def somebody(browser, web, user="anna", **options):
    with tab(browser, web, user, **options) as page:
        yield page


def look(browser, web, state, variants=VARIANTS, **paths):
    """At each page in each width and colour scheme; returns what the first one says."""
    for width, scheme in variants:
        options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
        with somebody(browser, web, **options) as page:
            for name, path in paths.items():
                page.goto(path)
                assert_fine(page, f"{state}-{name}")
    with somebody(browser, web) as page:
        page.goto(next(iter(paths.values())))
        return page.inner_text("main")


def test_empty__looked_at(system, web, browser):
    """No event, and no worker."""
    text = look(browser, web, "empty", dashboard=DASHBOARD, events=EVENTS)
    assert "No event was published in the last 60 minutes." in text
    assert "worker" in text.split("NOW")[0]


def test_healthy__looked_at(system, web, browser):
    """A worker publishes what there is, and somebody takes it."""
    with system.worker(), bound_queue(system):
        send(system, 60)
        wait_until(lambda: system.status()["pending"] == 0, "all is published")
        text = look(browser, web, "healthy", dashboard=DASHBOARD, events=EVENTS)
    assert "All is well" in text
    assert "60 events in the last 60 minutes" in text


def test_rabbitmq_down__looked_at(system, web, browser, rabbitmq_proc):
    """The dashboard says so first; the events wait."""
    with system.worker():
        with stopped(rabbitmq_proc):
            send(system, 300)
            wait_until(lambda: "RabbitMQ at" in " ".join(system.status()["answer"]), "the trouble is known")
            text = look(browser, web, "rabbitmq-down", dashboard=DASHBOARD, events=f"{EVENTS}?state=pending")
        assert "refuses connections since" in text
        assert "300" in text
        wait_until(lambda: system.status()["pending"] == 0, "all is published")


def test_dead_events__looked_at_and_buried(system, web, browser):
    """From the dashboard to the event, to its burial, with the keyboard alone."""
    with system.worker():
        send(system, 3, {"x" * 300: 1})
        wait_until(lambda: system.status()["dead"] == 3, "they are dead")
        text = look(browser, web, "dead", dashboard=DASHBOARD, events=EVENTS)
        assert "3 events are dead" in text
        with somebody(browser, web) as page:
            page.goto(DASHBOARD)
            page.focus("a:has-text('product__counted') >> nth=0")
            page.keyboard.press("Enter")
            page.wait_for_url("**/change/")
            address = page.url.removeprefix(web.address)
            page.focus("button:has-text('Bury')")
            page.keyboard.press("Enter")
            page.wait_for_selector("#id_why")
            assert_fine(page, "dead-bury")
            page.keyboard.press("Tab")
            page.focus("button.default")
            page.keyboard.press("Enter")
            page.wait_for_selector("#why_error")
            assert_fine(page, "dead-bury-without-a-reason")
            page.focus("#id_why")
            page.keyboard.type("wrong price")
            page.focus("button.default")
            page.keyboard.press("Enter")
            page.wait_for_selector("text=ended", timeout=20_000)  # it follows by itself
            assert "1 of 1 buried" in page.inner_text("main")
            assert_fine(page, "dead-operation")
        wrong = f"{EVENTS}?q=nonsense&since=never"
        look(browser, web, "buried", TWO, event=address, operations=OPERATIONS, wrong_filter=wrong)
        assert system.status()["buried"] == 1


def test_ten_thousand_events__replayed__answers_at_once_and_tells_how_far_it_is(system, web, browser):
    """While a second operator does the same; each is replayed once."""
    send(system, 10_000)
    with system.worker():
        wait_until(lambda: system.status()["pending"] == 0, "all is published", 120)
    with somebody(browser, web) as page, somebody(browser, web) as other:
        for each in (page, other):
            each.goto(f"{EVENTS}?model=project.product")
            each.check("#across")
            each.click("text=Go on")
            each.wait_for_selector("text=Replay 10,000 events?")
        assert_fine(page, "many-replay")
        for each in (page, other):
            began = monotonic()
            each.click("button.default")
            each.wait_for_selector("text=A worker takes it up")
            assert monotonic() - began < 10
        assert_fine(page, "many-operation-waiting")
        with system.worker():
            for each in (page, other):
                each.wait_for_selector("[role=status] >> text=ended", timeout=90_000)
            done = [int(each.inner_text("[role=status]").split(" of ")[0].split()[-1]) for each in (page, other)]
            assert sum(done) >= 10_000
            assert max(done) <= 10_000
            wait_until(lambda: system.status()["pending"] == 0, "all is published once more", 120)
    assert system.status()["published_last_hour"] >= 20_000


def test_dashboard__refreshes_itself__and_keeps_scroll_and_focus(system, web, browser):
    """What is new comes in place of what was there."""
    with somebody(browser, web, viewport={"width": 1280, "height": 300}) as page:
        page.goto(DASHBOARD)
        page.focus("#live a >> nth=0")
        page.mouse.wheel(0, 400)
        wait_until(lambda: page.evaluate("scrollY") > 100, "it has scrolled")
        before = page.evaluate("scrollY")
        send(system, 7)
        wait_until(lambda: page.text_content("#live a") == "7", "the page has the new events")
        assert page.evaluate("document.activeElement.textContent") == "7"
        assert page.evaluate("scrollY") == before
        page.fill("#id_why", "half a")
        send(system, 1)
        wait_until(lambda: page.text_content("#live a") == "8", "the page has the new event")
        assert page.input_value("#id_why") == "half a"
        system.django(_PAUSE)  # other sentences, and another number of them
        wait_until(lambda: "PAUSED" in page.inner_text("main"), "the page has the pause")
        send(system, 1)
        wait_until(lambda: page.text_content("#live a") == "9", "the page goes on")


def test_pause_and_resume__by_the_keyboard__and_without_javascript(system, web, browser):
    """Who, why and since when stand on the page of everybody."""
    with somebody(browser, web) as page, somebody(browser, web, "viewer") as other:
        page.goto(DASHBOARD)
        page.focus("#id_why")
        page.keyboard.type("deploy <b>1</b>")
        page.focus("button[value=pause]")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=All partitions of database 'default': paused: deploy <b>1</b>.")
        other.goto(DASHBOARD)
        text = other.inner_text("main")
        assert "PAUSED since" in text
        assert "by anna: deploy <b>1</b>" in text
        assert other.locator("button[value=pause]").count() == 0
        assert_fine(other, "paused-partition")
    with somebody(browser, web, java_script_enabled=False) as page:
        page.goto(DASHBOARD)
        page.click("summary")
        page.check("[name=partition][value='3']")
        page.click("button[value=resume]")
        page.wait_for_selector("text=Partition 3 of database 'default': resumed.")
        page.click("button[value='resume now']")
        page.wait_for_selector("text=All partitions of database 'default': resumed, without its delay after trouble.")
        assert "PAUSED" not in page.inner_text("main")
        page.click("text=Reload")
        page.goto(EVENTS)
        page.fill("#id_q", "project.Product:1")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=No such event here.")
