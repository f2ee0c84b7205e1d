"""The documents say what is true: the names they use exist."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from django.utils.module_loading import import_string

from django_events_sourcing.conf import Settings
from django_events_sourcing.management.subcommands import SUBCOMMANDS
from django_events_sourcing.metrics import OutboxCollector
from django_events_sourcing.outbox import tables
from django_events_sourcing.tasks.metrics import WorkerCollector
from tests.bench.figures import Figures
from tests.model.test_model import BROKEN

ROOT = Path(__file__).parent.parent.parent
#: What Prometheus puts behind a metric's name.
ENDINGS = {"counter": "_total", "info": "_info"}
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("document", ["README.md", "docs/invariants.md"])
def test_document__tests_it_names__exist(document):
    """Each promise names the tests that hold it."""
    text = (ROOT / document).read_text()
    sources = "\n".join(path.read_text() for path in ROOT.glob("tests/**/test_*.py"))
    known = set(re.findall(r"def (test_\w+)", sources))
    named = re.findall(r"`?(test_\w+?)_*…", text)
    assert len(named) > 10
    assert [name for name in named if not any(one.startswith(name) for one in known)] == []
    files = {path.name for path in ROOT.glob("tests/**/test_*.py")}
    assert set(re.findall(r"`(test_\w+\.py)`", text)) <= files
    faults = (ROOT / "tests/acceptance/test_outbox_faults.py").read_text()
    for fault in re.findall(r"test_fault__…\[(\w+?)_?…?\]", text):
        assert re.search(rf"def {fault}", faults)


def test_invariants__variants_they_name__are_those_of_the_model_test():
    """None is missing, and none made up."""
    rows = re.findall(r"^\| \d+ \|.*\| ([^|]*) \|$", (ROOT / "docs/invariants.md").read_text(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {broken.__name__ for broken in BROKEN}


def test_readme__settings__are_those_that_there_are():
    """No key of EVENTS_SOURCING is missing, and none made up; defaults are as it says."""
    table = README.partition("| key of `EVENTS_SOURCING` |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE))
    options = {option.name.upper(): option.default for option in fields(Settings) if option.metadata}
    assert rows.keys() == options.keys()
    for key, said in rows.items():
        value = eval(said.strip("`").replace("7 days", "7 * 24 * 3600").replace("MiB", "* 2**20"))
        assert value == options[key], key


def test_readme__checks__are_those_that_there_are():
    """Whoever sees an id finds it there, once; and each is of one kind of thing, so that one may be silenced."""
    sources = [path.read_text() for path in (ROOT / "django_events_sourcing").rglob("*.py")]
    ids = [set(re.findall(r'([EW]0\d\d)"', source)) for source in sources]
    described = re.findall(r"^\| `django_events_sourcing\.([EW]\d{3})`", README, re.MULTILINE)
    assert sorted(described) == sorted(set().union(*ids))
    shared = {each for each in described if sum(each in some for some in ids) > 1}
    assert shared <= {"E002", "E009"}  # a wrong key or value, in whichever setting


def test_readme__commands__are_those_that_there_are():
    """Each subcommand is shown, and each that is shown is one."""
    shown = set(re.findall(r"^manage\.py events (\w+)", README, re.MULTILINE))
    assert shown == {subcommand.name for subcommand in SUBCOMMANDS}


def test_readme__figures__are_those_of_the_run_that_is_kept():
    """`make picture` prints the table."""
    assert Figures.read(ROOT / "docs/bench.json").markdown() in README


def test_readme__tables_it_names__exist():
    """An operator may look into them."""
    names = set(re.findall(r"`(django_events_sourcing_\w+)`", README))
    assert names <= tables.TABLES


def test_readme__functions_it_names__exist():
    """Each command's is imported as it stands there."""
    table = README.partition("| command | function |")[2].partition("\n\n")[0]
    paths = re.findall(r"`(django_events_sourcing\.[\w.]+)`", table)
    assert len(paths) > 5
    assert all(map(import_string, paths))


def test_docs__modules_they_name__exist():
    """Whoever is shown the way finds it."""
    docs = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    named = set(re.findall(r"`([\w/]+\.py)`", docs))
    folders = (ROOT / name for name in ("django_events_sourcing", "tasks", "tests"))
    files = [f"/{path.relative_to(ROOT)}" for folder in folders for path in folder.rglob("*.py")]
    assert len(named) > 10
    assert [name for name in named if not any(file.endswith(f"/{name}") for file in files)] == []


def test_docs__metrics__are_those_that_there_are():
    """Of a web process, and of a worker: none is missing, none is of the past."""
    described = (ROOT / "docs/monitoring.md").read_text().split("\n## ")
    for title, collector in [("Metrics, of a web", OutboxCollector()), ("Metrics, of a worker", WorkerCollector())]:
        (section,) = [each for each in described if each.startswith(title)]
        cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section, re.MULTILINE)
        documented = {name for cell in cells for name in re.findall(r"\w+", cell)}
        families = collector.describe() if isinstance(collector, OutboxCollector) else collector.collect()
        assert documented == {
            f"{family.name.removeprefix('django_events_sourcing_')}{ENDINGS.get(family.type, '')}"
            for family in families
        }
