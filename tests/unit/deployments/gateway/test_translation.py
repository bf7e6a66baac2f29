import asyncio
import sys
import threading
from types import ModuleType
from typing import Any

import pytest

from deployments.gateway.translation import Translator
from deployments.requests.schemas import GenerationRequest
from deployments.telemetry import degraded
from model_core.errors import DalleServeError

WORDS = {"ein Apfel": "an apple", "rot": "red"}


@pytest.fixture(autouse=True)
def nothing_failed_before() -> None:
    degraded.forget()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the operator's, whose function is to be set."""
    made = ModuleType("my_words")
    monkeypatch.setitem(sys.modules, "my_words", made)
    return made


def translated(module: ModuleType, function: Any, timeout_s: float = 5, **fields: str) -> tuple[str, str, str]:
    module.to_english = function  # type: ignore[attr-defined]
    request = GenerationRequest(prompt=fields.pop("prompt", "ein Apfel"), **fields)  # type: ignore[arg-type]
    found, warning = asyncio.run(Translator("my_words:to_english", timeout_s, 50).translate(request))
    return found.prompt, found.negative_prompt, warning


async def slowly(text: str) -> str:
    await asyncio.sleep(0)
    return WORDS[text]


@pytest.mark.parametrize("function", [WORDS.get, slowly, lambda text: slowly(text)])
def test_both_prompts_are_translated(module: ModuleType, function: Any):
    assert translated(module, function, negative_prompt="rot") == ("an apple", "red", "")
    assert translated(module, function) == ("an apple", "", "")
    assert degraded.warnings() == []


def fail(text: str) -> str:
    raise RuntimeError(f"secret {text}")


@pytest.mark.parametrize(
    "function", [fail, lambda text: None, lambda text: " ", lambda text: b"an apple", lambda text: "x" * 51]
)
def test_what_cannot_be_translated_is_drawn_as_it_came(module: ModuleType, function: Any):
    prompt, negative, warning = translated(module, function, negative_prompt="rot")
    assert (prompt, negative) == ("ein Apfel", "rot") and "could not be translated" in warning
    assert "secret" not in warning + str(degraded.warnings()) and degraded.warnings()
    assert translated(module, WORDS.get)[0] == "an apple"
    assert degraded.warnings() == []


@pytest.mark.parametrize("kind", ["async", "thread"])
def test_nobody_waits_for_a_translator_that_hangs(module: ModuleType, kind: str):
    released = threading.Event()

    async def forever(text: str) -> str:
        await asyncio.Event().wait()
        return text

    def blocked(text: str) -> str:
        assert released.wait(60)
        return text

    try:
        prompt, _, warning = translated(module, forever if kind == "async" else blocked, timeout_s=0.02)
        assert prompt == "ein Apfel" and warning and not released.is_set()
        assert "takes too long" in degraded.warnings()[0]
    finally:
        released.set()


def test_without_one_nothing_changes():
    request = GenerationRequest(prompt="ein Apfel")
    assert asyncio.run(Translator(None, 5, 50).translate(request)) == (request, "")


@pytest.mark.parametrize("path", ["nowhere:words", "json", "json:nothing", "json:__name__", ":", ""])
def test_a_function_that_is_not_there_is_told_at_the_start(path: str):
    with pytest.raises(DalleServeError, match="translator"):
        Translator(path, 5, 50)
