"""Images of conditions in one call, all of a batch together: for scripts and comparisons, not for the service."""

from collections.abc import Sequence as Values
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int, Int32

from model_core.errors import InvalidValue
from model_core.families.conditions import FREE, Condition
from model_core.families.protocol import Config, Family
from model_core.sampler.rows import Rows, draw_all
from model_core.sampler.sequence import Sampling, Sequence

PerImage = float | Values[float] | np.ndarray  # one value for all images, or one each


def generate(
    family: Family,
    config: Config,
    params: Any,
    conditions: Condition | Values[Condition],
    unconditions: Condition | Values[Condition] | None,
    *,
    guidance_scale: PerImage,
    temperature: PerImage = 1.0,
    top_k: PerImage = 0,
    top_p: PerImage = 1.0,
    seeds: Any = None,
    gumbel: Float[Array | np.ndarray, "B N V"] | None = None,
    greedy: bool = False,
    prefix: Int[Array | np.ndarray, "#B L"] | None = None,
    num_codes: int | None = None,
    window: int = 1,
) -> Int32[np.ndarray, "B N"]:
    """Draws the codes of one image per condition, int32 [B, N].

    Order: guidance, temperature, top_k, top_p, draw. An image depends on its own values alone, not on its batch.

    Args:
      conditions: a list of B, or one whose arrays lead with an axis of B.
      unconditions: of the empty or negative prompts; None where no image is guided.
      guidance_scale: 1 is no guidance. This and the next three are one value, or one for each image.
      seeds: one for each image, below 2³²; None takes fresh ones.
      gumbel: noise to use in place of the seeds': code i is argmax(filtered logits + gumbel[:, i]).
      greedy: take the likeliest code of the guided logits.
      prefix: the first codes of each image; -1 where one is to be drawn all the same.
      num_codes: ids from here on are never drawn; None: all of the family's codebook.
      window: so many codes a step tries to draw; changes how long it takes.

    Raises:
      InvalidValue: a value is out of range or of the wrong shape; `param` names it.
    """
    prompts, grid = _listed(conditions), config.grid
    batch, num_codes = len(prompts), grid.codebook if num_codes is None else num_codes
    nothing = [None] * batch if unconditions is None else _listed(unconditions)
    if len(nothing) != batch:
        raise InvalidValue(f"There are {batch} conditions and {len(nothing)} unconditions; give one for each.")
    given = {"guidance_scale": guidance_scale}
    wanted = batch, grid.num_codes, num_codes
    if greedy:
        gumbel = np.zeros(wanted, np.float32)
    else:
        given |= {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    if gumbel is not None and (gumbel.shape[:2] != wanted[:2] or gumbel.shape[2] < num_codes):
        raise InvalidValue(f"gumbel has the shape {gumbel.shape}; it must be {wanted}, or longer at its end.", "gumbel")
    if seeds is None:
        seeds = np.random.SeedSequence().generate_state(batch)
    settings = {name: _spread(name, value, batch) for name, value in given.items()}
    seeds = _spread("seeds", seeds, batch)
    fixed = np.full((batch, grid.num_codes), FREE, np.int32)
    if prefix is not None:
        if len(prefix) not in (1, batch) or prefix.shape[1] > grid.num_codes:
            wanted = f"({batch} or 1, at most {grid.num_codes})"
            raise InvalidValue(f"prefix has the shape {prefix.shape}; it must be {wanted}.", "prefix")
        fixed[:, : prefix.shape[1]] = prefix
    sequences = [
        Sequence(
            condition=prompts[i],
            uncondition=nothing[i],
            seed=seeds[i],
            sampling=Sampling(**{name: values[i] for name, values in settings.items()}),
            fixed_codes=fixed[i],
            noise=None if gumbel is None else np.asarray(gumbel[i, :, :num_codes], np.float32),
        )
        for i in range(batch)
    ]
    max_rows = max(2, batch * (2 if any(sequence.sampling.is_guided for sequence in sequences) else 1))
    weights = family.step_weights(params)
    rows = Rows(family, config, weights, max_rows=max_rows, deterministic=True, num_codes=num_codes, window=window)
    for _ in draw_all(rows, sequences):
        pass
    return np.stack([sequence.codes for sequence in sequences])


def _listed(conditions: Condition | Values[Condition]) -> Values[Condition]:
    if not isinstance(conditions, Condition):
        return conditions
    return [Condition(values, mask) for values, mask in zip(conditions.values, conditions.mask, strict=True)]


def _spread(name: str, value: Any, batch: int) -> list[Any]:
    """One value for each image, as Python numbers."""
    array = np.asarray(value)
    if array.shape not in ((), (batch,)):
        raise InvalidValue(f"{name} has the shape {array.shape}; give one value, or one for each of {batch}.", name)
    return np.broadcast_to(array, batch).tolist()
