import base64
import re

import pytest

from deployments.cli.terminal_pictures import KITTY_CHUNK, escape_codes

PNG = bytes(range(256)) * 40


@pytest.mark.parametrize("environment", [{"TERM": "xterm-kitty"}, {"TERM_PROGRAM": "ghostty"}])
def test_kitty_gets_the_file_in_chunks(environment: dict[str, str]):
    codes = re.findall(r"\x1b_G(.*?);(.*?)\x1b\\", escape_codes(PNG, environment))
    assert base64.b64decode("".join(data for _, data in codes)) == PNG
    assert all(len(data) <= KITTY_CHUNK for _, data in codes) and len(codes) > 1
    assert [control[-3:] for control, _ in codes] == ["m=1"] * (len(codes) - 1) + ["m=0"]
    assert codes[0][0].startswith("a=T,f=100,")


def test_iterm_gets_it_at_once():
    (size, data) = re.fullmatch(
        r"\x1b]1337;File=inline=1;size=(\d+):(.*)\x07\n", escape_codes(PNG, {"TERM_PROGRAM": "iTerm.app"})
    ).groups()
    assert (int(size), base64.b64decode(data)) == (len(PNG), PNG)


@pytest.mark.parametrize(
    "environment", [{}, {"TERM": "xterm-256color"}, {"TERM": "dumb"}, {"TERM_PROGRAM": "iTerm.app", "TMUX": "/tmp/x"}]
)
def test_other_terminals_get_nothing(environment: dict[str, str]):
    assert escape_codes(PNG, environment) == ""
