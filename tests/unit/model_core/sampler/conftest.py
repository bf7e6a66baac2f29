"""A tiny model with one decoder layer, rows of it, and six images to draw with them."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
import pytest

from model_core.families.dalle_bart import family as dalle_bart
from model_core.sampler import rows
from model_core.sampler.rows import Rows
from model_core.sampler.sequence import Sampling, Sequence

KINDS = {
    "all rows": {"deterministic": True, "as_loop": False},
    "few rows": {"deterministic": False, "as_loop": False},
    "all rows, as a loop": {"deterministic": True, "as_loop": True},
    "few rows, as a loop": {"deterministic": False, "as_loop": True},
}
BOTH = "few rows, as a loop"  # what the others show one by one
SAMPLED = [*(kind for kind in KINDS if kind != BOTH), pytest.param(BOTH, marks=pytest.mark.exhaustive)]


@pytest.fixture(scope="session")
def small(tiny_dalle_bart):
    """The tiny model with one decoder layer, for the many programs that are compiled here, and less sure of itself."""
    config, params = tiny_dalle_bart
    one_layer = jax.tree.map(lambda leaf: leaf[:1], params["model"]["decoder"]["layers"])
    decoder = params["model"]["decoder"] | {"layers": one_layer}
    head = {"kernel": params["lm_head"]["kernel"] * 0.2}
    params = params | {"model": params["model"] | {"decoder": decoder}, "lm_head": head}
    return type(tiny_dalle_bart)(replace(config, decoder_layers=1), params)


@pytest.fixture(scope="session")
def make_rows(small) -> Callable[..., Rows]:
    """Rows for two images under guidance, of one of `KINDS`; where few of 9 positions are read, it is 5."""
    weights = dalle_bart.step_weights(small.params)

    def make(kind: str, num_codes: int = 20, window: int | None = 1) -> Rows:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rows, "PARTS", 2)
            settings = KINDS[kind] | {"num_codes": num_codes, "max_rows": 4, "window": window}
            return Rows(dalle_bart, small.config, weights, **settings)

    return make


@pytest.fixture(scope="session", params=SAMPLED)
def sampler_rows(request, make_rows) -> Rows:
    """Rows of each kind in turn, warm; whoever uses them leaves them empty."""
    made = make_rows(request.param)
    made.warm_up()
    return made


@pytest.fixture(scope="session")
def sequences(tiny_conditions) -> list[Sequence]:
    """Six images of three texts, the last one without guidance. Draw copies of them."""
    settings = [
        {},
        {"temperature": 0.5},
        {"top_k": 3},
        {"guidance_scale": 2.0},
        {"top_p": 0.8},
        {"guidance_scale": 1.0},
    ]
    return [
        Sequence(
            condition=tiny_conditions.prompts[i % 3],
            uncondition=tiny_conditions.unconditional[0],
            seed=i,
            sampling=Sampling(**{"guidance_scale": 3.0} | settings[i]),
        )
        for i in range(6)
    ]


@pytest.fixture(scope="session")
def draw() -> Callable[..., list[np.ndarray]]:
    """Draws copies of sequences, each as soon as there is room, a turn ahead where the rows want that."""

    def call(rows: Rows, sequences: list[Sequence], steps: int = 3) -> list[np.ndarray]:
        copies = [replace(sequence) for sequence in sequences]
        for sequence in copies:
            rows.check(sequence)
        waiting = deque(copies)
        while waiting or rows.num_taken or rows.num_turns:
            while waiting and rows.has_room(waiting[0]):
                rows.join(waiting.popleft())
            is_drawing = rows.num_taken > 0
            if is_drawing:
                rows.advance(steps)
            if rows.num_turns > (is_drawing and rows.runs_ahead):
                rows.read()
        return [sequence.codes for sequence in copies]

    return call


@pytest.fixture(scope="session")
def alone(make_rows, draw, sequences) -> list[np.ndarray]:
    """What each of `sequences` is when it is drawn alone, always over all rows."""
    exact = make_rows("all rows")
    return [draw(exact, [sequence])[0] for sequence in sequences]
