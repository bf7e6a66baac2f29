"""What a Serve file says, read strictly: Serve lets unknown keys pass, and `serve run` waits for ever where it fails.

Serve builds the application in a process of its own. Where that belongs to a `serve run` on this machine, that command
is told the reason in one line, and ended.
"""

import contextlib
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml
from pydantic import BaseModel

from deployments.config import AppConfig, ModelConfig
from deployments.errors import InvalidSettings, no_scorer
from deployments.gateway.settings import checked
from deployments.leftovers import watch
from model_core import bundles
from model_core.errors import DalleServeError

SIGNAL_S = 3.0
POLL_S = 0.05


def read_settings(args: AppConfig | Mapping[str, Any]) -> AppConfig:
    """Checks what stands under `args:`, and under a `serve run` of this machine its whole file and the models.

    Raises:
      InvalidSettings: names every setting that is wrong.
    """
    if isinstance(args, AppConfig):
        return args
    command = serve_run()
    try:
        config = checked(args)
        if command:
            _check_file(command)
            for model in config.models:
                check_files(model)
    except DalleServeError as error:
        if command:
            _end(command, str(error))
        raise
    return config


def check_files(model: ModelConfig) -> bundles.Bundle:
    """Finds a model's files, and those of the scorer that its settings name; raises where they are not there."""
    scorer = model.clip_scorer
    bundle = bundles.resolve(model.location, scorer=scorer.source if scorer else None)
    if scorer and bundle.scorer is None:
        raise no_scorer(model.location)
    return bundle


def serve_run() -> psutil.Process | None:
    """The `serve run` that started the cluster in which this process is; None where another program did."""
    for process in psutil.Process().parents():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if "run" in words and "serve" in (Path(word).name for word in words[: words.index("run")]):
                return process
    return None


def unknown_keys(content: Any, schema: Any, place: str = "") -> list[str]:
    """Keys that a pydantic schema does not have, at any depth, with the way to them."""
    if isinstance(content, list):
        return [key for item in content for key in unknown_keys(item, schema, place)]
    models = _models_in(schema)
    if not isinstance(content, dict) or not models:
        return []
    fields = {name: field.annotation for model in models for name, field in model.model_fields.items()}
    found = [f"{place}{key}" for key in content if key not in fields]
    for key, value in content.items():
        if key in fields:
            found += unknown_keys(value, fields[key], f"{place}{key}.")
    return found


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models that a type mentions, through lists, unions and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]


def _check_file(command: psutil.Process) -> None:
    """The file that the command was given: keys of Serve's own."""
    from ray.serve.schema import ServeDeploySchema

    words = command.cmdline()
    for word in words[words.index("run") + 1 :]:
        path = Path(command.cwd()) / word
        if path.is_file():
            if unknown := unknown_keys(yaml.safe_load(path.read_text()), ServeDeploySchema):
                raise InvalidSettings(f"{', '.join(unknown)}: Serve has no such setting.")
            return


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _end(command: psutil.Process, reason: str) -> None:
    """Writes the reason where the command writes, and ends it with what it has started."""
    try:
        with Path(f"/proc/{command.pid}/fd/2").open("a") as stderr:  # on Linux
            stderr.write(f"Error: {reason}\n")
    except OSError:
        return
    watcher = watch(command.pid)
    for number in (
        signal.SIGHUP,
        signal.SIGTERM,
    ):  # Ray's answer to the second is a page long, but under nohup it helps
        with contextlib.suppress(psutil.Error):
            command.send_signal(number)
        until = time.monotonic() + SIGNAL_S
        while _runs(command) and time.monotonic() < until:
            time.sleep(POLL_S)
    assert watcher.stdin
    watcher.stdin.close()
