"""What stays: after a cancel, without the service, and from one day to another."""

import json
from pathlib import Path

from playwright.sync_api import FilePayload, Page, expect

from tests.browser.steps import Look, OpenPage, draw, finished
from tests.browser.studio import Studio


def test_a_cancelled_grid_leaves_what_is_begun_or_what_was_there(page: Page, studio: Studio):
    studio.sampler.rows_allowed = 0
    draw(page)
    expect(page.locator(".tile.drawing")).to_have_count(9)
    page.keyboard.press("Escape")
    expect(page.locator("#wall")).to_be_visible()
    studio.sampler.rows_allowed = 16
    draw(page)
    finished(page)
    studio.sampler.rows_allowed = 0
    draw(page, "a rocket", seed=50)
    expect(page.locator(".tile.drawing")).to_have_count(9)
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text("Cancelled.")
    expect(finished(page)).to_have_count(9)  # those of before
    studio.sampler.rows_allowed = 4
    draw(page)
    expect(page.get_by_label("Being drawn, 25 %")).to_have_count(9)
    page.keyboard.press("Escape")
    expect(page.locator(".tile.left")).to_have_count(9)
    expect(page.locator(".tile").first).to_have_attribute("aria-label", "Left unfinished, 25 % drawn")


def test_it_goes_on_by_itself_when_the_service_is_back(page: Page, look: Look):
    page.clock.install()
    page.context.set_offline(True)
    draw(page)
    expect(page.locator("#status")).to_have_text("The service does not answer. Trying again in 3 s.")
    look(page, "away")
    page.context.set_offline(False)
    for _ in range(4):
        page.clock.run_for(1000)
    page.clock.resume()
    expect(finished(page)).to_have_count(9)


def test_it_says_that_the_model_is_being_loaded(page: Page, studio: Studio, look: Look):
    studio.sampler.is_away = True
    draw(page)
    expect(page.locator("#status")).to_have_text("The model is being loaded. Still to come: token sampler.")
    look(page, "loading")
    studio.sampler.is_away = False
    expect(finished(page)).to_have_count(9)


def test_the_past_is_kept_in_the_browser(page: Page, studio: Studio, look: Look):
    expect(page.locator("#history-none")).to_contain_text("in this browser alone")
    for prompt in ("an avocado", "a red apple"):
        draw(page, prompt)
        finished(page)
    page.reload()
    entries = page.locator("#runs button")
    expect(entries).to_have_text(["a red apple", "an avocado"])
    calls = len(studio.encoder.responses)
    entries.last.click()
    expect(finished(page)).to_have_count(9)
    assert page.input_value("#prompt") == "an avocado"
    assert len(studio.encoder.responses) == calls  # nothing was drawn
    look(page, "history")
    page.fill("#history-search", "RED app")
    expect(entries).to_have_text(["a red apple"])
    page.fill("#history-search", "pear")
    expect(page.locator("#history-none")).to_have_text("No drawing has these words.")
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#forget")
    expect(entries).to_have_count(0)
    page.reload()
    expect(page.locator("#history-none")).to_contain_text("in this browser alone")
    expect(entries).to_have_count(0)


def test_the_past_goes_into_a_file_and_out_of_it(page: Page, open_page: OpenPage, tmp_path: Path):
    draw(page)
    finished(page).first.click()
    page.click("#vary")
    page.click("#draw")
    expect(page.locator("#runs button")).to_have_count(2)
    with page.expect_download() as waiting:
        page.click("#export")
    waiting.value.save_as(tmp_path / "history.json")
    content = json.loads((tmp_path / "history.json").read_text())
    assert [drawing["kind"] for drawing in content["drawings"]] == ["vary", "draw"]
    fields = content["drawings"][1]["fields"]
    sampling = {"guidance_scale": 1, "temperature": 0.7, "top_k": 50, "top_p": 1}
    assert fields == {"model": "emoji", "prompt": "an avocado", "n": 9, "seed": 10} | sampling  # all that it takes
    other = open_page()
    for _ in range(2):  # the second time all of them are there
        other.set_input_files("#history-file", tmp_path / "history.json")
        expect(other.locator("#runs button")).to_have_text(["Variations of “an avocado”", "an avocado"])
    expect(other.locator("#status")).to_have_text("All of these are here already.")
    other.locator("#runs button").first.click()
    drawn = [tile.get_attribute("src") for tile in finished(other).locator("img").all()]
    assert drawn == [picture["src"] for picture in content["drawings"][0]["pictures"]]
    other.click("#copy-link")
    expect(other.locator("#status")).to_contain_text("link")  # it can be drawn again from a link


def test_a_file_that_is_no_history_is_refused(page: Page):
    for change, said in (
        ({"kind": "diary"}, "no exported history"),
        ({"version": 2}, "has version 2"),
        ({"drawings": [{"kind": "draw"}]}, "Drawing 1 of this history is not whole"),
        ({"drawings": [{}, None]}, "Drawing 1 of this history is not whole"),
    ):
        content = {"kind": "dalle-serve-history", "version": 1, "drawings": []} | change
        file: FilePayload = {"name": "a.json", "mimeType": "application/json", "buffer": json.dumps(content).encode()}
        page.set_input_files("#history-file", file)
        expect(page.locator("#status")).to_contain_text(said)
    expect(page.locator("#runs button")).to_have_count(0)
