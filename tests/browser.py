"""Chromium, for what only a browser shows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.availability import absent

if TYPE_CHECKING:
    from playwright.sync_api import Page

FLAGS = [
    "--no-sandbox",  # Chromium has none under root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",  # with the next two: no request that the page did not make
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def open_page() -> Iterator[Page]:
    """An empty page of a new browser with an empty profile."""
    executable = os.environ.get("JETIO_TEST_CHROMIUM") or shutil.which("chromium")
    if executable is None:
        absent("chromium", "no `chromium` on the PATH and no JETIO_TEST_CHROMIUM")
    from playwright.sync_api import sync_playwright  # 0.3 s that few runs need

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            page = browser.new_page()
            page.set_default_timeout(15_000)
            yield page
        finally:
            browser.close()
