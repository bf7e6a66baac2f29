"""Settings of a recipe as a person types them: `name=value`."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

from model_core.errors import InvalidValue

Recipe = TypeVar("Recipe")


def with_settings(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe (a dataclass) with some of its values replaced, each in the type that it had.

    Raises:
      InvalidValue: it has no such setting, or the value is not of its type.
    """
    known: dict[str, Any] = dataclasses.asdict(recipe)  # pyright: ignore[reportArgumentType]
    changed = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        if name not in known or not value:
            shown = ", ".join(f"{key}={default}" for key, default in known.items())
            raise InvalidValue(f"{setting!r} is not a setting as name=value; there are {shown}.", "set")
        changed[name] = _parsed(name, value, type(known[name]))
    return dataclasses.replace(recipe, **changed)  # pyright: ignore[reportArgumentType]


def _parsed(name: str, value: str, kind: type) -> Any:
    if kind is bool:
        if value not in ("true", "false"):
            raise InvalidValue(f"{name} must be true or false; got {value!r}.", "set")
        return value == "true"
    try:
        return kind(value)
    except ValueError as error:
        raise InvalidValue(f"{name} must be of the type {kind.__name__}; got {value!r}.", "set") from error
