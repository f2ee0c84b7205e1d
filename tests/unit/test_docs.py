"""The documents say what is true: the names they use exist."""

import ast
import configparser
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from django.utils.module_loading import import_string

import django_events_sourcing
from django_events_sourcing.conf import Settings
from django_events_sourcing.management.subcommands import SUBCOMMANDS
from django_events_sourcing.metrics import OutboxCollector
from django_events_sourcing.outbox import tables
from django_events_sourcing.tasks.metrics import WorkerCollector
from tests.bench import simulation
from tests.bench.figures import Figures
from tests.model.test_model import BROKEN

ROOT = Path(__file__).parent.parent.parent
#: What Prometheus puts behind a metric's name.
ENDINGS = {"counter": "_total", "info": "_info"}

DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text() for path in DOCS.rglob("*.md")}
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
ALL = "\n".join([README, CONTRIBUTING, *PAGES.values()])
SOURCES = [path.read_text() for folder in ("django_events_sourcing", "tasks") for path in (ROOT / folder).rglob("*.py")]


def squeezed(text):
    """In one line, without the places where literals are joined or filled in."""
    return re.sub(r'"\s+f?"', "", re.sub(r"\s+", " ", text))


def texts_in(source):
    """The literals of a module, without its docstrings."""
    tree = ast.parse(source)
    with_docstring = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documented = [node for node in ast.walk(tree) if isinstance(node, with_docstring) and ast.get_docstring(node)]
    docstrings = {child for node in documented for child in ast.iter_child_nodes(node.body[0])}
    literals = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [literal.value for literal in literals if literal not in docstrings]


def test_english__of_documents_and_messages__is_without_contractions():
    """Who learnt the language at school reads them, too."""
    contraction = re.compile(
        r"\b\w+n't\b|\b(?:it|that|there|what|who|he|she|let)'s\b|\b\w+'(?:ll|re|ve)\b", re.IGNORECASE
    )
    read = {
        **PAGES,
        "README": README,
        "CONTRIBUTING": CONTRIBUTING,
        "messages": "\n".join(map("\n".join, map(texts_in, SOURCES))),
    }
    assert {name: found for name, text in read.items() if (found := contraction.findall(text))} == {}


def test_readme__fits_on_two_screens():
    """It is to be read."""
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", ["explanation/promise.md", "explanation/invariants.md", "explanation/security.md"])
def test_page__tests_it_names__exist(page):
    """Each promise names the tests that hold it."""
    text = PAGES[page]
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
    rows = re.findall(r"^\| \d+ \|.*\| ([^|]*) \|$", PAGES["explanation/invariants.md"], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {broken.__name__ for broken in BROKEN}


def test_settings__are_those_that_there_are():
    """No key of EVENTS_SOURCING is missing, and none made up; defaults are as it says."""
    table = PAGES["reference/settings.md"].partition("| key of `EVENTS_SOURCING` |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE))
    options = {option.name.upper(): option.default for option in fields(Settings) if option.metadata}
    assert rows.keys() == options.keys()
    for key, said in rows.items():
        value = eval(said.strip("`").replace("7 days", "7 * 24 * 3600").replace("MiB", "* 2**20"))
        assert value == options[key], key


def test_settings__named_anywhere__exist():
    """In documents, and in what the library says."""
    keys = {option.name.upper() for option in fields(Settings) if option.metadata}
    named = set(re.findall(r"EVENTS_SOURCING\[['\"](\w+)['\"]\]", "\n".join([ALL, *SOURCES])))
    assert len(named) > 5
    assert named <= keys


def test_snippets__are_what_they_say():
    """Python, YAML, INI and JSON are read by their own parsers."""
    parsers: dict[str, Callable[[str], object]] = {
        "python": ast.parse,
        "yaml": yaml.safe_load,
        "ini": configparser.ConfigParser().read_string,
        "json": json.loads,
    }
    found: Counter[str] = Counter()
    for text in [README, CONTRIBUTING, *PAGES.values()]:
        for language, snippet in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            found[language] += 1
            if language in parsers:
                parsers[language](snippet)
    assert all(found[language] for language in parsers), found


def test_contributing__fault_it_shows__is_one():
    """As it stands there."""
    (fault,) = re.findall(r"^```python\n(def .*?)^```", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    assert fault in (ROOT / "tests/acceptance/test_outbox_faults.py").read_text()


def test_checks__are_those_that_there_are():
    """Whoever sees an id finds it there, once; and each is of one kind of thing, so that one may be silenced."""
    ids = [set(re.findall(r'([EW]0\d\d)"', source)) for source in SOURCES]
    described = re.findall(r"^\| `django_events_sourcing\.([EW]\d{3})`", PAGES["reference/checks.md"], re.MULTILINE)
    assert sorted(described) == sorted(set().union(*ids))
    shared = {each for each in described if sum(each in some for some in ids) > 1}
    assert shared <= {"E002", "E009"}  # a wrong key or value, in whichever setting


def test_commands__are_those_that_there_are():
    """Each subcommand is shown, and each that is shown is one, wherever."""
    names = {subcommand.name for subcommand in SUBCOMMANDS}
    assert set(re.findall(r"^manage\.py events (\w+)", PAGES["reference/commands.md"], re.MULTILINE)) == names
    assert set(re.findall(r"(?:manage\.py |`)events ([a-z]+)", ALL)) <= names


def test_figures__are_those_of_the_run_that_is_kept():
    """`make picture` prints the table; the README has three of them."""
    figures = Figures.read(DOCS / "bench.json")
    assert figures.markdown() in PAGES["explanation/cost.md"]
    said = re.search(r"statement: ([\d.]+) times what.*? publishes ([\d.]+)\s+times", README, re.DOTALL)
    assert said is not None
    medians = {
        bound.partition(" / ")[0]: ratio
        for bound, ratio, _ in re.findall(r"\| (.+?) \| ([\d.]+) \| (.+?) \|", figures.markdown())
    }
    assert said[1] == medians["added to a save"]
    assert said[2] == medians["events/s of one process"]
    assert "about as long as with `.delay()`" in squeezed(README)
    assert float(medians["commit to consumer, 20 events/s, p50"]) < 1.15


def test_limits__rates__are_those_of_the_run_that_is_kept():
    """To two digits."""
    values = Figures.read(DOCS / "bench.json").values
    rows = dict(re.findall(r"^\| (one|[\d,]+) objects? \| ([\d,]+) \|", PAGES["explanation/limits.md"], re.MULTILINE))
    assert len(rows) == 3
    for objects, rate in rows.items():
        number = objects.replace("one", "1").replace(",", "")
        measured = values[f"one_process_{number}_objects_events_a_second"].median
        assert float(rate.replace(",", "")) == float(f"{measured:.2g}")


def test_limits__what_is_simulated__comes_out_of_the_simulation():
    """By the run that is kept; those parts of it that take no more than a second."""
    page, figures = PAGES["explanation/limits.md"], Figures.read(DOCS / "bench.json")
    costs = simulation.Costs.measured(figures)
    confirms, rates = re.findall(
        r"^\| (?:a confirm comes after|events/s of one object) \| (.*) \|$", page, re.MULTILINE
    )
    for confirm, said in zip(confirms.split(" | "), rates.split(" | "), strict=True):
        assert simulation.one_object(costs, float(confirm.removesuffix(" ms")) / 1000) == said
    one_process = simulation.rate(costs, 1, 8)
    assert f"\n| 1 | {one_process} | {one_process} | {one_process} |\n" in page
    assert f"relay comes out as {one_process} events/s" in squeezed(page)
    delays = [simulation.latency(costs, 1, 10, events) for events in (100, 1000)]
    assert f"\n| 1 | 10 | {' | '.join(delays)} | " in page
    rabbitmq, postgresql = (
        figures.values[f"{each}_processor_us_an_event"].median for each in ("rabbitmq", "postgresql")
    )
    assert f"takes {rabbitmq:.0f} µs of its processors, and {postgresql:.0f} µs of PostgreSQL" in squeezed(page)
    one_queue = simulation.rounded(figures.values["pipelined_loop_events_a_second"].median)
    assert f"{one_queue} events/s here" in page


def test_tables_they_name__exist():
    """An operator may look into them."""
    names = set(re.findall(r"(?:`|ON )(django_events_sourcing_[a-z]+)\b", ALL))
    assert len(names) > 1
    assert names <= tables.TABLES


def test_python_names__exist():
    """Each is imported as it stands there."""
    paths = set(re.findall(r"[`:] ?(django_events_sourcing(?:\.[a-z_]\w*)+(?:\.\w+)?)(?=[`\n(])", ALL))
    paths |= set(re.findall(r"auto\w+:: (django_events_sourcing\S*)", ALL))
    assert len(paths) > 20
    for_services = {
        path for path in paths if path.startswith("django_events_sourcing.nameko")
    }  # eventlet comes with it
    service_module = (ROOT / "django_events_sourcing/nameko.py").read_text()
    assert all(f"class {path.rpartition('.')[2]}(" in service_module for path in for_services if path.count(".") > 1)
    for path in paths - for_services:
        is_module = path.count(".") == 1 and path.rpartition(".")[2] not in django_events_sourcing.__all__
        import_string(f"{path}.__name__" if is_module else path)


def test_modules_they_name__exist():
    """Whoever is shown the way finds it."""
    named = set(
        re.findall(r"`([\w/]+\.py)`", "".join(PAGES[page] for page in PAGES if page.startswith("explanation/")))
    )
    folders = (ROOT / name for name in ("django_events_sourcing", "tasks", "tests"))
    files = [f"/{path.relative_to(ROOT)}" for folder in folders for path in folder.rglob("*.py")]
    assert len(named) > 10
    assert [name for name in named if not any(file.endswith(f"/{name}") for file in files)] == []


def test_targets_of_make__exist():
    """Whoever is told to make something can."""
    known = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make (\w+)`", ALL)) <= known


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "example_project/README.md"])
def test_links__lead_to_files(document):
    """Those within the site are looked after by its build."""
    text = (ROOT / document).read_text()
    for target in re.findall(r"\]\(([^)\s:]+)\)", text):
        assert ((ROOT / document).parent / target.partition("#")[0]).exists(), target


def test_troubleshooting__lines_of_the_log__are_those_that_there_are():
    """Whoever searches for what he sees finds it."""
    table = PAGES["troubleshooting.md"].partition("| line | meaning |")[2]
    lines = re.findall(r"^\| (\w.+?) \|", table, re.MULTILINE)  # a code is RabbitMQ's own
    written = squeezed(" ".join(SOURCES))
    assert len(lines) == 3
    for line in lines:
        for part in re.split(r"\s*…\s*", line):
            assert part in written, line


def test_metrics__are_those_that_there_are():
    """Of a web process, and of a worker: none is missing, none is of the past."""
    described = PAGES["reference/metrics.md"].split("\n## ")
    for title, collector in [("Metrics, of a web", OutboxCollector()), ("Metrics, of a worker", WorkerCollector())]:
        (section,) = [each for each in described if each.startswith(title)]
        cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section, re.MULTILINE)
        documented = {name for cell in cells for name in re.findall(r"\w+", cell)}
        families = collector.describe() if isinstance(collector, OutboxCollector) else collector.collect()
        assert documented == {
            f"{family.name.removeprefix('django_events_sourcing_')}{ENDINGS.get(family.type, '')}"
            for family in families
        }
