"""What is installed: the package, all of it, and nothing else at the top of site-packages."""

import configparser
import os
import shutil
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.processes import run

ROOT = Path(__file__).parent.parent
WHERE_THE_TASKS_ARE = "from importlib.util import find_spec; print(find_spec('django_events_sourcing.tasks').origin)"
TASKS = "django_events_sourcing.operation django_events_sourcing.publish_event django_events_sourcing.relay\n"
CELERY_FINDS_THE_TASKS = (
    "import django; from django.conf import settings; settings.configure(INSTALLED_APPS=['django_events_sourcing'])\n"
    "django.setup(); from celery import Celery; app = Celery('user'); app.autodiscover_tasks(settings.INSTALLED_APPS)\n"
    "app.loader.import_default_modules(); print(*sorted(name for name in app.tasks if 'celery.' not in name))"
)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """A copy of what git knows or would add, without what earlier builds and tests left."""
    copy = tmp_path_factory.mktemp("checkout") / "copy"
    listed = run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], os.environ, ROOT)
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, copy / name
        if source.is_symlink() or source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target, follow_symlinks=False)
    return copy


@pytest.fixture(scope="session")
def built(checkout):
    """The folder with the wheel and the sdist of that copy."""
    run([sys.executable, "-m", "build", "--no-isolation", checkout], os.environ, checkout)
    return checkout / "dist"


@pytest.fixture
def install(tmp_path):
    """Install into a fresh environment, with the dependencies of this one; returns its Python and site-packages."""

    def install(*what):
        environment = tmp_path / "environment"
        venv.create(environment, with_pip=False)
        python = environment / "bin" / "python"
        (site,) = environment.glob("lib/python*/site-packages")
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
        options = ["--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed"]
        run([sys.executable, "-m", "pip", "--python", python, "install", *options, *what], os.environ, tmp_path)
        return python, site

    return install


def top_level(names):
    return {name.split("/")[0] for name in names if ".dist-info" not in name}


def test_setup_cfg__packages__are_those_on_disk():
    """A package that is forgotten in setup.cfg would be missing from the wheel."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    declared = set(config["options"]["packages"].split())
    on_disk = {
        ".".join((*prefix, *path.parent.relative_to(ROOT / folder).parts))
        for folder, prefix in {"django_events_sourcing": ["django_events_sourcing"]}.items()
        for path in (ROOT / folder).rglob("__init__.py")
        if "tasks" not in path.parts
    } | {
        ".".join(("django_events_sourcing", *path.parent.relative_to(ROOT).parts))
        for path in (ROOT / "tasks").rglob("__init__.py")
    }
    assert declared == on_disk


def test_wheel__holds_every_module_and_nothing_else(built):
    """The wheel has one folder at the top, with each module and the marker for type checkers."""
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert top_level(names) == {"django_events_sourcing"}
    package = ROOT / "django_events_sourcing"
    modules = {str(path.relative_to(ROOT)) for path in package.rglob("*.py") if package / "tasks" not in path.parents}
    modules |= {f"django_events_sourcing/tasks/{path.name}" for path in (ROOT / "tasks").glob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    others = {path for folder in ("templates", "static") for path in (package / folder).rglob("*") if path.is_file()}
    assert len(others) > 5
    assert {"django_events_sourcing/py.typed", *(str(path.relative_to(ROOT)) for path in others)} <= set(names)


def test_sdist__can_be_built_from(built, install):
    """The sdist has all that a build needs, and gives the same package."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert any(name.endswith("/tasks/__init__.py") for name in archive.getnames())
    _, site = install(sdist)
    installed = {path.name for path in site.iterdir() if path.suffix not in {".dist-info", ".pth"}}
    assert installed == {"django_events_sourcing"}
    assert (site / "django_events_sourcing" / "tasks" / "publisher.py").exists()


def test_wheel__installed__celery_finds_the_tasks(built, install, tmp_path):
    """From any folder, in a project that does no more than README says. Celery would not say if they were missing."""
    python, _ = install(*built.glob("*.whl"))
    assert run([python, "-c", CELERY_FINDS_THE_TASKS], {}, tmp_path) == TASKS


def test_editable__installed__celery_finds_the_tasks(checkout, install, tmp_path):
    """The same for an editable install."""
    python, _ = install("--editable", checkout)
    assert run([python, "-c", CELERY_FINDS_THE_TASKS], {}, tmp_path) == TASKS
    location = run([python, "-c", WHERE_THE_TASKS_ARE], {}, tmp_path)
    assert Path(location.strip()).resolve().is_relative_to(checkout.resolve())
