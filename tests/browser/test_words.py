"""What the page says: of settings, warnings and scores, and what it leaves unsaid."""

from playwright.sync_api import Page, expect

from tests.browser.steps import Look, draw, finished
from tests.browser.studio import Studio


def test_warnings_are_shown(page: Page, look: Look):
    page.click("#settings summary")
    page.fill("[name=negative_prompt]", "leaves")
    draw(page)
    finished(page)
    expect(page.locator("#notices")).to_contain_text("negative_prompt does nothing at guidance_scale 1")
    look(page, "warning")
    page.fill("[name=negative_prompt]", "")
    draw(page)
    expect(page.locator("#notices")).to_be_empty()


def test_a_prompt_that_names_nothing_known_leads_to_what_is(page: Page):
    draw(page, "the flag of Bhutan")
    finished(page)
    page.locator("#notices").get_by_role("button", name="What it knows").click()
    expect(page.locator("#known-search")).to_be_focused()


def test_settings_explain_themselves_and_are_heeded(page: Page, look: Look):
    page.click("#settings summary")
    tip = page.get_by_role("tooltip")
    page.get_by_label("About: Guidance").hover()
    expect(tip).to_contain_text("Good with emoji: 1 to 1.75")
    look(page, "settings")
    page.get_by_label("About: Seed").focus()
    expect(tip).to_contain_text("draw the same pictures")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    page.fill("[name=guidance_scale]", "4")
    expect(page.locator("#beyond-guidance_scale")).to_have_text("emoji draws well from 1 to 1.75")
    page.fill("[name=guidance_scale]", "1.5")
    expect(page.locator("#beyond-guidance_scale")).to_be_hidden()
    page.select_option("[name=background]", "transparent")  # a choice, as the model draws on plain grounds
    page.fill("[name=guidance_scale]", "")
    page.select_option("[name=size]", "256x256")
    page.select_option("[name=output_format]", "webp")
    draw(page)
    picture = finished(page).first.locator("img")
    expect(picture).to_have_js_property("naturalWidth", 256)
    assert str(picture.get_attribute("src")).startswith("data:image/webp;")


def test_near_copies_wait_behind_the_best_of_them(page: Page, studio: Studio, look: Look):
    studio.sampler.alike = 3
    draw(page, seed=12)
    expect(finished(page)).to_have_count(9)
    expect(page.locator("#grid li:visible")).to_have_count(3)
    similar = page.locator("#grid li:visible").first.get_by_role("button", name="similar (2)")
    look(page, "similar")
    similar.click()
    expect(page.locator("#grid li:visible")).to_have_count(5)
    expect(similar).to_have_attribute("aria-expanded", "true")
    similar.click()
    expect(page.locator("#grid li:visible")).to_have_count(3)


def test_a_prompt_has_as_many_lines_as_it_needs(page: Page):
    page.fill("#prompt", "a rocket")
    height = page.locator("#prompt").evaluate("box => box.clientHeight")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("on a blue background")
    assert page.locator("#prompt").evaluate("box => box.clientHeight") > height
    assert page.input_value("#prompt") == "a rocket\non a blue background"
    page.keyboard.press("Enter")
    expect(finished(page)).to_have_count(9)


def test_a_large_picture_is_sharp_and_its_score_explained(page: Page, look: Look):
    draw(page)
    finished(page).first.click()
    expect(page.locator("#sharp")).to_be_visible()
    page.wait_for_function("() => document.getElementById('sharp').width > 256")
    look(page, "large")
    page.get_by_role("button", name="Pixels").click()
    expect(page.locator("#sharp")).to_be_hidden()
    expect(page.locator("#large")).to_have_css("image-rendering", "pixelated")
    page.get_by_label("What the score is").hover()
    expect(page.get_by_role("tooltip")).to_contain_text("How well the picture fits the words")
    expect(page.locator("#large-words")).to_be_empty()  # the model read what was written
