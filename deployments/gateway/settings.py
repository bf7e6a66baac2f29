"""Settings read strictly, and those of them that may change while the service runs: a gateway's `user_config`.

A `user_config` is laid over the settings that the gateway started with: what it does not name stays as it was then.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from deployments.config import AppConfig
from deployments.errors import InvalidSettings

# Section → the settings in it; None: all of them. `sampling` has those of models, by id.
CHANGEABLE: dict[str, frozenset[str] | None] = {
    "limits": None,
    "safety": None,
    "access": frozenset({"keys_file", "images_per_minute", "allow_remote"}),
    "gateway": frozenset({"max_pending_images", "max_pending_batch_images", "request_timeout_s"}),
}
SAMPLING = "sampling"


def checked(args: Any) -> AppConfig:
    """Reads settings.

    Raises:
      InvalidSettings: names every one that is wrong.
    """
    try:
        return AppConfig.model_validate(args)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        raise InvalidSettings("; ".join(map(_explained, problems)) + ".") from None


def changed(config: AppConfig, user_config: Any) -> AppConfig:
    """The settings with those of a `user_config` in place of their own.

    Raises:
      InvalidSettings: names every one that is wrong, or one that may not change while the service runs.
    """
    if not isinstance(user_config, Mapping):
        raise InvalidSettings(f"user_config must have named settings, got {type(user_config).__name__}.")
    settings = config.model_dump()
    for section, values in user_config.items():
        if section == SAMPLING:
            _change_sampling(settings["models"], values)
            continue
        names = CHANGEABLE.get(section, frozenset())
        if not isinstance(values, Mapping):
            raise InvalidSettings(f"user_config.{section} must have named settings, got {type(values).__name__}.")
        fixed = [name for name in values if names is not None and name not in names]
        if section not in CHANGEABLE or fixed:
            which = f"{section}.{fixed[0]}" if fixed and section in CHANGEABLE else section
            raise InvalidSettings(f"user_config.{which} cannot change while the service runs: set it under args.")
        settings[section] |= values
    return checked(settings)


def _change_sampling(models: list[dict[str, Any]], values: Any) -> None:
    by_id = {model["id"]: model for model in models}
    if not isinstance(values, Mapping) or not set(values) <= by_id.keys():
        raise InvalidSettings(f"user_config.sampling must name models; there are {', '.join(by_id)}.")
    for model_id, sampling in values.items():
        by_id[model_id][SAMPLING] = sampling


def _explained(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{name}: there is no such setting"
    words = problem["msg"].removeprefix("Value error, ").replace("Input should", "must", 1)
    return f"{name}: {words}, got {str(problem['input'])[:60]}" if name else words
