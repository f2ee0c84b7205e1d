"""Lines of the log."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_events_sourcing.events import Event
from django_events_sourcing.logs import Numbers


@pytest.mark.parametrize(
    "numbers, text",
    [([], "none"), ([3], "3"), ({5, 3}, "3, 5"), ([7, 6, 5, 1], "1, 5 to 7"), (frozenset(range(16)), "0 to 15")],
)
def test_numbers__in_a_line_of_the_log__short(numbers, text):
    """Sixteen partitions, or a thousand events, fill no line; and it reads the same in each handler's."""
    line = Numbers(numbers)
    assert f"{line}" == f"{line}" == text


PACKAGE = Path(__file__).parents[2] / "django_events_sourcing"

#: What lines may have as ``extra``: the keys that are documented.
KEYS = {"event_id", "event_name", "event_service", "event_object", "database", "partitions"}


def lines() -> Iterator[tuple[str, str, ast.keyword | None]]:
    """Each line of the log of level INFO or above that the code has: where, the code, and its extra."""
    for path in [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "tasks").glob("*.py")]:
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call):
                name = ast.unparse(call.func)
                if name == "log_once" or re.fullmatch(r"logger\.(info|warning|error|exception|log)", name):
                    extra = next((each for each in call.keywords if each.arg == "extra"), None)
                    yield f"{path.name}:{call.lineno}", ast.unparse(call), extra


def test_lines__about_an_event_or_a_database__have_it_as_extra():
    """Whoever adds one is reminded."""
    found = list(lines())
    assert len(found) > 25
    about = re.compile(r"event\.label|self\._using|wake_up\.using|\busing\b")
    lacking = [where for where, code, extra in found if about.search(code) and extra is None]
    assert lacking == []


def test_keys__of_extra__are_those_that_are_documented():
    """And no other: logging itself has most short names."""
    named = {key for _, _, extra in lines() if extra for key in re.findall(r"'(\w+)':", ast.unparse(extra.value))}
    event = Event(name="a", service="b", object="c:1", body="{}")
    assert named | event.log_fields.keys() == KEYS
    text = (PACKAGE.parent / "docs/reference/metrics.md").read_text().partition("## Log keys")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == KEYS
