"""The page in a real browser, before the running service."""

import httpx
import pytest
from playwright.sync_api import expect

from deployments.local import LocalService
from tests.browser.chromium import chromium, find_chromium
from tests.serve.processes import replica, stopped
from tests.serve.test_service import SAMPLER, pending_images, wait_until


@pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium here")
def test_the_page_draws_a_grid_and_a_cancel_frees_its_places(service: LocalService, http: httpx.Client):
    with chromium() as browser:
        page = browser.new_page()
        page.goto(service.url)
        page.fill("#prompt", "an avocado")
        page.keyboard.press("Enter")
        expect(page.locator(".tile.done")).to_have_count(9)
        scores = [float(score) for score in page.locator(".score").all_text_contents()]
        assert len(scores) == 9 and scores == sorted(scores, reverse=True)

        with stopped(replica(SAMPLER)):  # so that nothing can be drawn to its end
            page.keyboard.press("Enter")
            wait_until(lambda: pending_images(http) == 9, "the page's pictures are let in")
            page.keyboard.press("Escape")
            wait_until(lambda: pending_images(http) == 0, "their places are free")
        expect(page.locator("#status")).to_have_text("Cancelled.")
