"""Headless Chromium for tests, and a watch on everything that a page should not do."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Playwright, Request, expect, sync_playwright

__all__ = ["Tab", "chromium"]

_FLAGS = (
    "--no-sandbox",  # for root, and for containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_GRAVE = frozenset({"serious", "critical"})
_PATIENCE_MS = 20_000
_STOPS = 80


@contextmanager
def chromium() -> Iterator[BrowserContext]:
    """Run the system's Chromium with an empty profile. Where there is none tests are skipped, and fail in CI."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no Chromium: install the package 'chromium'")
        pytest.skip("there is no Chromium")
    with (
        pytest.MonkeyPatch.context() as ours,
        tempfile.TemporaryDirectory(prefix="mlx-browser-", ignore_cleanup_errors=True) as profile,
    ):
        ours.delenv("LD_PRELOAD", raising=False)  # the engines' BLAS: it is of no use to a browser
        with sync_playwright() as playwright:
            yield from _browse(playwright, program, profile)


def _browse(playwright: Playwright, program: str, profile: str) -> Iterator[BrowserContext]:
    context = playwright.chromium.launch_persistent_context(profile, executable_path=program, args=list(_FLAGS))
    context.set_default_timeout(_PATIENCE_MS)
    expect.set_options(timeout=_PATIENCE_MS)
    try:
        yield context
    finally:
        context.close()


class Tab:
    """A page of one server. What it must never do is noted.

    Args:
        page: Empty.
        origin: The server's.
    """

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.complaints: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", self._asked)

    def open(self, path: str = "") -> Page:
        """Go to a page of the dashboard, and return it once it hears the server's news."""
        self.page.goto(f"{self.origin}/dashboard{path}")
        self.page.wait_for_selector("#live[data-live=yes]")
        return self.page

    def barriers(self, *rules: str) -> list[str]:
        """Return what axe-core finds, by these rules or by all, that would keep somebody from using the page."""
        found = Axe().run(self.page, options={"runOnly": list(rules)} if rules else None)["violations"]
        return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in _GRAVE]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        width = self.page.evaluate("document.scrollingElement.scrollWidth - document.documentElement.clientWidth")
        return int(width)

    def ground(self) -> str:
        """Return the colour behind everything."""
        return str(self.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    def press_until(self, name: str) -> None:
        """Go from element to element, as the Tab key does, until the one of this name has the focus."""
        for _ in range(_STOPS):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("(document.activeElement.ariaLabel ?? document.activeElement.textContent).trim()") == name:
                return
        pytest.fail(f"{name!r} cannot be reached with the Tab key")

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.complaints.append(f"asked {request.url}")
