"""Prompts in other words: a function of the operator's turns each into what the model reads, such as English.

What it cannot do in time, or at all, is drawn as it was asked for.
"""

import asyncio
import importlib
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deployments.requests.schemas import DrawingRequest, RefinableRequest
from deployments.telemetry import degraded
from model_core.errors import DalleServeError

BY_PRODUCT = "translator"  # its name where it fails
THREADS = 4  # for a function that is not async; one that hangs keeps its thread


class Translator:
    """Calls the function at `path`, `module:function`: text → text, async or not.

    Args:
      path: None translates nothing.
      timeout_s: how long one prompt may take.
      max_chars: a translation that is longer is none.

    Raises:
      DalleServeError: there is no such function.
    """

    def __init__(self, path: str | None, timeout_s: float, max_chars: int):
        self._function = None if path is None else _function_at(path)
        self._timeout_s = timeout_s
        self._max_chars = max_chars
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=BY_PRODUCT) if self._function else None

    async def translate(self, request: DrawingRequest) -> tuple[DrawingRequest, str]:
        """The request with its prompts in other words, and what to warn of: "" where all went well."""
        if self._function is None:
            return request, ""
        try:
            async with asyncio.timeout(self._timeout_s):
                more = request.prompts or [] if isinstance(request, RefinableRequest) else []
                texts = (request.prompt, request.negative_prompt, *(prompt.text for prompt in more))
                prompt, negative, *others = await asyncio.gather(*map(self._words, texts))
        except Exception as error:  # a stranger's code raises anything
            why = "it takes too long" if isinstance(error, TimeoutError) else "it fails"
            degraded.failed(BY_PRODUCT, f"{why}, and prompts are drawn as they come", repr(error))
            return request, "The prompt could not be translated, and was drawn as it came."
        degraded.works(BY_PRODUCT)
        update: dict[str, Any] = {"prompt": prompt, "negative_prompt": negative}
        if more:
            pairs = zip(more, others, strict=True)
            update["prompts"] = [prompt.model_copy(update={"text": words}) for prompt, words in pairs]
        return request.model_copy(update=update), ""

    async def _words(self, text: str) -> str:
        if not text.strip():
            return text
        assert self._function is not None
        if inspect.iscoroutinefunction(self._function):
            words = await self._function(text)
        else:
            words = await asyncio.get_running_loop().run_in_executor(self._threads, self._function, text)
        if inspect.isawaitable(words):
            words = await words
        if not isinstance(words, str) or not words.strip() or len(words) > self._max_chars:
            raise ValueError(f"of a text of {len(text)} characters it made {type(words).__name__}, empty or too long")
        return words


def _function_at(path: str) -> Callable[[str], Any]:
    module, _, name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # what a module raises while it is read
        raise DalleServeError(
            f"translator {path!r} cannot be had: {type(error).__name__}: {error}. It is to be module:function, and the "
            "module must be found by Python (PYTHONPATH)."
        ) from error
    if not callable(function):
        raise DalleServeError(f"translator {path!r} is no function, but {type(function).__name__}.")
    return function
