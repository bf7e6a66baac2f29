"""A batch drawn with Ray Data: lines go to workers, each a whole service in one process, which write files."""

import asyncio
import json
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError

from deployments.api.errors import answer_to
from deployments.batches.lines import Line, request_of
from deployments.config import AppConfig, DeploymentConfig
from deployments.offline.in_process import InProcess
from deployments.offline.results import Results
from deployments.requests.pictures import no_files
from model_core.errors import DalleServeError, InvalidValue

ROWS_A_BLOCK = 128  # each is a task of one worker, which draws several of its rows at a time
BLOCKS_A_WORKER = 4  # at least, where there are few rows, so that all have something to do to the end
PATIENCE_S = 86400.0  # nobody waits for a single picture

Row = dict[str, Any]


class Drawer:
    """One worker: draws rows, and writes what comes of them.

    Raises:
      DalleServeError: a model's files cannot be used.
    """

    def __init__(self, config: AppConfig, folder: Path):
        self._here = InProcess(without_limits(config))
        self._limits = config.limits
        self._results = Results(folder)

    async def __call__(self, row: Row) -> Row:
        """Draws a row with `line`, `custom_id`, `endpoint` and `body`; gives its line, and whether it was drawn."""
        line, custom_id, answer_id = row["line"], row["custom_id"], f"batch_req_{row['line']}"
        try:
            request, upload = request_of(row["endpoint"], json.loads(row["body"]), self._limits, no_files)
            reply = await self._here.gateway.draw(request, upload)
        except Exception as error:
            if not isinstance(error, InvalidValue):
                self._here.check_health()  # a worker that is not well ends the run, and does not fail line after line
            answer = answer_to(error)
            refusal = (line, answer_id, custom_id, answer.status, answer.envelope)
            await asyncio.to_thread(self._results.keep_refusal, *refusal)
            return {"line": line, "drawn": False}
        await asyncio.to_thread(self._results.keep, line, answer_id, custom_id, reply)
        return {"line": line, "drawn": True}


def draw_lines(
    lines: Sequence[Line], config: AppConfig, folder: Path, *, workers: int, on_progress: Callable[[int], object]
) -> None:
    """Draws lines on the cluster that this process is connected to, and returns when all are done.

    Args:
      workers: how many, each with what one replica of every stage would have together.
      on_progress: told how many are done.

    Raises:
      DalleServeError: a worker failed; what was done until then is kept.
    """
    if not lines:
        return
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    per_block = min(ROWS_A_BLOCK, math.ceil(len(lines) / (BLOCKS_A_WORKER * workers)))
    rows = [
        {"line": line.number, "custom_id": line.custom_id, "endpoint": line.endpoint, "body": json.dumps(line.body)}
        for line in lines
    ]
    drawn = ray.data.from_items(rows, override_num_blocks=math.ceil(len(rows) / per_block)).map(
        Drawer,  # type: ignore[arg-type]  Ray's annotation knows functions only
        fn_constructor_kwargs={"config": config, "folder": folder},
        compute=ray.data.ActorPoolStrategy(size=workers),
        **needs_of(config.models[0].stages.values()),
    )
    try:
        for count, _ in enumerate(drawn.iter_rows(), 1):
            on_progress(count)
    except (RayError, RuntimeError) as error:
        raise DalleServeError(
            f"A worker failed ({_reason(error)}). What is drawn is kept: run it again to go on."
        ) from error


def needs_of(stages: Iterable[DeploymentConfig]) -> dict[str, Any]:
    """What Ray reserves for a worker: the cores of all stages together, and devices that they share."""
    stages = list(stages)
    shares = [stage.num_gpus for stage in stages]
    devices = {
        name: max(stage.resources.get(name, 0) for stage in stages) for each in stages for name in each.resources
    }
    kinds = {stage.accelerator_type for stage in stages} - {None}
    environment = {name: value for stage in stages for name, value in stage.env_vars.items()}
    return {
        "num_cpus": round(sum(stage.num_cpus for stage in stages), 3),
        "num_gpus": sum(shares) if sum(shares) <= 1 else max(shares),
        **({"resources": devices} if devices else {}),
        **({"accelerator_type": kinds.pop()} if len(kinds) == 1 else {}),
        **({"runtime_env": {"env_vars": environment}} if environment else {}),
    }


def without_limits(config: AppConfig) -> AppConfig:
    """The same, where nobody else waits for pictures, nor for an answer in time."""
    bounds = {"max_pending_images": 10**9, "max_pending_batch_images": 10**9, "request_timeout_s": PATIENCE_S}
    return config.model_copy(update={"gateway": config.gateway.model_copy(update=bounds)})


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:300].rstrip(".")
