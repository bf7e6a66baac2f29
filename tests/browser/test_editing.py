"""Drawing on a picture: where it comes from, what of it is marked, and what comes of it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

from deployments.gateway.caller import Caller
from deployments.requests.schemas import DrawingRequest, EditRequest, Upload, VariationRequest
from model_core.pictures import images
from tests.browser.steps import PHONE, Look, OpenPage, draw, finished, opened
from tests.browser.studio import SHEET, Studio

BANANA = 11  # its place in the sheet


@pytest.fixture
def asked(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> list[tuple[DrawingRequest, Upload | None]]:
    """What the service was asked for."""
    requests: list[tuple[DrawingRequest, Upload | None]] = []
    stream = studio.gateway.stream

    def noted(request: DrawingRequest, upload: Upload | None, caller: Caller) -> Any:
        requests.append((request, upload))
        return stream(request, upload, caller)

    monkeypatch.setattr(studio.gateway, "stream", noted)
    return requests


def picture(width: int = 300, height: int = 200) -> FilePayload:
    cell = Image.open(SHEET).convert("RGB").crop((64 * BANANA, 0, 64 * BANANA + 64, 64)).resize((width, height))
    file = io.BytesIO()
    cell.save(file, "PNG")
    return {"name": "mine.png", "mimeType": "image/png", "buffer": file.getvalue()}


def marked(upload: Upload | None) -> np.ndarray:
    """Which of the 16 × 16 fields of a mask are clear, as a bool array."""
    assert upload and upload.mask
    alpha = np.asarray(Image.open(io.BytesIO(upload.mask)).convert("RGBA"))[..., 3]
    side = alpha.shape[0] // 16
    return alpha[side // 2 :: side, side // 2 :: side] == 0


def test_a_part_of_a_picture_is_redrawn(page: Page, studio: Studio, asked: list, look: Look):
    page.set_input_files("#file", picture())
    expect(page.locator("#editor")).to_be_visible()
    expect(page.locator("#wall")).to_be_hidden()
    page.fill("#prompt", "a top hat")
    page.click("#draw")
    expect(page.locator("#editor-help")).to_contain_text("Nothing is marked yet")
    box = page.locator("#canvas").bounding_box()
    assert box
    page.locator("#brush-size").fill("1")
    page.mouse.move(box["x"] + box["width"] * 2.5 / 16, box["y"] + box["height"] * 3.5 / 16)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 9.5 / 16, box["y"] + box["height"] * 3.5 / 16)
    page.mouse.up()
    page.mouse.click(box["x"] + 4, box["y"] + 4)
    look(page, "edit")
    page.click("#undo")
    studio.sampler.rows_allowed = 2
    page.click("#draw")
    expect(page.locator(".tile.based")).to_have_count(9)
    look(page, "edit-drawing")
    studio.sampler.rows_allowed = 16
    expect(finished(page)).to_have_count(9)
    ((request, upload),) = asked
    assert isinstance(request, EditRequest) and (request.prompt, request.input_fidelity) == ("a top hat", "high")
    fields = np.zeros((16, 16), bool)
    fields[3, 2:10] = True
    assert (marked(upload) == fields).all()
    assert upload and Image.open(io.BytesIO(upload.images[0])).size == (192, 192)  # the square that the grid divides
    expect(page.locator("#copy-link")).to_be_hidden()  # a link cannot hold a picture of one's own

    page.locator(".tile").first.click()
    slider = page.get_by_label("Before and after")
    slider.fill("0")
    expect(page.locator("#before")).to_have_css("clip-path", "inset(0px 100% 0px 0px)")
    slider.press("ArrowRight")
    expect(page.locator("#large-facts")).to_contain_text("1 of 9")  # the arrow moved the slider alone
    slider.fill("50")
    look(page, "compare")
    page.keyboard.press("Escape")
    page.click("#back-to-mask")
    page.click("#invert")
    page.click("#draw")
    expect(finished(page)).to_have_count(9)
    assert (marked(asked[1][1]) == ~fields).all()


def test_a_part_is_marked_with_keys(page: Page, asked: list):
    page.set_input_files("#file", picture(160, 160))
    page.fill("#prompt", "a top hat")
    page.locator("#brush-size").fill("1")
    page.locator("#canvas").focus()
    for key in ("Space", "ArrowRight", "Space", "ArrowDown", "Space", "e", "ArrowUp", "Space", "Control+z"):
        page.keyboard.press(key)
    page.click("#draw")
    expect(finished(page)).to_have_count(9)
    assert np.argwhere(marked(asked[0][1])).tolist() == [[8, 8], [8, 9], [9, 9]]


def test_a_part_is_marked_by_touch(open_page: OpenPage, asked: list, look: Look):
    page = open_page(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    page.set_input_files("#file", picture(160, 160))
    page.fill("#prompt", "a top hat")
    page.locator("#canvas").tap()
    look(page, "phone-edit")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"]
    page.locator("#draw").tap()
    expect(finished(page)).to_have_count(9)
    assert marked(asked[0][1])[7:9, 7:9].all()


def test_any_result_is_drawn_on_and_a_link_does_it_again(open_page: OpenPage, asked: list):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    draw(page)
    finished(page).nth(1).hover()
    page.locator("#grid li").nth(1).get_by_label("Use this picture").click()
    page.click("#canvas")
    page.fill("#prompt", "a hat")
    page.click("#draw")
    drawn = [tile.get_attribute("src") for tile in finished(page).locator("img").all()]
    page.click("#copy-link")
    expect(page.locator("#status")).to_contain_text("copied")
    link = page.evaluate("() => navigator.clipboard.readText()")
    again = open_page(link[link.index("/", 8) :])
    expect(again).to_have_title("a hat – dalle-serve")
    assert [tile.get_attribute("src") for tile in finished(again).locator("img").all()] == drawn
    first, second = asked[1], asked[3]
    assert first[0] == second[0] and first[1] == second[1]  # the same request, the same picture and mask


def test_a_picture_is_varied_as_much_as_is_wished(page: Page, asked: list, look: Look):
    draw(page)
    finished(page).first.click()
    page.click("#vary")
    expect(page.get_by_label("Draw variations")).to_be_checked()
    page.locator("#strength").fill("70")
    expect(page.locator("#strength-words")).to_have_text("the lower 70 %")
    look(page, "vary")
    page.click("#draw")
    expect(page).to_have_title("Variations of “an avocado” – dalle-serve")
    expect(finished(page)).to_have_count(9)
    request = asked[1][0]
    assert isinstance(request, VariationRequest) and request.keep == pytest.approx(0.3)
    expect(page.locator("#copy-link")).to_be_visible()
    page.click("#again")
    expect(finished(page)).to_have_count(9)
    assert asked[2][0].seed != request.seed and asked[2][1] == asked[1][1]


def test_a_picture_is_refined_and_lies_beside_what_it_was(page: Page, asked: list, look: Look):
    draw(page)
    finished(page).nth(2).click()
    page.click("#refine-one")
    expect(page).to_have_title("Refined: “an avocado” – dalle-serve")
    expect(finished(page)).to_have_count(1)
    request, upload = asked[1]
    assert isinstance(request, EditRequest) and upload is not None
    assert (request.model, request.prompt, request.partial_images) == ("emoji:refine", "an avocado", 3)
    finished(page).first.click()
    expect(page.locator("#compare-label")).to_be_visible()
    expect(page.locator("#refine-one")).to_be_visible()  # and once more
    look(page, "refine")


def test_a_picture_is_pasted_or_dropped_and_put_away(page: Page):
    put = """([kind, bytes]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([Uint8Array.from(bytes)], "mine.png", { type: "image/png" }));
      const options = { clipboardData: transfer, dataTransfer: transfer, bubbles: true, cancelable: true };
      const event = kind === "paste" ? new ClipboardEvent(kind, options) : new DragEvent(kind, options);
      document.body.dispatchEvent(event) }"""
    bytes_ = list(picture()["buffer"])
    page.evaluate(put, ["paste", bytes_])
    expect(page.locator("#editor")).to_be_visible()
    page.get_by_role("button", name="Put it away").click()
    expect(page.locator("#wall")).to_be_visible()
    page.evaluate(put, ["dragenter", bytes_])
    expect(page.locator("#drop")).to_be_visible()
    page.evaluate(put, ["drop", bytes_])
    expect(page.locator("#drop")).to_be_hidden()
    expect(page.locator("#editor")).to_be_visible()


def test_a_result_brings_its_settings_back(page: Page):
    notes = {"model": "emoji", "seed": "4000000000", "prompt": "ein Käse 🧀", "negative_prompt": "mice"}
    notes["parameters"] = '{"guidance_scale": 1.5, "temperature": 0.7, "top_k": 50, "top_p": 1.0, "guided_codes": 0}'
    for file_format in ("png", "jpeg", "webp"):
        file = images.encode(np.zeros((32, 32, 3), np.uint8), file_format, 90, notes)
        sent: FilePayload = {"name": "a", "mimeType": f"image/{file_format}", "buffer": file}
        page.set_input_files("#file", sent | {"buffer": file[:40]})  # harmless, but no picture
        expect(page.get_by_role("alert")).to_contain_text("no picture that can be read")
        page.set_input_files("#file", sent)
        expect(page.locator("#notices")).to_contain_text("prompt, seed and settings are filled in")
        names = ("prompt", "n", "seed", "guidance_scale", "temperature")
        fields = {name: page.input_value(f"[name={name}]") for name in names}
        assert fields == {
            "prompt": "ein Käse 🧀",
            "n": "1",
            "seed": "4000000000",
            "guidance_scale": "1.5",
            "temperature": "",  # the model's own
        }
        page.fill("#prompt", "")
    page.get_by_role("button", name="Draw on it instead").click()
    expect(page.locator("#editor")).to_be_visible()


def test_the_files_that_are_downloaded_bring_their_settings_back(page: Page, tmp_path: Path):
    draw(page)
    finished(page).nth(3).hover()
    with page.expect_download() as waiting:
        page.locator("#grid li").nth(3).get_by_label("Download").click()
    assert opened(waiting.value).size == (128, 128)
    waiting.value.save_as(tmp_path / "a.png")
    page.set_input_files("#file", tmp_path / "a.png")
    expect(page.locator("#notices")).to_contain_text("but not its prompt")  # the operator did not wish it in files
    assert page.input_value("[name=seed]") == "15"
    assert page.input_value("#prompt") == "an avocado"
