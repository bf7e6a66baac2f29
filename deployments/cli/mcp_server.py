"""`dalle-serve mcp`: a running service as tools for assistants, by the Model Context Protocol, over stdio or HTTP.

It draws nothing by itself and keeps nothing: each tool is one request to the service.
"""

import base64
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.host import async_http_client, bind_problem
from model_core.errors import DalleServeError
from model_core.pictures.file_parts import kind_of

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

HOST = "127.0.0.1"
INSTRUCTIONS = (
    "Draws small pictures with the user's own text-to-image model. Models know few things: call list_models first, "
    "and word prompts as its example_prompts are. The same prompt and seed draw the same picture."
)


def mcp(
    url: Annotated[str, typer.Option(help="The service that draws.")] = "http://127.0.0.1:8000",
    http_port: Annotated[
        int | None,
        typer.Option("--http", min=1, max=65535, metavar="PORT", help=f"Listen at {HOST}:PORT/mcp, not on stdin."),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="DALLE_SERVE_API_KEY", help="For a service that asks for one; on stdio alone.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that one request may take.")] = 600,
) -> None:
    """Offers a running service to assistants: tools that draw, edit and list models."""
    if http_port and (problem := bind_problem(HOST, http_port)):
        raise DalleServeError(problem)
    over_http: Any = {"transport": "streamable-http", "host": HOST, "port": http_port}
    make_server(url, api_key, timeout).run(**(over_http if http_port else {}))


def make_server(url: str, api_key: str | None = None, timeout_s: float = 600) -> "MCPServer":
    """Makes the MCP server in front of the service at `url`.

    Args:
      api_key: sent where the server runs on stdio, for its one user. Over HTTP each caller's own `Authorization` is.

    Raises:
      DalleServeError: the package `mcp` is not installed.
    """
    try:
        from mcp.server.mcpserver import Context, MCPServer
        from mcp.types import ImageContent, TextContent
        from pydantic import Field
    except ImportError as error:
        raise DalleServeError(f"`dalle-serve mcp` needs more: install dalle-serve[mcp] ({error}).") from error
    server = MCPServer("dalle-serve", version=version("dalle-serve"), instructions=INSTRUCTIONS, log_level="WARNING")

    async def ask(context: Context, method: str, path: str, fields: dict[str, Any] | None = None) -> dict[str, Any]:
        own = {"authorization": f"Bearer {api_key}"} if api_key else {}
        given = own if context.headers is None else context.headers
        headers = {"authorization": given["authorization"]} if "authorization" in given else {}
        return await _ask(url, method, path, json=fields, headers=headers, timeout=timeout_s)

    async def drawn(context: Context, path: str, fields: dict[str, Any]) -> list[ImageContent | TextContent]:
        reply = await ask(context, "POST", path, fields)  # null means "not given"
        kind = f"image/{reply['output_format']}"
        pictures = [ImageContent(type="image", data=entry.pop("b64_json"), mime_type=kind) for entry in reply["data"]]
        told = {name: reply[name] for name in ("model", "size", "data", "warning") if name in reply}
        return [*pictures, TextContent(type="text", text=json.dumps(told))]

    @server.tool(structured_output=False)
    async def list_models(context: Context) -> str:
        """Lists the models that are served: what each draws, example prompts, picture size, backgrounds."""
        return json.dumps((await ask(context, "GET", "/v1/models"))["data"])

    @server.tool(structured_output=False)
    async def draw(
        context: Context,
        prompt: Annotated[str, Field(description="What to draw.")],
        n: Annotated[int, Field(ge=1, description="How many pictures.")] = 1,
        size: Annotated[str, Field(description="WxH, such as 512x512; auto is the model's own.")] = "auto",
        background: Annotated[str, Field(description="transparent, where the model's backgrounds have it.")] = "auto",
        negative_prompt: Annotated[str, Field(description="What to keep away from.")] = "",
        seed: Annotated[int | None, Field(description="Draws the same picture again.")] = None,
        model: Annotated[str | None, Field(description="An id from list_models; else the default.")] = None,
    ) -> list[ImageContent | TextContent]:
        """Draws pictures of a prompt, best first, and tells the seed and the address of each."""
        fields = {"prompt": prompt, "n": n, "size": size, "background": background, "negative_prompt": negative_prompt}
        return await drawn(context, "/v1/images/generations", fields | {"seed": seed, "model": model})

    @server.tool(structured_output=False)
    async def edit(
        context: Context,
        prompt: Annotated[str, Field(description="What the whole picture is to show.")],
        image: Annotated[str, Field(description="A data: URL, or on stdio the path of a PNG, JPEG or WebP file.")],
        mask: Annotated[str | None, Field(description="The same; clear where the picture is to be redrawn.")] = None,
        keep: Annotated[float, Field(ge=0, lt=1, description="Without a mask: share kept, from the top.")] = 0.5,
        n: Annotated[int, Field(ge=1, description="How many pictures.")] = 1,
        seed: Annotated[int | None, Field(description="Draws the same picture again.")] = None,
        model: Annotated[str | None, Field(description="An id from list_models; else the default.")] = None,
    ) -> list[ImageContent | TextContent]:
        """Redraws a part of a picture, and keeps the rest."""
        may_read = context.headers is None  # files are of whoever runs this, not of who calls over HTTP
        fields: dict[str, Any] = {"prompt": prompt, "n": n, "keep": keep, "seed": seed, "model": model}
        fields["images"] = [{"image_url": _data_url(image, "image", may_read)}]
        fields["mask"] = mask and {"image_url": _data_url(mask, "mask", may_read)}
        return await drawn(context, "/v1/images/edits", fields)

    return server


def _data_url(picture: str, name: str, may_read: bool) -> str:
    """A picture as a data: URL; reads a file where that is allowed and it is a picture, for it leaves this machine."""
    from mcp.server.mcpserver.exceptions import ToolError

    if picture[:5].lower() == "data:" or not may_read:
        return picture  # what is none, the service refuses
    try:
        content = Path(picture).expanduser().read_bytes()
    except (OSError, ValueError) as error:
        raise ToolError(f"{name} cannot be read: {error}.") from error
    if (kind := kind_of(content)) not in ("PNG", "JPEG", "WEBP"):
        raise ToolError(f"{name} must be a PNG, JPEG or WebP file; got {kind or 'something else'}.")
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content).decode('ascii')}"


async def _ask(url: str, method: str, path: str, **options: Any) -> dict[str, Any]:
    import httpx
    from mcp.server.mcpserver.exceptions import ToolError

    try:
        async with async_http_client(url.rstrip("/")) as http:
            reply = await http.request(method, path, **options)
        content = reply.json()
        refusal = reply.is_error and content["error"]["message"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise ToolError(f"No answer from {url} that can be used: {error}. Is the service running there?") from error
    if refusal:
        later = f" Try again in {wait} s." if (wait := reply.headers.get("retry-after")) else ""
        raise ToolError(f"The service refused: {refusal}{later}")
    return content
