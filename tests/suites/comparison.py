"""Test suites of others, run without the library and with it: what passes in the control passes with it."""

import fnmatch
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

__all__ = ["INSIDE", "assert_same", "packages", "source"]

#: What runs in a suite's own process.
INSIDE = Path(__file__).parent / "inside"

_KEPT = Path(sys.prefix) / "suites"


def _pip(*arguments: str) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *arguments], check=True, timeout=300)


def source(name: str, version: str) -> Path:
    """The source distribution of a package, unpacked: tests are in no other."""
    directory = _KEPT / f"{name}-{version}"
    if not directory.exists():
        _KEPT.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_KEPT) as temporary:
            _pip("download", "--no-deps", "--no-binary", ":all:", "--dest", temporary, f"{name}=={version}")
            (archive,) = Path(temporary).glob("*.tar.gz")
            with tarfile.open(archive) as files:
                files.extractall(temporary, filter="data")
            (unpacked,) = (path for path in Path(temporary).iterdir() if path.is_dir())
            unpacked.rename(directory)
    return directory


def packages(name: str, requirements: Sequence[str]) -> Path:
    """A directory with packages that a suite needs, and nobody else; without what they require."""
    directory = _KEPT / f"{name}-packages"
    if not directory.exists():
        _KEPT.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_KEPT) as temporary:
            _pip("install", "--no-deps", "--target", f"{temporary}/packages", *requirements)
            (Path(temporary) / "packages").rename(directory)
    return directory


def assert_same(
    directory: Path,
    command: Sequence[str | Path],
    *,
    cwd: Path,
    known: Collection[str],
    unusable: Collection[str] = (),
    **env: str,
) -> None:
    """Run a suite without the library and with it, at the same time.

    Args:
        directory: For what they write.
        command: Runs the suite, and has it write its outcomes into the file OUTCOMES.
        cwd: Where.
        known: Patterns of the tests that are known not to pass with the library; each is to match one.
        unusable: Labels of the models that can't be registered, as ``check`` says.
        env: More of the environment.
    """
    runs, logs = {}, {}
    inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}  # our own
    for name, registered in {"control": "", "registered": "1"}.items():
        logs[name] = directory / f"{name}.log"
        its_env = {**inherited, **env, "OUTCOMES": str(directory / f"{name}.json"), "REGISTERED": registered}
        with logs[name].open("w") as log:
            runs[name] = subprocess.Popen(command, cwd=cwd, env=its_env, stdout=log, stderr=subprocess.STDOUT)
    try:
        for run in runs.values():
            run.wait(1800)
    finally:
        for run in runs.values():
            run.kill()
    outcomes = {}
    for name, log_file in logs.items():
        assert (directory / f"{name}.json").exists(), log_file.read_text()[-3000:]
        outcomes[name] = json.loads((directory / f"{name}.json").read_text())
    output = logs["registered"].read_text()
    found = re.search(r"^([1-9]\d*) models are registered; not \[(.*)\]\.$", output, re.MULTILINE)
    assert found, output[:3000]
    assert set(re.findall(r"'(.+?)'", found[2])) == set(unusable)

    passed = {test for test, outcome in outcomes["control"].items() if outcome == "passed"}
    assert len(passed) > 100
    failed = {test: outcomes["registered"].get(test) for test in passed}
    failed = {test: outcome for test, outcome in failed.items() if outcome != "passed"}
    matching = {pattern: fnmatch.filter(failed, pattern) for pattern in known}
    expected = {test for tests in matching.values() for test in tests}
    assert {test: outcome for test, outcome in failed.items() if test not in expected} == {}
    assert [pattern for pattern, tests in matching.items() if not tests] == []  # it differs no more: off the list
