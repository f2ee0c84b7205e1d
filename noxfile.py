"""The supported versions of Python, Django and Celery, in the combinations that exist: ``make matrix``.

Interpreters that this machine lacks are skipped. ``make matrix NOX_ARGS="-s 'tests(3.13, …)'"`` runs one combination,
``make ends`` what ``.ci/run`` runs of it: the oldest of all that setup.cfg promises, and the newest; and psycopg 2.
"""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import nox

nox.options.error_on_missing_interpreters = False
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests"]


TWO_AT_A_TIME = ["-n", "2", "--dist", "loadfile"]


def promised(classifier: str) -> list[str]:
    """The versions that setup.cfg names, the oldest first."""
    config = configparser.ConfigParser()
    config.read(Path(__file__).parent / "setup.cfg")
    return re.findall(rf"^{re.escape(classifier)} :: (\d+\.\d+)$", config["metadata"]["classifiers"], re.MULTILINE)


PYTHONS = promised("Programming Language :: Python")
DJANGOS = promised("Framework :: Django")
CELERYS = ["5.3", "newest"]


def supported(python: str, django: str) -> bool:
    return django == "5.2" or python != "3.11"


if shutil.which("pyenv"):  # whose stand-ins for interpreters work only once they are chosen
    versions = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=True)  # noqa: S607
    os.environ["PYENV_VERSION"] = ":".join(versions.stdout.split())


def install(session: nox.Session, django: str, celery: str, *extras: str) -> None:
    pins = [f"Django=={django}.*"] + ([f"celery=={celery}.*"] if celery != "newest" else [])
    session.install("--quiet", "--editable", f".[{','.join(extras)}]", *pins)


#: Whose tests are about RabbitMQ or Celery's broker, and ask the database nothing that depends on its driver.
OF_BROKERS = [
    "delivery/test_enqueue.py",
    "delivery/test_waker.py",
    "tasks/test_access.py",
    "tasks/test_celery_broker.py",
    "tasks/test_errors.py",
    "tasks/test_several_hosts.py",
    "tasks/test_tls.py",
    "tasks/test_transports.py",
    "tasks/test_wire.py",
]


def install_oldest(session: nox.Session, *extras: str) -> None:
    """The very versions that setup.cfg has as lower bounds."""
    pins = session.run("python", "-c", "from tests.audit import *; print(*oldest(), sep='\\n')", silent=True)
    session.install("--quiet", "--editable", f".[{','.join(extras)}]", *str(pins).splitlines())


def test_on_postgresql(session: nox.Session, *options: str) -> None:
    only = "not sqlite and not mariadb and not binding"
    command = ["python", "-m", "pytest", "-q", *TWO_AT_A_TIME, "tests/integration", "-k", only]
    session.run(*command, *options, *session.posargs)


@nox.session
@nox.parametrize(
    "python, django, celery",
    [(p, d, c) for p in PYTHONS for d in DJANGOS for c in CELERYS if supported(p, d)],
)
def tests(session: nox.Session, django: str, celery: str) -> None:
    """All tests but those of packaging, which don't depend on these versions."""
    install(session, django, celery, "test", "mysql")
    session.run("python", "-m", "pytest", *TWO_AT_A_TIME, "--ignore", "tests/test_packaging.py", *session.posargs)


@nox.session
@nox.parametrize("python, versions", [(PYTHONS[0], "oldest"), (PYTHONS[-1], "newest")])
def ends(session: nox.Session, versions: str) -> None:
    """The unit tests, and those of integration on PostgreSQL; with the oldest also on Django's other driver for it."""
    if versions == "oldest":
        install_oldest(session, "test")
    else:
        install(session, DJANGOS[-1], versions, "test")
    session.run("python", "-m", "pytest", "-q", *TWO_AT_A_TIME, "tests/unit", *session.posargs)
    test_on_postgresql(session)
    if versions == "oldest":
        session.install("--quiet", "psycopg2-binary")
        left_out = [f"--ignore=tests/integration/{each}" for each in OF_BROKERS]
        test_on_postgresql(session, "-p", "tests.with_psycopg2", *left_out)
