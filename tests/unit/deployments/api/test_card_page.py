"""A model's card as a page."""

from pathlib import Path

from deployments.api.card_page import card_page
from tests.unit.deployments.api.fake_service import FakeService, ask, assert_envelope

CARD = """---
license: apache-2.0
---
# A model

| part | |
|---|--:|
| one | 2 |

![What it *draws*](../pictures.png) [here](../else.md) [there](https://example.org/) <script>alert(1)</script>
[click](javascript:alert(1))
"""


def test_markdown_becomes_html_and_nothing_else():
    page = card_page("a<b", CARD)
    assert "<title>a&lt;b</title>" in page
    assert "<h1>A model</h1>" in page and "<td>one</td>" in page and "<th></th>" not in page and "license" not in page
    assert "style=" not in page
    assert "<em>What it draws</em>" in page and "<img" not in page
    assert "<a>here</a>" in page and '<a href="https://example.org/" rel="noreferrer">there</a>' in page
    assert "&lt;script&gt;" in page and "<script" not in page
    assert 'href="javascript' not in page


def test_a_model_has_pictures_of_what_it_knows_or_none(tmp_path: Path):
    service = FakeService()
    assert_envelope(ask(service, "GET", "/known/fake/one"), 404, "not_found")
    service.pictures_of_known = tmp_path / "known.webp"
    service.pictures_of_known.write_bytes(b"pictures")
    reply = ask(service, "GET", "/known/fake/one")
    assert (reply.status_code, reply.content, reply.headers["content-type"]) == (200, b"pictures", "image/webp")


def test_a_model_has_a_card_or_none():
    service = FakeService()
    assert_envelope(ask(service, "GET", "/cards/fake/one"), 404, "not_found")
    assert_envelope(ask(service, "GET", "/cards/other"), 404, "not_found")
    service.model_card = CARD
    reply = ask(service, "GET", "/cards/fake/one")
    assert reply.status_code == 200 and "<h1>A model</h1>" in reply.text
    assert "default-src 'none'" in reply.headers["content-security-policy"]
