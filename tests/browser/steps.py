"""What the tests do with the page again and again."""

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Download, Locator, Page, expect

OpenPage = Callable[..., Page]
Look = Callable[[Page, str], None]
PHONE = {"width": 360, "height": 740}


def draw(page: Page, prompt: str = "an avocado", seed: int | None = 10) -> None:
    """Types a prompt and draws, without waiting for pictures."""
    if seed is not None:
        page.locator("[name=seed]").evaluate(f"input => input.value = {seed}")
    page.fill("#prompt", prompt)
    page.keyboard.press("Enter")


def finished(page: Page) -> Locator:
    """The tiles, once all is drawn."""
    expect(page.locator("#actions")).to_be_visible()
    return page.locator(".tile.done")


def scores(page: Page) -> list[str]:
    return page.locator(".tile .score").all_text_contents()


def shares(page: Page) -> list[str]:
    """How much of each tile is uncovered."""
    return page.locator(".tile").evaluate_all("tiles => tiles.map(tile => tile.style.getPropertyValue('--drawn'))")


def opened(download: Download) -> Image.Image:
    return Image.open(io.BytesIO(Path(download.path()).read_bytes()))
