"""The page's files over ASGI: all there, all from here, and none that the API's description mentions."""

import asyncio
import re

import httpx
import pytest
from fastapi import FastAPI

from deployments.web.page import FOLDER, mount_page


@pytest.fixture
def api() -> FastAPI:
    api = FastAPI()
    mount_page(api)
    return api


def get(api: FastAPI, path: str, method: str = "GET", **options: object) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://service") as client:
            return await client.request(method, path, **options)

    return asyncio.run(send())


def test_the_page_and_every_file_of_it_is_served(api: FastAPI):
    page = get(api, "/")
    assert page.headers["content-type"].startswith("text/html")
    named = set(re.findall(r'(?:href|src)="(assets/[^"]+)"', page.text))
    assert {"assets/app.js", "assets/style.css", "assets/icon.svg"} <= named
    for path in named | {f"assets/{file.name}" for file in (FOLDER / "assets").iterdir()}:
        assert get(api, f"/{path}").status_code == 200, path


def test_modules_import_what_is_there():
    for file in (FOLDER / "assets").glob("*.js"):
        for name in re.findall(r'from "\./([^"]+)"', file.read_text()):
            assert (FOLDER / "assets" / name).exists(), f"{file.name} imports {name}"


def test_nothing_comes_from_elsewhere(api: FastAPI):
    for path in ("/", "/assets/app.js", "/assets/style.css"):
        headers = get(api, path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    addresses = [url for file in FOLDER.rglob("*.*") for url in re.findall(r"https?://[^\s\"')]+", _text(file))]
    assert set(addresses) <= {"http://www.w3.org/2000/svg"}


def _text(file) -> str:
    return file.read_text() if file.suffix in (".html", ".js", ".css", ".svg") else ""


def test_an_unchanged_file_is_not_sent_again(api: FastAPI):
    first = get(api, "/assets/style.css")
    again = get(api, "/assets/style.css", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_text_is_compressed_on_the_way(api: FastAPI):
    plain, small = (get(api, "/assets/style.css", headers={"accept-encoding": how}) for how in ("identity", "gzip"))
    assert small.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert small.text == plain.text


def test_other_paths_are_not_files(api: FastAPI):
    for path in ("/assets/none.js", "/assets/../page.py", "/assets/%2e%2e/page.py", "/page.py"):
        assert get(api, path).status_code == 404
    assert get(api, "/", method="HEAD").content == b""


def test_the_description_of_the_api_knows_nothing_of_it(api: FastAPI):
    assert get(api, "/openapi.json").json()["paths"] == {}
