"""Build a release of what is committed, and check it as whoever installs it meets it: ``make release``.

    python -m tests.release https://github.com/you/django-events-sourcing

leaves wheel and sdist in ``dist/``, and README as a package index shows it in ``build/release/README.html``. It
uploads nothing and tags nothing, and ends with what is left to do. The address is that of the repository, as a browser
opens it: an index doesn't have the files that README links to, so there the links lead to the repository, at the
release's tag.
"""

import argparse
import email
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "release"
DIST = ROOT / "dist"

LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s]+)\)")

#: With the wheel alone, without any extra: an event is in the outbox, and the command shows it.
SMOKE_TEST = """
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_events_sourcing"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "smoke.sqlite3"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    SERVICE_NAME="shop",
    NAMEKO_CONFIG={"AMQP_URI": "amqp://guest:guest@127.0.0.1:1/"},
    CELERY_BROKER_URL="redis://127.0.0.1:1/0",
    MODELS_CRUD_EVENT=[{"model": "auth.Group"}],
)
django.setup()
from django.core.management import call_command
call_command("check", databases=["default"])
call_command("migrate", verbosity=0)
call_command("check", databases=["default"])
from django.contrib.auth.models import Group
Group.objects.create(name="smoke")
call_command("events", "list")
"""


class NotReadyError(Exception):
    """The release can't be made, or what was made is not fit to be uploaded; says why, and what to do."""


def absolute(readme: str, repository: str, tag: str) -> str:
    """``readme`` with the links to the repository's files made such that they work anywhere."""

    def leads_to(link: re.Match[str]) -> str:
        view = "raw" if link[1].endswith(".svg") else "blob"
        return f"]({repository}/{view}/{tag}/{link[1]})"

    return LINK.sub(leads_to, readme)


def left_to_do(version: str, changelog: str) -> list[str]:
    """What a person does next, in this order, for ``version`` to be out."""
    release = Version(version)
    if release.is_devrelease:
        return [
            f"{version} is a version to try, not to upload. For {release.base_version}:",
            f'set __version__ in django_events_sourcing/__init__.py to "{release.base_version}"',
            f'rename "Unreleased" in CHANGELOG.md to "{release.base_version} (year-month-day)"',
            "commit, run .ci/run, and make release again",
        ]
    if not re.search(rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", changelog, re.MULTILINE):
        return [f'CHANGELOG.md has no "## {version} (year-month-day)": write it, commit, and make release again.']
    return [
        "Look at build/release/README.html. Then:",
        f"git tag -a v{version} -m {version} && git push origin v{version}",
        "twine upload --repository testpypi dist/*   # and install it from there once",
        "twine upload dist/*",
        f'set __version__ to the next one with ".dev0", and begin "Unreleased" in CHANGELOG.md, above {version}',
    ]


def description(metadata: bytes) -> str:
    """What a package says of itself at length, in its METADATA, which is UTF-8 whatever email's own rules are."""
    return str(email.message_from_string(metadata.decode()).get_payload())


def web_address(remote: str) -> str:
    """The repository's page in a browser, of what ``git clone`` takes.

    Raises:
        NotReadyError: ``remote`` is neither an https address nor one for ssh.
    """
    ssh = re.fullmatch(r"(?:ssh://)?git@([\w.-]+)[:/](.+)", remote)
    address = f"https://{ssh[1]}/{ssh[2]}" if ssh else remote
    address = address.rstrip("/").removesuffix(".git")
    if not re.fullmatch(r"https://[\w.-]+/\S+", address):
        message = (
            f"The links of README need the repository's address, and {remote or 'no remote'} gives none: "
            "make release REPOSITORY=https://github.com/you/django-events-sourcing"
        )
        raise NotReadyError(message)
    return address


def main() -> None:
    """Build, check, and say what is left to do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", nargs="?", default="")
    given = parser.parse_args().repository
    try:
        repository = web_address(given or _git("config", "--default", "", "--get", "remote.origin.url"))
        version = _build(repository)
        _check_readme()
        _check_bare_installation()
    except NotReadyError as exc:
        sys.exit(f"Not ready: {exc}")
    except subprocess.CalledProcessError as exc:
        sys.exit(f"Not ready: {' '.join(map(str, exc.cmd))} ended with {exc.returncode}; its output is above.")
    names = "\n".join(f"  {path.relative_to(ROOT)}" for path in sorted(DIST.iterdir()))
    todo = "\n".join(f"  {line}" for line in left_to_do(version, (ROOT / "CHANGELOG.md").read_text()))
    print(f"\nBuilt and checked:\n{names}\n\nLeft to do:\n{todo}")


def _build(repository: str) -> str:
    """Wheel and sdist of the commit, with links that lead to ``repository``; returns the version."""
    if changed := _git("status", "--porcelain"):
        message = f"A release is made of what is committed; these are not:\n{changed}"
        raise NotReadyError(message)
    for folder in (BUILD, DIST):
        shutil.rmtree(folder, ignore_errors=True)
    source = BUILD / "source"
    source.mkdir(parents=True)
    archive = BUILD / "source.tar"
    _git("archive", "--output", str(archive), "HEAD")
    _run("tar", "-x", "-f", archive, "-C", source)
    version = re.search(r'__version__ = "(.+)"', (source / "django_events_sourcing" / "__init__.py").read_text())
    assert version is not None
    readme, config = source / "README.md", source / "setup.cfg"
    readme.write_text(absolute(readme.read_text(), repository, f"v{version[1]}"))
    urls = f"project_urls =\n    Source = {repository}\n    Changelog = {repository}/blob/HEAD/CHANGELOG.md\n"
    config.write_text(config.read_text().replace("license = ", f"{urls}license = ", 1))
    _say("builds wheel and sdist")
    _run(sys.executable, "-m", "build", "--outdir", DIST, source, quiet=True)
    _say("checks their metadata")
    _run(sys.executable, "-m", "twine", "check", "--strict", *DIST.iterdir())
    return version[1]


def _check_readme() -> None:
    """README as an index shows it; each of its links leads somewhere."""
    from readme_renderer.markdown import render

    (wheel,) = DIST.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        shown = render(description(archive.read(metadata)))
    if shown is None:
        message = "An index cannot show README: readme_renderer makes nothing of it."
        raise NotReadyError(message)
    page = BUILD / "README.html"
    page.write_text(
        '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<body style="max-width: 60rem; margin: 1rem; font-family: sans-serif">{shown}'
    )
    _say(f"README as an index shows it: {page.relative_to(ROOT)}")
    anchors = {f"#{name}" for name in re.findall(r'id="([^"]+)"', shown)}
    if lost := set(re.findall(r'(?:href|src)="(?!https?://)([^"]+)"', shown)) - anchors:
        message = f"README's links lead nowhere from an index: {', '.join(lost)}"
        raise NotReadyError(message)


def _check_bare_installation() -> None:
    """The wheel in an environment with nothing else, and then the demo, by the wheel and away from this folder."""
    (wheel,) = DIST.glob("*.whl")
    bare, away = BUILD / "bare", BUILD / "away"
    away.mkdir()
    venv.create(bare, with_pip=True)
    python = bare / "bin" / "python"
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    _say("installs the wheel in a bare environment")
    _run(*pip, "install", wheel)
    _run(*pip, "check")
    (away / "smoke.py").write_text(SMOKE_TEST)
    _run(python, "smoke.py", cwd=away)
    _say("runs the example project by it")
    _run(*pip, "install", f"{wheel}[demo]")
    shutil.copytree(BUILD / "source" / "example_project", away / "example_project")
    _run(python, "example_project/demo.py", cwd=away)


def _say(what: str) -> None:
    print(f"-- {what}", flush=True)


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _run(*command: str | Path, cwd: Path = ROOT, quiet: bool = False) -> None:
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL if quiet else None)


if __name__ == "__main__":
    main()
