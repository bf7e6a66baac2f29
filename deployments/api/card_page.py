"""A model's card as a page: its Markdown as plain HTML that fetches nothing, and whose own HTML counts as text."""

from html import escape

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML

from deployments.api.docs_page import STYLE

CARD_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def card_page(name: str, card: str) -> str:
    """Writes the page; pictures become their descriptions, and links that lead nowhere from here become text."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("image", _described)
    markdown.add_render_rule("link_open", _link_outside)
    for cell in ("th_open", "td_open"):
        markdown.add_render_rule(cell, _cell)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(name)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<main>{markdown.render(_without_front_matter(card))}</main></html>"
    )


def _without_front_matter(card: str) -> str:
    """The hub's cards begin with YAML between two lines of dashes."""
    if not card.startswith("---\n"):
        return card
    return card.partition("\n---\n")[2] or card


def _described(self: RendererHTML, tokens, place: int, options, env) -> str:
    token = tokens[place]
    return f"<em>{escape(self.renderInlineAsText(token.children or [], options, env))}</em>"


def _cell(self: RendererHTML, tokens, place: int, options, env) -> str:
    opening, content, closing = tokens[place : place + 3]
    opening.attrs.pop("style", None)  # inline styles are what policies forbid
    if not content.content:
        opening.tag = closing.tag = "td"  # a heading without words is none
    return self.renderToken(tokens, place, options, env)


def _link_outside(self: RendererHTML, tokens, place: int, options, env) -> str:
    token = tokens[place]
    if not str(token.attrs.get("href", "")).startswith(("https://", "http://")):
        token.attrs = {}
    else:
        token.attrs["rel"] = "noreferrer"
    return self.renderToken(tokens, place, options, env)
