"""The alerts and the dashboard of docs/monitoring: as Prometheus takes them, on what is really emitted."""

import json
import os
import re
from pathlib import Path

import pytest

from django_events_sourcing.metrics import OutboxCollector
from django_events_sourcing.tasks.metrics import WorkerCollector
from tests.processes import run

ROOT = Path(__file__).parent.parent.parent
ALERTS = ROOT / "docs/monitoring/alerts.yml"
DASHBOARD = ROOT / "docs/monitoring/dashboard.json"

#: What Prometheus puts behind a metric's name.
ENDINGS = {"counter": ["_total"], "info": ["_info"], "histogram": ["_bucket", "_count", "_sum"]}


@pytest.fixture
def emitted():
    """The names of all samples that a web process and a worker emit."""
    families = [*OutboxCollector().describe(), *WorkerCollector().collect()]
    return {family.name + ending for family in families for ending in ENDINGS.get(family.type, [""])}


@pytest.mark.parametrize("document", [ALERTS, DASHBOARD], ids=lambda path: path.name)
def test_monitoring__asks_for_what_is_emitted(document, emitted):
    """A name that nobody emits makes an alert that never fires, and an empty panel."""
    asked = set(re.findall(r"django_events_sourcing_\w+", document.read_text()))
    assert len(asked) > 5
    assert asked <= emitted


def test_alerts__fire_where_they_are_to_and_nowhere_else():
    """By promtool, over series of hours; each alert has a case that it fires in."""
    tests = ROOT / "tests/monitoring/alerts_test.yml"
    run(["promtool", "check", "rules", ALERTS], os.environ)
    run(["promtool", "test", "rules", tests], os.environ)
    alerts = set(re.findall(r"alert: (\w+)", ALERTS.read_text()))
    fired = set(re.findall(r"alertname: (\w+)\n +exp_alerts:\n", tests.read_text()))
    assert alerts == fired


def test_dashboard__panels__have_places_of_their_own():
    """Ids and places that are taken twice make Grafana move panels about."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23
