"""The page of a real run in a real browser."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_cases import Page
from PIL import Image
from plugin_cases import own_registries

from evojax_prune.cli import main as command
from evojax_prune.features import register_backbone

pytestmark = pytest.mark.pictures

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture
def backbone() -> Iterator[str]:
    """A backbone that takes no time."""
    with own_registries():
        register_backbone("mean", _means, image_size=16, version="1")
        yield "mean"


def _means(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), 4, 4, 4, 4, 3).mean((2, 4)).reshape(len(images), -1) / 255


@pytest.fixture
def run(tmp_path: Path, backbone: str) -> Path:
    """A run on image files with hostile names, as the main command makes it."""
    rng = np.random.default_rng(0)
    kinds = ("<b>ant", "bee & $wasp$", "猫" * 30)
    for level, kind in zip((60, 90, 120), kinds, strict=True):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for i in range(20):
            pixels = rng.normal(level, 60, (64, 48, 3)).clip(0, 255).astype(np.uint8)
            name = f"<img src=x onerror=alert({i})>.png"
            Image.fromarray(pixels).save(tmp_path / "images" / kind / name)
    words = ["--dataset", str(tmp_path / "images"), "--output", str(tmp_path / "run")]
    words += ["--backbone", backbone, "--groups", r"alert\((\d+)\)", "--hidden", "8"]
    words += ["--protocol", "holdout", "--population", "6", "--evaluations", "18"]
    words += ["--finalists", "2", "--search-protocol.epochs", "2", "--final-protocol.epochs", "4"]
    assert command.main(words) == 0
    return tmp_path / "run" / "report.html"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Headless Chromium, driven by selenium; the test is skipped where one of them is missing."""
    selenium = pytest.importorskip("selenium.webdriver")
    names = ("chromium", "chromium-browser", "google-chrome")
    binary = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium or no chromedriver on the PATH")
    options = selenium.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.mark.slow
def test_the_page_of_a_run_in_a_browser(run: Path, browser: Any) -> None:
    page = Page(run.read_text(encoding="utf-8"))
    assert page.of("img")
    for scheme, width in (("light", 1280), ("dark", 360)):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(run.as_uri())
        browser.execute_script("document.querySelectorAll('details').forEach(e => e.open = true)")
        assert browser.get_log("browser") == []
        widths = browser.execute_script("return [...document.images].map(i => i.naturalWidth)")
        assert len(widths) == len(page.of("img"))
        assert all(widths)
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width, f"{wide} pixels"
        drawn = browser.execute_script(
            "return [...document.querySelectorAll('figure > svg')].map("
            "s => [s.getBoundingClientRect().width, s.querySelectorAll('path').length])"
        )
        assert len(drawn) == len(page.of("svg"))
        assert all(w > 200 and paths > 3 for w, paths in drawn)
        colour = "return getComputedStyle(document.body).backgroundColor"
        light = browser.execute_script(colour) == "rgb(255, 255, 255)"
        assert light == (scheme == "light")
        _keep(browser, f"report-{scheme}-{width}.png")


def _keep(browser: Any, name: str) -> None:
    """Keep a picture of the whole page where the environment names a folder."""
    if folder := os.environ.get("EVOJAX_PRUNE_SCREENSHOTS"):
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / name).write_bytes(base64.b64decode(shot["data"]))
