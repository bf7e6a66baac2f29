"""A prompt as LlamaGen's captions were written: lower case, without links, tags, file names and noise.

Facts of PixArt's caption cleaning (`language/t5.py` of FoundationVision/LlamaGen), on which the model was trained: what
is replaced by what, and in which order. It is done twice, for one replacement may leave work for an earlier one.
"""

import html
import html.entities
import re
import urllib.parse
from collections.abc import Iterable
from html.parser import HTMLParser

import ftfy

_DOMAINS = "com|co|ru|net|org|edu|gov|it"
_FILES = "png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4"
_HIDDEN = ("script", "style", "template")
_DASHES = (
    "\u002d\u058a\u05be\u1400\u1806\u2010-\u2015\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u301c\u3030\u30a0"
    "\ufe31\ufe32\ufe58\ufe63\uff0d"
)


def _link(scheme: str) -> str:
    return rf"\b((?:{scheme}:(?:/{{1,3}}|[a-zA-Z0-9%])|[a-zA-Z0-9.\-]+[.](?:{_DOMAINS})[\w/-]*\b/?(?!@)))"


_Rules = tuple[tuple[re.Pattern[str], str], ...]


def _rules(*pairs: tuple[str, str]) -> _Rules:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in pairs)


_LINKS = _rules(("<person>", "person"), (_link("https?"), ""), (_link("www"), ""))
_SIGNS = _rules(
    (r"@[\w\d]+\b", ""),  # names of accounts
    (r"[\u31c0-\u31ef]+", ""),  # CJK strokes
    (r"[\u31f0-\u31ff]+", ""),  # Katakana extensions
    (r"[\u3200-\u32ff]+", ""),  # enclosed CJK
    (r"[\u3300-\u33ff]+", ""),  # CJK compatibility
    (r"[\u3400-\u4dbf]+", ""),  # CJK ideographs, extension A
    (r"[\u4dc0-\u4dff]+", ""),  # hexagrams
    (r"[\u4e00-\u9fff]+", ""),  # CJK ideographs
    (f"[{_DASHES}]+", "-"),
    ("[`´«»“”¨]", '"'),
    ("[‘’]", "'"),
    ("&quot;?", ""),
    ("&amp", ""),
    (r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}", " "),  # addresses of machines
    (r"\d:\d\d\s+$", ""),
    (r"\\n", " "),
    (r"#\d{1,3}\b", ""),
    (r"#\d{5,}\b", ""),
    (r"\b\d{6,}\b", ""),
    (rf"[\S]+\.(?:{_FILES})", ""),
    (r"[\"']{2,}", '"'),
    (r"[.]{2,}", " "),
    (r"[#®•©™&@·º½¾¿¡§~)(\]\[}{|\\/*]{1,}", " "),
    (r"\s+\.\s+", " "),
)
_JOINED_WORDS = re.compile("[-_]")
_MOST_JOINTS = 3  # more of them are spaces
_NOISE = _rules(
    (r"\b[a-zA-Z]{1,3}\d{3,15}\b", ""),  # jc6640
    (r"\b[a-zA-Z]+\d+[a-zA-Z]+\b", ""),  # jc6640vc
    (r"\b\d+[a-zA-Z]+\d+\b", ""),  # 6640vc231
    (r"(worldwide\s+)?(free\s+)?shipping", ""),
    (r"(free\s)?download(\sfree)?", ""),
    (r"\bclick\b\s(?:for|on)\s\w+", ""),
    (rf"\b(?:{_FILES})(\simage[s]?)?", ""),
    (r"\bpage\s+\d+\b", ""),
    (r"\b\d*[a-zA-Z]+\d+[a-zA-Z]+\d+[a-zA-Z\d]*\b", " "),  # j2d1a2a
    (r"\b\d+\.?\d*[xх×]\d+\.?\d*\b", ""),  # 1920x1080; the second is a Cyrillic letter
    (r"\b\s+:\s+", ": "),
    (r"(\D[,./])\b", r"\1 "),
    (r"\s+", " "),
    (r"^[\"']([\w\W]+)[\"']$", r"\1"),
    (r"^['_,\-:;]", ""),
    (r"['_,\-:+]$", ""),
    (r"^\.\S+$", ""),
)


def cleaned(prompt: str) -> str:
    """Gives the caption that LlamaGen reads of a prompt."""
    return _once(_once(prompt))


def _once(text: str) -> str:
    text = urllib.parse.unquote_plus(text).strip().lower()
    text = _replaced(text, _LINKS)
    text = _replaced(_without_tags(text), _SIGNS)
    if len(_JOINED_WORDS.findall(text)) > _MOST_JOINTS:
        text = _JOINED_WORDS.sub(" ", text)
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return _replaced(text, _NOISE).strip()


def _replaced(text: str, rules: Iterable[tuple[re.Pattern[str], str]]) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


class _Words(HTMLParser):
    """Collects what a page shows: no tags, no comments, no scripts. What is amiss is read as BeautifulSoup reads it."""

    def __init__(self):
        super().__init__(convert_charrefs=False)
        self.words: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag, attrs):
        self._hidden += tag in _HIDDEN

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        self._hidden -= tag in _HIDDEN and self._hidden > 0

    def handle_data(self, data):
        if not self._hidden:
            self.words.append(data)

    def handle_entityref(self, name):
        self.handle_data(html.entities.html5.get(f"{name};", f"&{name}"))

    def handle_charref(self, name):
        self.handle_data(html.unescape(f"&#{name};"))

    def unknown_decl(self, data):
        if data.upper().startswith("CDATA["):
            self.handle_data(data[len("CDATA[") :])


def _without_tags(text: str) -> str:
    page = _Words()
    try:
        page.feed(text)
        page.close()
    except AssertionError:  # of a declaration that there is not
        return text
    return "".join(page.words)
