"""A real Prometheus that scrapes a worker and a web process, with the alerts and the dashboard of docs/monitoring."""

import json
import re
import sys
from contextlib import contextmanager
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests.processes import running, wait_until
from tests.servers import free_port, stopped
from tests.unit.test_monitoring import ALERTS, DASHBOARD

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [alerts.yml]
scrape_configs:
  - {{job_name: web, static_configs: [{{targets: ["127.0.0.1:{web}"]}}]}}
  - {{job_name: worker, static_configs: [{{targets: ["127.0.0.1:{worker}"]}}]}}
"""


class Prometheus:
    """Asks it."""

    def __init__(self, port):
        self._url = f"http://127.0.0.1:{port}/api/v1/"

    def ask(self, what, **parameters):
        with urlopen(f"{self._url}{what}?{urlencode(parameters)}") as answer:
            return json.load(answer)["data"]

    def firing(self):
        """The alerts that do, of the database that is used."""
        alerts = self.ask("alerts")["alerts"]
        return {
            each["labels"]["alertname"]
            for each in alerts
            if each["state"] == "firing" and each["labels"]["database"] == "default"
        }

    def value(self, query):
        """The sum of what it finds."""
        return sum(float(each["value"][1]) for each in self.ask("query", query=query)["result"])

    def targets(self):
        """How each is."""
        return {each["labels"]["job"]: each["health"] for each in self.ask("targets")["activeTargets"]}


@contextmanager
def scraping(folder, env, **ports):
    """A Prometheus, in whose alerts a minute is a second."""
    (folder / "prometheus.yml").write_text(CONFIG.format(**ports))
    alerts = re.sub(r"(for: \d+)[mh]", r"\1s", ALERTS.read_text()).replace("> 300", "> 5").replace("[15m]", "[15s]")
    (folder / "alerts.yml").write_text(alerts)
    port = free_port()
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    with running(command, "Server is ready to receive web requests", folder / "prometheus.log", env):
        yield Prometheus(port)


@pytest.fixture
def scraped(shop):
    """A worker and a web process, and a Prometheus that scrapes them."""
    system, worker, web = shop.system, free_port(), free_port()
    system.configure(METRICS_PORT=worker, SWEEP_INTERVAL=1, RETRY_BACKOFF=1)
    application = "django.core.wsgi:get_wsgi_application()"
    gunicorn = [sys.executable, "-m", "gunicorn", application, "--workers", "2", "--bind", f"127.0.0.1:{web}"]
    with (
        system.worker(),
        running(gunicorn, "Listening at", system.log("gunicorn"), system.env),
        scraping(system.folder, system.env, worker=worker, web=web) as prometheus,
    ):
        wait_until(lambda: prometheus.targets() == {"web": "up", "worker": "up"}, "both are scraped")
        yield prometheus


def test_rabbitmq__goes_away_and_comes_back__alerts_fire_and_resolve(shop, scraped):
    """Those that are about it, and no other; each query of the dashboard finds something."""
    published = "sum(django_events_sourcing_events_published_total)"

    def save(number):
        code = f"for number in range({number}): Product.objects.create(name=number, price=1)"
        shop.system.django(code)

    save(5)
    wait_until(lambda: scraped.value(published) == 5, "the events are counted")
    wait_until(lambda: not scraped.firing(), "nothing fires")
    with stopped(shop.rabbitmq):
        save(20)
        wait_until(lambda: scraped.value("sum(django_events_sourcing_pending_events)") == 20, "they are pending")
        wait_until(lambda: scraped.firing() == {"EventsBackOff", "EventsStandStill"}, "the alerts fire", within=60)
    wait_until(lambda: not scraped.firing(), "the alerts end", within=60)
    wait_until(lambda: scraped.value(published) == 25, "all are counted")
    wait_until(lambda: scraped.value("sum(django_events_sourcing_pending_events)") == 0, "none is pending")
    assert scraped.targets() == {"web": "up", "worker": "up"}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$database", "default").replace("$__rate_interval", "1m")
            assert scraped.ask("query", query=query)["result"], f"{panel['title']}: {query}"
