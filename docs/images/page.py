"""Photographs the page of a running service that draws with the shipped model, in the states that docs/page.md shows.

dalle-serve serve &  python -m docs.images.page [URL] [FOLDER]
"""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, Route, ViewportSize, expect

from tests.browser.chromium import chromium

HERE = Path(__file__).parent
DESKTOP: ViewportSize = {"width": 1100, "height": 860}
PHONE: ViewportSize = {"width": 390, "height": 844}
SEED = 3
QUALITY = 80


def main(url: str = "http://127.0.0.1:8000", folder: str = "") -> None:
    """Takes those that docs/page.md shows, into its folder; or all of them, into another."""
    shown = (HERE.parent / "page.md").read_text()
    with chromium() as browser:
        for name, (take, options) in SHOTS.items():
            if not folder and f"page-{name}.webp" not in shown:
                continue
            page = opened(browser, url, **options)
            take(page)
            page.wait_for_timeout(700)  # until nothing moves
            save(page, Path(folder or HERE) / f"page-{name}.webp")
            page.context.close()


def opened(browser: Browser, url: str, *, dark: bool = False, phone: bool = False, locked: bool = False) -> Page:
    context = browser.new_context(
        viewport=PHONE if phone else DESKTOP,
        color_scheme="dark" if dark else "light",
        device_scale_factor=2 if phone else 1,
        has_touch=phone,
        is_mobile=phone,
    )
    page = context.new_page()
    if locked:
        page.route("**/v1/models", refuse)
    page.goto(url)
    page.locator("#key-dialog[open], #wall .hung").first.wait_for()
    return page


def refuse(route: Route) -> None:
    """Answers as a service with keys does."""
    error = {"message": "Incorrect API key provided", "type": "invalid_request_error", "param": None, "code": None}
    route.fulfill(status=401, content_type="application/json", body=json.dumps({"error": error}))


def draw(page: Page, prompt: str, wait: bool = True) -> None:
    page.locator("[name=seed]").evaluate(f"input => input.value = {SEED}")
    page.fill("#prompt", prompt)
    page.keyboard.press("Enter")
    if wait:
        expect(page.locator("#actions")).to_be_visible()


def first_look(page: Page) -> None:
    page.mouse.move(5, 5)


def pictures(page: Page) -> None:
    draw(page, "a fox on a green background")


def drawing(page: Page) -> None:
    draw(page, "a fox on a green background", wait=False)
    page.locator(".tile.begun").first.wait_for()


def settings(page: Page) -> None:
    page.locator("#settings summary").click()
    page.fill("[name=guidance_scale]", "4")
    page.get_by_label("About: Temperature").click()


def known(page: Page) -> None:
    page.locator("#known summary").click()
    page.fill("#known-search", "face")


def large(page: Page) -> None:
    pictures(page)
    page.locator(".tile").first.click()


def about(page: Page) -> None:
    page.locator("#open-about").click()
    page.locator("#card h2").first.wait_for()


def edit(page: Page) -> None:
    pictures(page)
    page.locator(".tile").first.click()
    page.locator("#edit-one").click()
    page.fill("#prompt", "a red apple on a green background")
    box = page.locator("#canvas").bounding_box()
    assert box
    for row in (10, 12, 14):
        for column in range(2, 15):
            page.locator("#canvas").click(position={"x": box["width"] * column / 16, "y": box["height"] * row / 16})


def redrawing(page: Page) -> None:
    edit(page)
    page.locator("#draw").click()
    page.locator(".tile.begun").first.wait_for()


def compared(page: Page) -> None:
    edit(page)
    page.locator("#draw").click()
    expect(page.locator("#actions")).to_be_visible()
    page.locator(".tile").first.click()


def vary(page: Page) -> None:
    pictures(page)
    page.locator(".tile").first.click()
    page.locator("#vary").click()


def error(page: Page) -> None:
    page.locator("#settings summary").click()
    page.fill("[name=top_k]", "4294967296")
    draw(page, "an avocado", wait=False)
    page.locator("#problem p").wait_for()


def warning(page: Page) -> None:
    page.locator("#settings summary").click()
    page.fill("[name=negative_prompt]", "leaves")
    page.locator("#settings summary").click()
    draw(page, "the flag of Bhutan")


def key(page: Page) -> None:
    pass


Shot = tuple[Callable[[Page], None], dict[str, bool]]
SHOTS: dict[str, Shot] = {
    "first-look": (first_look, {}),
    "first-look-dark": (first_look, {"dark": True}),
    "drawing": (drawing, {}),
    "pictures": (pictures, {}),
    "settings": (settings, {}),
    "known": (known, {}),
    "large": (large, {}),
    "about": (about, {}),
    "edit": (edit, {}),
    "redrawing": (redrawing, {}),
    "compared": (compared, {}),
    "vary": (vary, {}),
    "error": (error, {}),
    "warning": (warning, {}),
    "key": (key, {"locked": True}),
    "phone": (first_look, {"phone": True}),
    "phone-dark": (pictures, {"phone": True, "dark": True}),
    "phone-edit": (edit, {"phone": True}),
    "phone-settings": (settings, {"phone": True}),
    "phone-large": (large, {"phone": True}),
    "phone-key": (key, {"phone": True, "locked": True}),
}


def save(page: Page, file: Path) -> None:
    picture = Image.open(io.BytesIO(page.screenshot()))
    if picture.width > DESKTOP["width"] or file.stem.startswith("page-phone"):
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
    picture.convert("RGB").save(file, quality=QUALITY, method=6)
    print(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
