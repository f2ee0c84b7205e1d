"""What a release says of itself: where links lead, and what is left to do."""

import re
from pathlib import Path

import pytest

from tests.audit import oldest
from tests.release import NotReadyError, absolute, description, left_to_do, web_address

ROOT = Path(__file__).parent.parent.parent
REPOSITORY = "https://example.com/us/des"


def test_absolute__readme__links_lead_to_files_at_the_tag():
    """An index has README alone."""
    links = re.findall(r"\]\((\S+?)\)", absolute((ROOT / "README.md").read_text(), REPOSITORY, "v1.0.0"))
    ours = [link for link in links if link.startswith(REPOSITORY)]
    assert len(ours) > 10
    for link in ours:
        path = re.fullmatch(rf"{REPOSITORY}/(blob|raw)/v1\.0\.0/([^#]+)(#\S+)?", link)
        assert path is not None, link
        assert (ROOT / path[2]).exists(), link
        assert (path[1] == "raw") == link.endswith(".svg")
    assert all(link.startswith("https://") for link in links)


def test_description__of_metadata__is_the_readme_as_it_was():
    """With the lines and arrows of its picture."""
    readme = (ROOT / "README.md").read_text()
    head = "Metadata-Version: 2.4\nName: django-events-sourcing\n\n"
    assert description(f"{head}{readme}".encode()) == readme


@pytest.mark.parametrize(
    "remote",
    ["https://example.com/us/des", "https://example.com/us/des.git", "git@example.com:us/des.git",
     "ssh://git@example.com/us/des"],
)  # fmt: skip
def test_web_address__of_a_remote__is_what_a_browser_opens(remote):
    assert web_address(remote) == REPOSITORY


@pytest.mark.parametrize("remote", ["", "/srv/git/des", "file:///srv/git/des"])
def test_web_address__of_a_folder__says_what_to_give(remote):
    with pytest.raises(NotReadyError, match="make release REPOSITORY=https://"):
        web_address(remote)


@pytest.mark.parametrize(
    "version, changelog, first",
    [
        ("1.1.0.dev0", "## Unreleased\n", "1.1.0.dev0 is a version to try, not to upload. For 1.1.0:"),
        ("1.1.0", "## Unreleased\n", 'CHANGELOG.md has no "## 1.1.0 (year-month-day)"'),
        ("1.1.0", "## 1.1.0 (2026-11-30)\n", "Look at build/release/README.html"),
    ],
)
def test_left_to_do__says_what_comes_first(version, changelog, first):
    steps = left_to_do(version, changelog)
    assert steps[0].startswith(first)
    assert any("twine upload" in step for step in steps) == first.startswith("Look")


def test_oldest__of_what_is_required__one_version_of_each():
    """What is audited is what setup.cfg allows."""
    pinned = oldest()
    assert len(pinned) >= 6
    assert all(re.match(r"[\w-]+==\d[\d.]*(;.*)?$", each) for each in pinned)
    assert oldest(["celery>=5.3", "a[b]>=1,<2; python_version < '4'"]) == [
        "celery==5.3",
        "a[b]==1,<2; python_version < '4'",
    ]
    with pytest.raises(ValueError, match="no lower bound for nameko"):
        oldest(["celery>=5.3", "nameko"])
