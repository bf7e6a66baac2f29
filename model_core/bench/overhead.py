"""What the engine costs: images through it beside the same steps in a bare loop.

The loop is one turn from the first code to the last: nothing between the steps. With `deterministic` the engine runs
the same programs; without, it reads only as much state as a turn comes to, which may save more than the engine costs.
"""

import time
from collections.abc import Sequence as Values

from model_core.bench import machine
from model_core.bench.comparison import Comparison, ComparisonReport, compared, in_turns
from model_core.bench.models import Sampler, load_sampler
from model_core.bench.sequences import random_sequence, room_for
from model_core.bench.traffic import Visit, visit_all
from model_core.sampler.rows import Rows


def bench_overhead(
    model: str, counts: Values[int], *, dtype: str = "float32", deterministic: bool = False, repeats: int = 9
) -> ComparisonReport:
    """Draws guided images both ways in turns, for each of `counts` images at a time.

    Args:
      model: a public size's name for random weights, else a shipped model's name or a folder.
      deterministic: as the engine's setting.

    Raises:
      DalleServeError: there is no such model or dtype.
      EngineFailed: the engine does not end its sequences.
    """
    sampler = load_sampler(model, dtype)
    here = machine.measure(dtype)

    def measure(images: int) -> Comparison:
        rows = room_for(images, sampler, deterministic=deterministic)
        bare_rows = room_for(images, sampler, deterministic=True)

        def engine() -> float:
            visits = [Visit(sequence=random_sequence(sampler, seed), arrival_s=0.0) for seed in range(images)]
            return max(one.latency_s() for one in visit_all(rows, visits))

        def bare() -> float:
            return _draw(bare_rows, sampler, images)

        engine()
        bare()  # the first of each may be slower
        return compared(f"{images} at a time, s", in_turns(bare, engine, repeats))

    settings = {"deterministic": deterministic, "repeats": repeats}
    ways = ("bare loop", "engine")
    return ComparisonReport("overhead", model, dtype, settings, here, ways, tuple(map(measure, counts)))


def _draw(rows: Rows, sampler: Sampler, images: int) -> float:
    """Draws whole images in one turn; gives the seconds until all codes were there."""
    sequences = [random_sequence(sampler, seed) for seed in range(images)]
    began = time.perf_counter()
    for sequence in sequences:
        rows.check(sequence)
        rows.join(sequence)
    rows.advance(rows.grid.num_codes)
    rows.read()
    return time.perf_counter() - began
