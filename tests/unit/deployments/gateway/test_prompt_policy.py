from pathlib import Path

import pytest

from deployments.errors import ContentRefused
from deployments.gateway.prompt_policy import PromptPolicy
from model_core.errors import DalleServeError

RULES = """
# what we do not want
forbidden
two  words
/gr[ae]y \\d+/
"""


@pytest.fixture
def policy(tmp_path: Path) -> PromptPolicy:
    file = tmp_path / "rules"
    file.write_text(RULES)
    return PromptPolicy(str(file))


@pytest.mark.parametrize(
    "prompt",
    [
        "a FORBIDDEN fruit",
        "forbidden",
        "so forbidden!",
        "ｆｏｒｂｉｄｄｅｎ",  # full-width
        "fórbidden",
        "for\u200bbidden",  # with a space of no width
        "these two\nwords",
        "a Grey 12",
    ],
)
def test_what_a_rule_names_is_refused(policy: PromptPolicy, prompt: str):
    with pytest.raises(ContentRefused) as refused:
        policy.check(prompt)
    assert refused.value.param == "prompt"
    assert "forbidden" not in str(refused.value)  # it does not say which rule it was


@pytest.mark.parametrize("prompt", ["an avocado", "unforbiddenly", "two other words", "grey twelve", ""])
def test_everything_else_passes(policy: PromptPolicy, prompt: str):
    policy.check(prompt)


def test_without_a_file_nothing_is_refused():
    PromptPolicy(None).check("forbidden")


def test_a_pattern_that_is_none_is_named_by_its_line(tmp_path: Path):
    file = tmp_path / "rules"
    file.write_text("word\n/(/\n")
    with pytest.raises(DalleServeError, match="line 2"):
        PromptPolicy(str(file))
