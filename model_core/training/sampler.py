"""Trains what draws codes, whatever its family: batches, step, validation and loop put together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float

from model_core.families.dalle_bart import family as dalle_bart_family
from model_core.families.dalle_bart.family import DalleBartConfig
from model_core.families.protocol import Text
from model_core.tokenizer import Tokenizer
from model_core.training import dalle_bart, decoder_only, devices, sequences
from model_core.training.dalle_bart import DalleBartRecipe
from model_core.training.data import Item
from model_core.training.decoder_only import DecoderRecipe
from model_core.training.loop import LoopConfig, Metrics, State, train
from model_core.training.recipe import SequenceRecipe
from model_core.training.schedules import growth, rows_of, samples_after
from model_core.training.sequences import Params, Rows, draw_rows, pictures_of_prompts
from model_core.training.speed import row_flops

VALIDATION_BATCH = 16
VALIDATION_ROWS = 256  # the first so many of a set


class Captioned(NamedTuple):
    """Pictures as codes, and what may be said of each.

    Attributes:
      codes: integers [M, N], or what gives [B, N] for a list of B places, as an encoded data set does.
    """

    items: Sequence[Item]
    codes: Any


class Task(NamedTuple):
    """What training needs to know of one model.

    Attributes:
      make_rows: codes and a prompt for each → rows of a batch, some prompts dropped by chance.
      told_rows: the same, with no prompt dropped.
      step: as `loop.train` takes it.
      loss: of rows, as measured: with the text, nothing corrupted; in nats a code.
    """

    family: Any
    config: Any
    recipe: SequenceRecipe
    state: State
    make_rows: Callable[[np.ndarray, Sequence[str], np.random.Generator], Rows]
    told_rows: Callable[[np.ndarray, Sequence[str], np.random.Generator], Rows]
    step: Callable[[State, Rows, Array], tuple[State, Metrics]]
    loss: Callable[[Params, Rows], Float[Array, ""]]


def dalle_bart_task(
    config: DalleBartConfig, recipe: DalleBartRecipe, tokenizer: Tokenizer, params: Params | None = None
) -> Task:
    """Of a DalleBart with these parameters, or random ones."""

    def rows_by(recipe: DalleBartRecipe) -> Callable[..., Rows]:
        return lambda codes, prompts, rng: dalle_bart.make_rows(
            codes, prompts, tokenizer, recipe, config.max_text_length, rng
        )

    return Task(
        family=dalle_bart_family,
        config=config,
        recipe=recipe,
        state=dalle_bart.initial_state(config, recipe, params),
        make_rows=rows_by(recipe),
        told_rows=rows_by(replace(recipe, prompt_dropout=0.0)),
        step=partial(dalle_bart.train_step, config=config, recipe=recipe),
        loss=partial(dalle_bart.loss, config),
    )


def decoder_task(family: Any, config: Any, recipe: DecoderRecipe, text: Text, params: Params | None = None) -> Task:
    """Of a decoder with these parameters, or random ones, and what reads its texts."""
    decoder_only.check(recipe)

    def rows_by(recipe: DecoderRecipe) -> Callable[..., Rows]:
        return lambda codes, prompts, rng: decoder_only.make_rows(codes, prompts, text, recipe, rng)

    told = replace(recipe, prompt_dropout=0.0)
    guided = recipe if config.guides else told
    start = decoder_only.random_params(family, config, recipe.seed) if params is None else params
    return Task(
        family=family,
        config=config,
        recipe=recipe,
        state=sequences.initial_state(recipe, start),
        make_rows=rows_by(guided),
        told_rows=rows_by(told),
        step=partial(decoder_only.train_step, family=family, config=config, recipe=recipe),
        loss=partial(decoder_only.loss, family, config),
    )


def train_sampler(
    task: Task, data: Captioned, folder: Path, validation: Mapping[str, Captioned] | None = None, **hooks: Any
) -> Params:
    """Trains on `data`; returns the averaged parameters.

    Args:
      validation: sets that are measured every `validate_every` steps, by name; the curve calls them `loss_NAME`.
      hooks: `on_save` of `loop.train`.

    Raises:
      InvalidValue: the recipe makes no sense.
    """
    recipe = task.recipe
    sequences.check(recipe)
    growth(recipe)
    pictures = pictures_of_prompts(data.items) if recipe.pictures_per_prompt > 1 else None

    def make_batch(rng: np.random.Generator, step: int) -> Rows:
        rows = draw_rows(data.items, pictures, recipe, rng, rows_of(recipe, step))
        codes = np.asarray(data.codes[[place for place, _ in rows]], np.int32)
        return task.make_rows(codes, [prompt for _, prompt in rows], rng)

    def step(state: State, batch: Rows, key: Array) -> tuple[State, Metrics]:
        samples = samples_after(recipe, int(state["step"]) + 1)
        state, metrics = task.step(state, batch, key)
        return state, metrics | {"samples": samples}

    state = train(
        folder,
        LoopConfig(
            steps=recipe.steps,
            seed=recipe.seed,
            validate_every=recipe.validate_every,
            save_every_s=recipe.save_every_s,
            model_parallel=recipe.model_parallel,
        ),
        task.state,
        make_batch,
        step,
        name="DalleBart" if isinstance(task.config, DalleBartConfig) else "decoder",
        validate=validator(task, validation) if validation and recipe.validate_every else None,
        cut_axes=task.family.CUT_AXES,
        row_flops=flops_of(task),
        **hooks,
    )
    return devices.gathered(state["ema"])


def validator(task: Task, sets: Mapping[str, Captioned]) -> Callable[[State], Metrics]:
    """Measures the averaged parameters on each set: mean loss over its first pictures, each with its likeliest prompt.

    Sets that are larger than a batch lose what is left over, so that one program measures all.
    """
    measure = jax.jit(task.loss)
    batches = {name: list(_batches_of(task, data)) for name, data in sets.items()}

    def validate(state: State) -> Metrics:
        def mean(rows_of_set: list[Rows]) -> float:
            split = (devices.split(rows, task.recipe.model_parallel) for rows in rows_of_set)
            return float(np.mean([float(measure(state["ema"], rows)) for rows in split]))

        return {f"loss_{name}": mean(rows_of_set) for name, rows_of_set in batches.items()}

    return validate


def _batches_of(task: Task, data: Captioned) -> Any:
    count = min(len(data.items), VALIDATION_ROWS)
    size = min(count, VALIDATION_BATCH)
    for start in range(0, count - size + 1, size):
        places = list(range(start, start + size))
        prompts = [max(data.items[place].prompts, key=lambda prompt: prompt[1])[0] for place in places]
        yield task.told_rows(np.asarray(data.codes[places], np.int32), prompts, np.random.default_rng(0))


def flops_of(task: Task) -> float:
    """The arithmetic of one row, forwards and backwards."""
    config, numbers = task.config, task.family.step_numbers(task.config)
    if isinstance(config, DalleBartConfig):
        named: dict[str, Any] = dict(traverse_util.flatten_dict(dalle_bart_family.param_shapes(config), sep="/"))
        of_text = (leaf for name, leaf in named.items() if dalle_bart_family.role_of(name) == "text")
        text_weights = sum(leaf.size for leaf in of_text if leaf.ndim == 3)  # stacked kernels
    else:
        text_weights = numbers.weights  # the same layers read the text
    return row_flops(numbers, config.grid.num_codes, text_weights, config.condition_shape[0])
