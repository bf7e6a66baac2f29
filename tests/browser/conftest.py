"""A headless Chromium, and a service for it to look at; both once for all tests here."""

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from pydantic import PydanticDeprecatedSince20

with warnings.catch_warnings():  # here once, so that the tests may import it with warnings as errors
    warnings.simplefilter("ignore", PydanticDeprecatedSince20)  # Ray's settings use a keyword that pydantic gave up
    import ray.serve  # noqa: F401 - for what its import does

from deployments.config import AppConfig, GatewayConfig, ModelConfig, RefinerConfig, TokenSamplerConfig
from tests.browser.chromium import PATIENCE_MS, chromium
from tests.browser.studio import ROWS, Studio

DESKTOP = {"width": 1280, "height": 860}
EXPECTED = (  # Chromium notes every refusal, and what a test cuts off
    "Failed to load resource: the server responded with a status of 4",
    "Failed to load resource: net::ERR_INTERNET_DISCONNECTED",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(120))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def running_studio() -> Iterator[Studio]:
    may_be_away = TokenSamplerConfig(min_replicas=0)
    models = [ModelConfig(refiner=RefinerConfig(), token_sampler=may_be_away)]
    with Studio(AppConfig(models=models, gateway=GatewayConfig(images_in_flight=16))) as studio:
        yield studio


@pytest.fixture
def studio(running_studio: Studio) -> Iterator[Studio]:
    """The service, drawing at once unless the test says otherwise."""
    yield running_studio
    sampler = running_studio.sampler
    sampler.rows_allowed, sampler.alike, sampler.is_away = ROWS, 1, False
    for stage in (running_studio.encoder, running_studio.sampler):
        stage.errors.clear()
        stage.row_errors.clear()


@pytest.fixture
def open_page(browser: Browser, studio: Studio) -> Iterator[Callable[..., Page]]:
    """Opens the page in a browser that has never seen it; fails on any error of its own and any foreign request."""
    contexts: list[BrowserContext] = []
    troubles: list[str] = []

    def open_page(path: str = "/", url: str = studio.url, **options: Any) -> Page:
        options = {"viewport": DESKTOP, "reduced_motion": "reduce"} | options  # moving pictures take much of the time
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda note: troubles.append(note.text) if note.type == "error" else None)
        page.on("request", lambda request: troubles.append(request.url) if not allowed(request.url, url) else None)
        page.goto(url + path)
        page.locator("#examples button, #key-dialog[open]").first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [trouble for trouble in troubles if not trouble.startswith(EXPECTED)] == []


def allowed(address: str, url: str) -> bool:
    """Whether the page may ask for it: from its own service, or out of itself."""
    return address.startswith((f"{url}/", "data:", "blob:"))


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    return open_page()


@pytest.fixture
def look(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    """Keeps a screenshot to be looked at, in the folder that BROWSER_SHOTS names."""

    def look(page: Page, name: str) -> None:
        if folder := os.environ.get("BROWSER_SHOTS"):
            page.screenshot(path=Path(folder) / f"{name}.png")

    return look
