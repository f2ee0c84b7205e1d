"""A real browser, and what a person and a screen reader would find wrong with a page."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

__all__ = ["VARIANTS", "Site", "assert_fine", "chromium", "tab"]

#: Widths in pixels, and what the system prefers.
VARIANTS = [(width, scheme) for width in (1280, 360) for scheme in ("light", "dark")]

_SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"

# Debian's: none that a package of Python's would load from elsewhere.
_EXECUTABLE = "/usr/bin/chromium"

_AXE = Axe()


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_EXECUTABLE, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Site:
    """A web server with the admin.

    Attributes:
        address: Without a path.
        password: That of everybody.
        signed_in: The cookies of those who have signed in, by their names.
    """

    address: str
    password: str
    signed_in: dict[str, Any] = field(default_factory=dict)


@contextmanager
def tab(browser: Browser, site: Site, user: str, **options: Any) -> Iterator[Page]:
    """A tab of somebody who is signed in to the admin; what its console complains of fails the test.

    Args:
        browser: The browser.
        site: The site.
        user: His name.
        options: Of the browser's context.
    """
    if user not in site.signed_in:
        context = browser.new_context(base_url=site.address)
        page = context.new_page()
        page.goto("/admin/login/")
        page.fill("#id_username", user)
        page.fill("#id_password", site.password)
        page.click("[type=submit]")
        site.signed_in[user] = context.storage_state()
        context.close()
    context = browser.new_context(base_url=site.address, storage_state=site.signed_in[user], **options)
    complaints: list[str] = []
    page = context.new_page()
    page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield page
        if complaints:
            raise AssertionError("\n".join(complaints))
    finally:
        context.close()


def assert_fine(page: Page, name: str) -> None:
    """It fits into its width, axe-core finds nothing, and a picture of it is kept in build/screenshots."""
    width = page.viewport_size["width"] if page.viewport_size else 0
    scheme = "dark" if page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"
    _SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=_SCREENSHOTS / f"{name}-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for each in _AXE.run(page).response["violations"]:
        node = each["nodes"][0]
        raise AssertionError(f"{each['id']}: {node['html']}\n{node['failureSummary']}")
