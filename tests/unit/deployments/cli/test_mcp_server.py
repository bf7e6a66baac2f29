"""The tools as an assistant calls them: with the client of the package mcp, in front of the real HTTP app."""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client

from deployments.api.routes import build_api
from deployments.cli import mcp_server
from deployments.config import AccessConfig, AppConfig
from deployments.errors import Overloaded
from model_core.errors import DalleServeError
from tests.unit.deployments.api.fake_service import FakeService, data_url, png

URL = "http://127.0.0.1:8000"
PLAIN = httpx.AsyncClient


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    """A service that every client finds, whatever it asks for."""
    made = FakeService()

    def client(**options: Any) -> httpx.AsyncClient:
        return PLAIN(transport=httpx.ASGITransport(made.api), **options)

    monkeypatch.setattr(httpx, "AsyncClient", client)
    return made


def call(tool: str, arguments: dict[str, Any] | None = None, api_key: str | None = None) -> Any:
    async def ask() -> Any:
        async with Client(mcp_server.make_server(URL, api_key)) as client:
            return await client.call_tool(tool, arguments or {})

    return asyncio.run(ask())


def test_the_tools_are_described(service: FakeService):
    async def tools() -> Any:
        async with Client(mcp_server.make_server(URL)) as client:
            return (await client.list_tools()).tools

    found = {tool.name: tool for tool in asyncio.run(tools())}
    assert found.keys() == {"list_models", "draw", "edit"}
    assert found["draw"].input_schema["required"] == ["prompt"]
    assert set(found["edit"].input_schema["required"]) == {"prompt", "image"}
    for tool in found.values():
        assert tool.description
        assert all(field.get("description") for field in tool.input_schema["properties"].values())


def test_models_are_listed(service: FakeService):
    (text,) = call("list_models").content
    assert [model["id"] for model in json.loads(text.text)] == ["fake/one"]


def test_pictures_are_drawn(service: FakeService):
    *pictures, text = call("draw", {"prompt": "avocado", "n": 2, "seed": 5, "negative_prompt": "red"}).content
    assert [picture.mime_type for picture in pictures] == ["image/png"] * 2
    assert base64.b64decode(pictures[0].data).startswith(b"\x89PNG")
    told = json.loads(text.text)
    assert [image["seed"] for image in told["data"]] == [5, 6] and told["model"] == "fake/one"
    assert service.request and (service.request.prompt, service.request.negative_prompt) == ("avocado", "red")


def test_pictures_are_edited_from_files_and_data_urls(service: FakeService, tmp_path: Path):
    (tmp_path / "a.png").write_bytes(png())
    mask = png(mode="RGBA", colour=0)
    for image in (str(tmp_path / "a.png"), data_url(png())):
        picture, _ = call("edit", {"prompt": "a hat", "image": image, "mask": data_url(mask), "keep": 0.25}).content
        assert picture.type == "image"
        assert service.upload and (service.upload.images, service.upload.mask) == ([png()], mask)
        assert service.request and service.request.keep == 0.25  # type: ignore[attr-defined]


@pytest.mark.parametrize(("content", "said"), [(b"ssh-rsa", "PNG, JPEG or WebP"), (None, "cannot be read")])
def test_no_other_file_leaves_this_machine(service: FakeService, tmp_path: Path, content: bytes | None, said: str):
    file = tmp_path / "a.png"
    if content is not None:
        file.write_bytes(content)
    reply = call("edit", {"prompt": "a", "image": str(file)})
    assert reply.is_error and said in reply.content[0].text
    assert service.request is None


def test_what_the_service_says_is_passed_on(service: FakeService):
    reply = call("draw", {"prompt": "a", "size": "large"})
    assert reply.is_error and "size must be 'auto' or WxH" in reply.content[0].text
    service.error = Overloaded("busy just now", 17)
    reply = call("draw", {"prompt": "a"})
    assert reply.is_error and "busy just now Try again in 17 s." in reply.content[0].text


def test_a_service_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch):
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody listens")

    monkeypatch.setattr(httpx, "AsyncClient", lambda **o: PLAIN(transport=httpx.MockTransport(refuse), **o))
    reply = call("list_models")
    assert reply.is_error and "Is the service running there?" in reply.content[0].text


def guard(service: FakeService, folder: Path) -> None:
    (folder / "keys").write_text("a-key-of-some-length\n")
    service.config = AppConfig(access=AccessConfig(keys_file=str(folder / "keys")))
    service.api = build_api(service)


def test_on_stdio_the_users_key_is_sent(service: FakeService, tmp_path: Path):
    guard(service, tmp_path)
    assert "Incorrect API key" in call("list_models").content[0].text
    assert not call("list_models", api_key="a-key-of-some-length").is_error


def test_over_http_it_is_the_callers_key_and_no_file_is_read(service: FakeService, tmp_path: Path):
    guard(service, tmp_path)
    (tmp_path / "a.png").write_bytes(png())
    app = mcp_server.make_server(URL, "a-key-of-some-length").streamable_http_app(
        json_response=True, stateless_http=True
    )

    async def ask(tool: str, arguments: dict[str, Any], **headers: str) -> str:
        transport = httpx.ASGITransport(app)
        accepted = {"accept": "application/json, text/event-stream", **headers}
        params = {"name": tool, "arguments": arguments}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        async with PLAIN(transport=transport, base_url="http://127.0.0.1:9000") as http:
            return (await http.post("/mcp", json=body, headers=accepted)).text

    async def both() -> tuple[str, ...]:
        async with app.router.lifespan_context(app):
            edit = {"prompt": "a", "image": str(tmp_path / "a.png")}
            return (
                await ask("list_models", {}),
                await ask("list_models", {}, authorization="Bearer a-key-of-some-length"),
                await ask("edit", edit, authorization="Bearer a-key-of-some-length"),
            )

    without, with_key, edited = asyncio.run(both())
    assert "Incorrect API key" in without and "fake/one" in with_key
    assert "must be a data: URL" in edited


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    with pytest.raises(DalleServeError, match=r"install dalle-serve\[mcp\]"):
        mcp_server.make_server(URL)
