"""The page in a real browser, before a service that draws known pictures."""

import pytest
from playwright.sync_api import Page, Route, expect
from ray.serve.exceptions import BackPressureError

from deployments.errors import StageUnavailable
from tests.browser.steps import PHONE, Look, OpenPage, draw, finished, opened, scores, shares
from tests.browser.studio import Studio, wait_until


def test_a_grid_draws_itself_row_by_row_and_ends_best_first(open_page: OpenPage, studio: Studio, look: Look):
    page = open_page(reduced_motion="no-preference")
    look(page, "1-empty")
    studio.sampler.rows_allowed = 4
    draw(page)
    expect(page.locator(".tile.begun")).to_have_count(9)
    assert shares(page) == ["0.25"] * 9
    expect(page.locator("#status")).to_have_text("Drawing 9 pictures of an avocado …")
    expect(page.locator("#progress")).to_have_js_property("value", 0.25)
    studio.sampler.rows_allowed = 8
    expect(page.locator(".tile").first).to_have_attribute("aria-label", "Being drawn, 50 %")
    page.wait_for_timeout(400)  # for the screenshot: in the middle of uncovering
    look(page, "2-drawing")
    studio.sampler.rows_allowed = 16
    expect(finished(page)).to_have_count(9)
    assert scores(page) == [f"{score}.0" for score in range(18, 9, -1)]  # the highest number is the best
    expect(page.locator("#status")).to_contain_text("best first")
    expect(page.locator("#progress")).to_be_hidden()
    page.wait_for_timeout(800)
    look(page, "3-done")


def test_the_best_of_more_are_kept(page: Page):
    page.click("summary")
    page.fill("[name=n]", "4")
    page.fill("[name=best_of]", "12")
    draw(page)
    expect(finished(page)).to_have_count(4)
    assert scores(page) == ["21.0", "20.0", "19.0", "18.0"]
    expect(page.locator("#status")).to_contain_text("The best 4 of 12 pictures")


@pytest.mark.parametrize("how", ["button", "key", "leaving"])
def test_cancelling_frees_what_draws(page: Page, studio: Studio, how: str):
    studio.sampler.rows_allowed = 4
    draw(page)
    expect(page.locator(".tile.begun")).to_have_count(9)
    assert studio.sampler.drawing == 9
    if how == "button":
        page.click("#cancel")
    elif how == "key":
        page.keyboard.press("Escape")
    else:
        page.close()
    wait_until(lambda: studio.sampler.drawing == 0)
    assert page.context.request.get(f"{studio.url}/ready").json()["pending_images"] == 0
    if how != "leaving":
        expect(page.locator("#status")).to_have_text("Cancelled.")
        expect(page.locator("#draw")).to_be_visible()
        expect(page.locator(".drawing")).to_have_count(0)


def test_a_busy_service_is_asked_again_when_it_says(page: Page, studio: Studio, look: Look):
    studio.encoder.errors = [BackPressureError(1, 1)]
    draw(page)
    expect(page.locator("#status")).to_have_text("The service is busy. Trying again in 1 s.")
    look(page, "4-busy")
    expect(finished(page)).to_have_count(9)


def test_waiting_can_be_cancelled(page: Page, studio: Studio):
    studio.encoder.errors = [BackPressureError(1, 1)] * 50
    draw(page)
    expect(page.locator("#status")).to_contain_text("Trying again")
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text("Cancelled.")


def test_who_asks_before_the_models_are_known_is_drawn_for(page: Page, studio: Studio):
    held: list[Route] = []
    page.route("**/v1/models", lambda route: held.append(route))
    with page.expect_request("**/v1/models"):
        page.reload(wait_until="domcontentloaded")
    page.locator("#prompt").wait_for()
    page.fill("#prompt", "an avocado")
    page.keyboard.press("Enter")
    expect(page.locator(".tile.done")).to_have_count(0)
    held[0].continue_()
    expect(finished(page)).to_have_count(9)


def test_those_before_in_the_queue_are_counted(page: Page, open_page: OpenPage, studio: Studio):
    studio.sampler.rows_allowed = 0
    draw(page)
    wait_until(lambda: studio.sampler.drawing == 9)
    other = open_page()
    draw(other, "a hat")  # with the same prompt and seeds it would be drawn together with the first
    expect(other.locator("#status")).to_have_text("In the queue: 9 pictures of others are before yours, about 18 s.")


def test_a_refused_value_is_shown_at_its_field(page: Page, look: Look):
    page.locator("[name=top_k]").evaluate("input => input.value = 4294967296")
    draw(page)
    expect(page.get_by_role("alert")).to_contain_text("top_k")
    expect(page.locator("[name=top_k]")).to_be_focused()
    look(page, "5-refused")
    page.keyboard.press("Delete")
    page.fill("[name=top_k]", "50")
    page.keyboard.press("Enter")
    expect(finished(page)).to_have_count(9)
    expect(page.get_by_role("alert")).to_be_empty()


@pytest.mark.parametrize(
    ("fields", "wrong"), [({"n": "11"}, "n"), ({"n": "4", "best_of": "3"}, "best_of"), ({"prompt": "  "}, "prompt")]
)
def test_what_cannot_be_asked_for_is_not_asked(page: Page, studio: Studio, fields: dict[str, str], wrong: str):
    page.click("summary")
    page.fill("#prompt", "an avocado")
    for name, value in fields.items():
        page.fill(f"[name={name}]", value)
    calls = len(studio.encoder.responses)
    page.click("#draw")
    expect(page.locator(f"[name={wrong}]")).to_be_focused()
    assert len(studio.encoder.responses) == calls


def test_a_failure_in_the_middle_is_told(page: Page, studio: Studio):
    studio.sampler.rows_allowed = 4
    draw(page)
    expect(page.locator(".tile.begun")).to_have_count(9)
    studio.sampler.row_errors = [(0, StageUnavailable("A stage is down. Try later."))]
    studio.sampler.rows_allowed = 16
    expect(page.get_by_role("alert")).to_have_text("A stage is down. Try later.")
    expect(page.locator("#draw")).to_be_visible()


def test_a_link_draws_the_same_again(open_page: OpenPage):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.click("summary")
    page.fill("[name=guidance_scale]", "3.5")
    page.fill("[name=negative_prompt]", "salt & pepper")
    draw(page, "a “quoted” prompt & more #1", seed=None)
    drawn = [tile.get_attribute("src") for tile in finished(page).locator("img").all()]
    page.click("#copy-link")
    expect(page.locator("#status")).to_contain_text("copied")
    link = page.evaluate("() => navigator.clipboard.readText()")
    again = open_page(link[link.index("/", 8) :])
    assert [tile.get_attribute("src") for tile in finished(again).locator("img").all()] == drawn
    assert again.input_value("#prompt") == "a “quoted” prompt & more #1"
    assert again.input_value("[name=guidance_scale]") == "3.5"
    assert again.input_value("[name=negative_prompt]") == "salt & pepper"


def test_one_picture_has_a_link_of_its_own(open_page: OpenPage):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    draw(page)
    finished(page).nth(2).click()
    page.click("#link-one")
    expect(page.locator("#viewer-status")).to_contain_text("copied")
    link = page.evaluate("() => navigator.clipboard.readText()")
    again = open_page(link[link.index("/", 8) :])
    expect(finished(again)).to_have_count(1)
    assert scores(again) == ["16.0"]


def test_pictures_can_be_kept(page: Page):
    draw(page)
    finished(page)
    with page.expect_download() as waiting:
        page.click("#save-grid")
    assert waiting.value.suggested_filename == "an-avocado-10-grid.png"
    assert opened(waiting.value).size == (3 * 128 + 2 * 8, 3 * 128 + 2 * 8)
    finished(page).first.click()
    with page.expect_download() as waiting:
        page.click("#save-one")
    assert waiting.value.suggested_filename == "an-avocado-18.png"
    assert opened(waiting.value).size == (128, 128)


def test_it_fits_a_phone_in_the_dark(open_page: OpenPage, look: Look):
    page = open_page(viewport=PHONE, color_scheme="dark", has_touch=True, device_scale_factor=2)
    page.locator("#examples button").first.tap()
    expect(finished(page)).to_have_count(9)
    red, green, blue = page.evaluate("() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(red, green, blue) < 60
    look(page, "8-phone")
    page.locator("#settings summary").tap()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"]
    look(page, "9-phone-settings")
    finished(page).first.tap()
    box = page.get_by_role("dialog").bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"] and box["height"] <= PHONE["height"]
    look(page, "10-phone-large")


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_those_who_want_it_calm_see_nothing_move(open_page: OpenPage, studio: Studio, motion: str):
    page = open_page(reduced_motion=motion)
    studio.sampler.rows_allowed = 8
    draw(page)
    expect(page.locator(".tile.begun")).to_have_count(9)
    times = page.locator(".tile").evaluate_all("t => t.map(tile => tile.style.getPropertyValue('--reveal-time'))")
    assert (set(times) == {"0s"}) == (motion == "reduce")
    moving = page.evaluate("() => document.getAnimations().length")
    assert (moving == 0) == (motion == "reduce")
