"""The supported versions of Python, Django and Celery, in the combinations that exist: ``make matrix``.

Interpreters that this machine lacks are skipped. ``make matrix NOX_ARGS="-s 'tests(3.13, …)'"`` runs one combination.
"""

import os
import shutil
import subprocess

import nox

nox.options.error_on_missing_interpreters = False
nox.options.default_venv_backend = "venv"

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
DJANGOS = ["5.2", "6.0", "6.1"]
CELERYS = ["5.3", "newest"]


def supported(python: str, django: str) -> bool:
    return django == "5.2" or python not in {"3.10", "3.11"}


if shutil.which("pyenv"):  # whose stand-ins for interpreters work only once they are chosen
    versions = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=True)  # noqa: S607
    os.environ["PYENV_VERSION"] = ":".join(versions.stdout.split())


@nox.session
@nox.parametrize(
    "python, django, celery",
    [(p, d, c) for p in PYTHONS for d in DJANGOS for c in CELERYS if supported(p, d)],
)
def tests(session: nox.Session, django: str, celery: str) -> None:
    """All tests but those of packaging, which don't depend on these versions."""
    pins = [f"Django=={django}.*"] + ([f"celery=={celery}.*"] if celery != "newest" else [])
    session.install("--quiet", "--editable", ".[test,mysql]", *pins)
    session.run("python", "-m", "pytest", "--ignore", "tests/test_packaging.py", *session.posargs)
