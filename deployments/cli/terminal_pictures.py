"""Pictures inside the terminal, where it can show them: kitty's and iTerm2's protocols.

Sources: sw.kovidgoyal.net/kitty/graphics-protocol and iterm2.com/documentation-images.html.
"""

import base64
import os
from collections.abc import Mapping

KITTY_CHUNK = 4096  # characters in one escape code, as the protocol has it
KITTY_PROGRAMS = {"ghostty"}
ITERM_PROGRAMS = {"iTerm.app", "WezTerm", "vscode"}


def escape_codes(png: bytes, environment: Mapping[str, str] = os.environ) -> str:
    """What to write to the terminal so that it shows a PNG file; "" where it is not known to be able to."""
    program = environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or environment.get("TERM", "").startswith("screen"):
        return ""  # swallows the codes
    if environment.get("TERM") == "xterm-kitty" or program in KITTY_PROGRAMS:
        return _kitty(png)
    if program in ITERM_PROGRAMS:
        return f"\x1b]1337;File=inline=1;size={len(png)}:{base64.b64encode(png).decode()}\x07\n"
    return ""


def _kitty(png: bytes) -> str:
    data = base64.b64encode(png).decode()
    chunks = [data[start : start + KITTY_CHUNK] for start in range(0, len(data), KITTY_CHUNK)]
    codes = []
    for place, chunk in enumerate(chunks):
        control = "a=T,f=100," if place == 0 else ""  # transmit and show, a PNG file
        codes.append(f"\x1b_G{control}m={int(place < len(chunks) - 1)};{chunk}\x1b\\")
    return "".join(codes) + "\n"
