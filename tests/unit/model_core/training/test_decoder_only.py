"""The loss of decoders: of codes as the family scores them, of text tokens where it does."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model_core import families
from model_core.errors import InvalidValue
from model_core.training import decoder_only, sequences
from model_core.training.decoder_only import DecoderRecipe
from model_core.weights import checkpoint
from model_core.weights.safetensors_writer import save_arrays

FAMILIES = ("mindalle", "llamagen-tiny/gpt", "dp-rotary", "rudalle", "janus-tiny")
MOST = [FAMILIES[0], *(pytest.param(name, marks=pytest.mark.exhaustive) for name in FAMILIES[1:])]


def rows_of(config, rng: np.random.Generator) -> dict:
    """Two rows of chance."""
    shape = (2, *config.condition_shape)
    grid = config.grid
    values = rng.integers(1, 60, size=shape) if len(shape) == 2 else rng.normal(size=shape)
    return {
        "codes": rng.integers(grid.codebook, size=(2, grid.num_codes)).astype(np.int32),
        "values": values.astype(np.int32 if len(shape) == 2 else np.float32),
        "mask": np.ones(shape[:2], np.int32),
    }


def nll(logits: np.ndarray, ids: np.ndarray) -> float:
    return -float(np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), ids[..., None], -1).mean())


@pytest.mark.parametrize(
    "name",
    [
        "llamagen-tiny/gpt",
        *(
            pytest.param(name, marks=pytest.mark.exhaustive)
            for name in ("dp-rotary", "mindalle", "rudalle", "janus-tiny")
        ),
    ],
)
def test_codes_are_scored_as_the_family_scores_them(fixtures: Path, name: str):
    family, config, params = families.load(fixtures / name)
    rows = rows_of(config, np.random.default_rng(0))
    logits = family.logits(config, params, rows["values"], rows["mask"], rows["codes"][:, :-1])
    got = float(decoder_only.loss(family, config, params, rows))
    assert got == pytest.approx(nll(logits, rows["codes"]), rel=1e-4)


@pytest.mark.parametrize("name", [pytest.param("dp-rotary", marks=pytest.mark.exhaustive), "mindalle"])
def test_text_has_its_share_and_is_given_what_stands_before_it(fixtures: Path, name: str):
    family, config, params = families.load(fixtures / name)
    rows = rows_of(config, np.random.default_rng(1))
    codes, text, mixed = (
        float(decoder_only.loss(family, config, params, rows, recipe=DecoderRecipe(text_weight=weight)))
        for weight in (0.0, 1.0, 0.125)
    )
    assert mixed == pytest.approx(0.125 * text + 0.875 * codes, rel=1e-4)
    last = family.hidden_states(config, params, rows["values"], rows["codes"][:, :-1])[-1]
    scores = family.text_logits(config, params, last)
    ids = np.asarray(rows["values"])
    before = config.begin_id is not None  # then the first token is scored, too
    wanted = ids if before else ids[:, 1:]
    assert text == pytest.approx(nll(scores[:, : wanted.shape[1]], wanted), rel=1e-4)


@pytest.mark.parametrize("name", MOST)
def test_remat_keeps_little_of_each_layer_for_its_gradient(fixtures: Path, name: str):
    family, config, params = families.load(fixtures / name)
    rows = {key: np.repeat(leaf, 32, axis=0) for key, leaf in rows_of(config, np.random.default_rng(0)).items()}

    def kept_bytes(recipe: DecoderRecipe) -> int:
        loss = partial(decoder_only.loss, family, config, rows=rows, recipe=recipe)
        pullback = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], params)
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pullback))

    assert kept_bytes(DecoderRecipe(remat=True)) < kept_bytes(DecoderRecipe()) / 3


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_the_same_with_and_without_remat(fixtures: Path, name: str):
    family, config, params = families.load(fixtures / name)
    rows = rows_of(config, np.random.default_rng(0))

    def gradient(recipe: DecoderRecipe):
        noisy = rows | sequences.noise_of_rows(recipe, jax.random.key(3), 2)
        return jax.jit(jax.value_and_grad(partial(decoder_only.loss, family, config, rows=noisy, recipe=recipe)))(
            params
        )

    recipe = DecoderRecipe(dropout=0.3, activation_dropout=0.2)
    plain, cheap = gradient(recipe), gradient(replace(recipe, remat=True))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), cheap, plain)
    assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(plain[1]))


@pytest.mark.parametrize("name", MOST)
def test_dropout_is_of_its_key(fixtures: Path, name: str):
    family, config, params = families.load(fixtures / name)
    rows, recipe = rows_of(config, np.random.default_rng(0)), DecoderRecipe(dropout=0.3, text_weight=0.0)

    @jax.jit
    def loss(key: jax.Array) -> jax.Array:
        noisy = rows | sequences.noise_of_rows(recipe, key, 2)
        return decoder_only.loss(family, config, params, noisy, recipe=recipe)

    first, again, other = (float(loss(jax.random.key(seed))) for seed in (1, 1, 2))
    assert first == again != other


def test_pads_are_text_with_ids_of_their_own(fixtures: Path):
    family, config, _ = families.load(fixtures / "dp-rotary")
    ids = np.zeros((1, config.text_length), np.int32)
    ids[0, :2] = 5, 7
    stream = np.asarray(family.text_stream(config, jnp.asarray(ids)))[0]
    assert stream[:3].tolist() == [config.begin_id, 5, 7]
    assert stream[3:].tolist() == [config.first_pad + place for place in range(2, config.text_length)]


@pytest.mark.parametrize(
    "name",
    ["llamagen-tiny/gpt", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("mindalle", "janus-tiny"))],
)
def test_what_is_exported_is_what_is_loaded(tmp_path: Path, fixtures: Path, name: str):
    family, config, _ = families.load(fixtures / name)
    params = decoder_only.random_params(family, config, seed=3)
    save_arrays(tmp_path / "model.safetensors", family.published(params))
    loaded = checkpoint.load_params(tmp_path / "model.safetensors", family.param_shapes(config), layout=family.layout)
    jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_a_weight_that_is_no_share_is_refused():
    with pytest.raises(InvalidValue, match="text_weight must be a share"):
        decoder_only.check(DecoderRecipe(text_weight=1.0))
