"""What a visitor sees before anything is drawn."""

import json
import re
from contextlib import closing

from playwright.sync_api import Browser, Page, Request, expect

from deployments.web.page import FOLDER
from tests.browser.steps import Look, finished
from tests.browser.studio import Studio

MAX_BYTES = 100_000
WALL = json.loads((FOLDER / "assets" / "wall.json").read_text())


def test_a_wall_of_pictures_each_of_which_draws_itself(page: Page, look: Look):
    tiles = page.locator("#wall .hung")
    expect(page.locator("#wall li")).to_have_text(WALL["prompts"])
    look(page, "first-look")
    with page.expect_request("**/v1/images/generations") as asked:
        tiles.nth(2).click()
    expect(finished(page)).to_have_count(9)
    expect(page.locator("#wall")).to_be_hidden()
    assert page.input_value("#prompt") == WALL["prompts"][2]
    fields = asked.value.post_data_json or {}
    assert (fields["prompt"], fields["seed"]) == (WALL["prompts"][2], 0)
    assert page.locator("[name=seed]").input_value() == ""  # the next ones are others


def test_what_the_model_knows_can_be_searched_and_drawn(page: Page, look: Look):
    page.click("#known summary")
    things = page.locator("#known-things button")
    expect(things).to_have_count(240)
    page.fill("#known-search", "face cat")
    expect(things).to_have_text(["cat face"])
    expect(page.locator("#known-things .thumbnail")).to_have_css("background-image", re.compile("^url"))
    look(page, "known")
    page.fill("#known-search", "flag")
    expect(page.locator("#known-none")).to_contain_text("Nothing of that name")
    page.fill("#known-search", "rocket")
    page.select_option("#known-way", "{} on a red background")
    page.keyboard.press("Tab")
    page.locator("#known-search").press("Enter")
    expect(finished(page)).to_have_count(9)
    assert page.input_value("#prompt") == "rocket on a red background"


def test_the_model_tells_of_itself(page: Page, look: Look):
    expect(page.locator("#model-line")).to_contain_text("Draws animals")
    page.click("#open-about")
    about = page.get_by_role("dialog", name="emoji")
    expect(about).to_contain_text("Apache-2.0")
    expect(about.get_by_role("heading", name="What it learned from")).to_be_visible()
    look(page, "about")
    page.keyboard.press("Escape")
    expect(about).to_be_hidden()
    assert page.get_by_role("link", name="API").get_attribute("href") == "docs"


def test_the_first_look_is_small(browser: Browser, studio: Studio):
    with closing(browser.new_context()) as context:  # one that has kept nothing
        page, loaded = context.new_page(), list[Request]()
        page.on("requestfinished", lambda request: loaded.append(request))
        # Asked of the network: the page's own list of what it loaded sometimes leaves out what a style sheet asks for.
        with page.expect_request_finished(lambda request: request.url.endswith("/wall.webp")):
            page.goto(studio.url)
        page.wait_for_load_state("networkidle")
        sizes = {request.url.rsplit("/", 1)[-1]: carried(request) for request in loaded}
    assert {"", "app.js", "style.css", "wall.webp", "models"} <= sizes.keys()
    assert all(sizes.values()) and sum(sizes.values()) < MAX_BYTES, sizes


def carried(request: Request) -> int:
    """Bytes of a reply as they went over the network."""
    sizes = request.sizes()
    return sizes["responseHeadersSize"] + sizes["responseBodySize"]
