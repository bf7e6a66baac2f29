"""The page at `/docs`: the OpenAPI document for people to read, in plain HTML that fetches nothing from elsewhere."""

from html import escape
from typing import Any

Json = dict[str, Any]

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
code{background:#f2f2f5;padding:.1em .3em;border-radius:.2em}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;border-bottom:1px solid #ddd;padding:.3rem .6rem .3rem 0}
h2{margin-top:2.5rem;border-bottom:2px solid #222}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}code{background:#2a2a2e}td,th{border-color:#444}
h2{border-color:#ddd}a{color:#9cf}}
"""


def docs_page(document: Json) -> str:
    """Writes the page."""
    sections = [
        _section(document, path, method, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style><h1>{title}</h1>'
        f'<p>{escape(document["info"]["description"])} The same for programs: <a href="openapi.json">openapi.json</a>.'
        f"</p>{''.join(sections)}</html>"
    )


def _section(document: Json, path: str, method: str, operation: Json) -> str:
    bodies = operation.get("requestBody", {}).get("content", {})
    tables = [
        f"<h3>Body: <code>{escape(kind)}</code></h3>{_fields(_resolved(document, body['schema']))}"
        for kind, body in bodies.items()
    ]
    replies = "".join(
        f"<tr><td><code>{status}</code><td>{escape(reply['description'])}<td>{_kinds(reply['content'])}"
        for status, reply in operation["responses"].items()
    )
    return (
        f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation['summary'])}.</p>"
        f"{''.join(tables)}<h3>Answers</h3><table>{replies}</table>"
    )


def _fields(schema: Json) -> str:
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code>{' *' if name in required else ''}<td>{escape(_type(field))}"
        f"<td>{escape(str(field.get('default', '')))}<td>{escape(field.get('description', ''))}"
        for name, field in schema["properties"].items()
    )
    return f"<table><tr><th>field<th>type<th>default<th>{rows}</table>"


def _type(field: Json) -> str:
    if "anyOf" in field:
        return " or ".join(_type(kind) for kind in field["anyOf"])
    if "enum" in field:
        return " | ".join(str(value) or "“”" for value in field["enum"])
    return field.get("format") or field.get("type") or ("object" if "$ref" in field else "")


def _kinds(content: Json) -> str:
    return ", ".join(f"<code>{escape(kind)}</code>" for kind in content)


def _resolved(document: Json, schema: Json) -> Json:
    if "$ref" not in schema:
        return schema
    return document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
