"""The page for everybody: for who does not see it, has no mouse, enlarges it, or has to show a key."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize, expect

from deployments.config import AccessConfig, AppConfig
from tests.browser.steps import Look, OpenPage, draw, finished
from tests.browser.studio import Studio, wait_until

KEY = "k" * 32
ENLARGED: ViewportSize = {"width": 640, "height": 430}  # a desktop's window at 200 %
LONG = "Donaudampfschifffahrtsgesellschaftskapitän"


def states(page: Page) -> Iterator[str]:
    """Takes the page through all that it shows; says what is to be seen."""
    page.locator("#wall .hung").first.wait_for()
    yield "first look"
    page.click("#settings summary")
    page.fill("[name=guidance_scale]", "4")
    page.fill("[name=negative_prompt]", "leaves")
    yield "settings"
    page.fill("[name=guidance_scale]", "1")
    page.click("#known summary")
    yield "known"
    page.click("#known summary")
    draw(page)
    finished(page)
    yield "pictures"
    page.locator(".tile").first.click()
    yield "large"
    page.click("#edit-one")
    yield "editor"
    page.click("#open-about")
    page.locator("#card h2").first.wait_for()
    yield "about"
    page.keyboard.press("Escape")


def test_axe_finds_nothing_to_mend(open_page: OpenPage):
    page = open_page()
    axe, colors_alone = Axe(), {"runOnly": ["color-contrast"]}
    for state in states(page):
        for colors, options in (("light", None), ("dark", colors_alone)):
            page.emulate_media(color_scheme=colors)
            found = axe.run(page, options=options)
            assert not found.violations_count, f"{state}, {colors}: {found.generate_report()}"


@pytest.mark.parametrize("words", ["", LONG])
def test_nothing_sticks_out_at_200_percent_and_in_long_words(open_page: OpenPage, words: str):
    page = open_page(viewport=ENLARGED)
    lengthen = """words => document.querySelectorAll("button, label, summary, h2, h1, p, a, span, dt").forEach(
        ({ childNodes }) => childNodes.forEach(
          node => { if (node.nodeType === 3 && node.data.trim().length > 2) node.data = words }))"""
    for state in states(page):
        if words:
            page.evaluate(lengthen, words)
            page.set_viewport_size({"width": 400, "height": 700})
        assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0, state
        for dialog in page.locator("dialog[open]").all():
            assert dialog.evaluate("box => box.scrollWidth - box.clientWidth") <= 0, state
        page.set_viewport_size(ENLARGED)


def test_everything_can_be_done_with_keys(page: Page, look: Look):
    expect(page.locator("#prompt")).to_be_focused()
    draw(page)
    finished(page)
    expect(page.locator(".tile").first).to_have_attribute("aria-label", "Picture 1 of 9, score 18.0. Enlarge")
    page.locator(".tile").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".tile").nth(4)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#grid li").nth(4).get_by_label("Download")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator("#large-facts")).to_contain_text("5 of 9 · score 14.00 · seed 14")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#large-facts")).to_contain_text("6 of 9")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator(".tile").nth(5)).to_be_focused()
    for _ in range(4):  # past what can be done with this picture, out of the grid
        page.keyboard.press("Tab")
    expect(page.locator("#again")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#prompt")).to_be_focused()


def test_a_key_is_asked_for_used_and_kept_only_where_wished(open_page: OpenPage, tmp_path: Path, look: Look):
    keys = tmp_path / "keys"
    keys.write_text(KEY)
    with Studio(AppConfig(access=AccessConfig(keys_file=str(keys)))) as studio:
        page = open_page(url=studio.url)
        asked, words = page.locator("#key-dialog"), page.locator("#key-words")
        expect(asked).to_be_visible()
        expect(words).to_contain_text("draws for those who have a key")
        expect(page.get_by_role("alert")).to_be_empty()
        assert page.locator("#examples button").count() == 0  # nobody knows yet what the model can draw
        expect(page.locator("#key")).to_be_focused()
        assert not Axe().run(page).violations_count
        look(page, "key")
        page.keyboard.type("not-this-one")
        page.keyboard.press("Enter")
        expect(words).to_contain_text("not known here")
        expect(page.get_by_role("alert")).to_be_empty()
        page.fill("#key", f" {KEY}\t")
        page.keyboard.press("Enter")
        expect(asked).to_be_hidden()
        expect(page.locator("#prompt")).to_be_focused()
        expect(page.locator("#examples button")).not_to_have_count(0)
        draw(page)
        expect(finished(page)).to_have_count(9)
        assert page.locator("[name=model] option").all_text_contents() == ["emoji"]
        page.reload()  # nothing was kept
        expect(asked).to_be_visible()
        page.fill("#key", KEY)
        page.get_by_label("Remember it in this browser").check()
        page.keyboard.press("Enter")
        expect(asked).to_be_hidden()
        page.reload()
        expect(page.locator("#examples button")).not_to_have_count(0)
        expect(asked).to_be_hidden()
        page.click("#forget-key")
        expect(asked).to_be_visible()
        page.fill("#key", KEY)
        page.get_by_label("Remember it in this browser").check()
        page.keyboard.press("Enter")
        expect(asked).to_be_hidden()
        keys.write_text("another-key-of-some-length")
        mine = {"authorization": f"Bearer {KEY}"}
        wait_until(lambda: httpx.get(f"{studio.url}/v1/models", headers=mine, trust_env=False).status_code == 401)
        draw(page)
        expect(words).to_contain_text("not known here")
        page.get_by_role("button", name="Not now").click()
        expect(asked).to_be_hidden()
