"""What serving costs: one request over HTTP beside the same images drawn in this process, in turns.

Both sides compute with the same batch sizes and end with PNGs.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

from deployments.errors import RequestFailed

TIMEOUT_S = 600.0
PROMPT = "an avocado"


class ServeReport(NamedTuple):
    """Seconds for one request, measured in turns.

    Attributes:
      served_s: over HTTP, from the request to the last byte.
      in_process_s: the same in this process, while the service is idle.
      ratio: the median of each round's served by its in-process time.
    """

    model: str
    images: int
    served_s: float
    in_process_s: float
    ratio: float


def bench_serve(model: str, *, images: int, repeats: int, report: Callable[[str], None]) -> ServeReport:
    """Starts a service of its own, and draws the same images through it and in this process.

    Args:
      report: called with a line for every step.

    Raises:
      DalleServeError: there is no such model, or the service does not start.
    """
    from deployments.cli.serve import config_for
    from deployments.host import free_port, http_client
    from deployments.local import LocalService
    from model_core.pictures.images import encode_png
    from model_core.pipeline import Pipeline

    config = config_for(model)
    with (
        LocalService(config, port=free_port(), report=report) as service,
        http_client(service.url, timeout=TIMEOUT_S) as client,  # kept, as apps keep theirs
    ):
        report("loading the model in this process")  # not before: JAX is not to be forked
        pipeline = Pipeline.from_model(model, batch_size=config.models[0].token_sampler.slots)
        pipeline.warm_up()

        def in_process(seed: int) -> None:
            for drawn in pipeline.generate(PROMPT, n=images, seed=seed):
                encode_png(drawn.image)

        def served(seed: int) -> None:
            fields = {"prompt": PROMPT, "n": images, "seed": seed}
            reply = client.post("/v1/images/generations", json=fields, headers={"cache-control": "no-store"})
            if reply.is_error:
                raise RequestFailed(f"The service refused: {reply.text}")

        in_process(0)  # the first of each may be slower
        served(0)
        rounds = []
        for seed in range(repeats):
            rounds.append((_seconds(served, seed), _seconds(in_process, seed)))
            report("served {:.2f} s, in process {:.2f} s".format(*rounds[-1]))
    return ServeReport(
        model=model,
        images=images,
        served_s=median(http for http, _ in rounds),
        in_process_s=median(here for _, here in rounds),
        ratio=median(http / here for http, here in rounds),
    )


def _seconds(work: Callable[[int], None], seed: int) -> float:
    began = time.perf_counter()
    work(seed)
    return time.perf_counter() - began
