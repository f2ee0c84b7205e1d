"""The test suites of four Django packages, without the library and with each of their models registered."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import rest_framework

from tests.suites.comparison import INSIDE, assert_same, packages, source


@dataclass(frozen=True)
class Suite:
    """One of them.

    Attributes:
        version: Of the package.
        tests: Their directory.
        settings: Of Django; None where the suite has them by itself.
        needs: Packages that they use.
        known: What is known to differ, and why.
    """

    version: str
    tests: str
    settings: str | None = None
    needs: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


SUITES = {
    "djangorestframework": Suite(
        rest_framework.VERSION,
        "tests",
        needs=("dj-database-url",),
        # a model that has receivers is not deleted by one statement, and an instance is asked for
        known=("tests/test_generics.py::TestInstanceView::test_delete_instance_view",),
    ),
    "django-treebeard": Suite("7.0.3", "tests", "tests.settings"),
    "easy-thumbnails": Suite(
        "2.10.1", "easy_thumbnails/tests", "easy_thumbnails.tests.settings", ("Pillow", "testfixtures")
    ),
    "django-simple-history": Suite(
        "3.13.0", "simple_history/tests", "simple_history_settings", ("Pillow", "django-simple-history==3.13.0")
    ),
}


@pytest.mark.soak
@pytest.mark.parametrize("name", SUITES)
def test_suite__of_a_package__passes_as_in_the_control(tmp_path, name):
    suite = SUITES[name]
    root = source(name, suite.version)
    needed = [packages(name, suite.needs)] if suite.needs else []
    path = ":".join(map(str, [INSIDE, root, *needed]))
    config = next(file for name in ("pyproject.toml", "setup.cfg") if (file := root / name).exists())
    options: list[str | Path] = [
        "-c",
        config,
        "--rootdir",
        root,
        "-p",
        "pytest_plugin",
        "-p",
        "no:pytest_nameko",
        "-p",
        "no:cacheprovider",
    ]
    command = [sys.executable, "-m", "pytest", "-q", *options, suite.tests]
    env = {"PYTHONPATH": path} | ({"DJANGO_SETTINGS_MODULE": suite.settings} if suite.settings else {})
    assert_same(tmp_path, command, cwd=root, known=suite.known, **env)
