"""Optimizers: each finds a minimum; Muon takes the matrices between layers and nothing else."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from model_core.errors import InvalidValue
from model_core.families.dalle_bart import family as dalle_bart
from model_core.families.dalle_bart.family import DalleBartConfig
from model_core.training.optimizers import matrix_axes, optimizer, rate_in
from model_core.training.recipe import SequenceRecipe
from model_core.training.schedules import learning_rate

HAS_SHAMPOO = importlib.util.find_spec("precondition") is not None
CONFIG = DalleBartConfig.of_size(width=16, heads=2, ffn=24, layers=(2, 3), codes=16, length=9, words=32, text=6)


def shapes() -> dict[str, jax.ShapeDtypeStruct]:
    """A DalleBart's arrays by name."""
    named = jax.tree_util.tree_leaves_with_path(dalle_bart.param_shapes(CONFIG))
    return {"/".join(str(key.key) for key in path): leaf for path, leaf in named}


@pytest.mark.parametrize("name", ["adamw", "adafactor", "muon"])
def test_an_optimizer_finds_the_minimum_of_a_bowl(name: str):
    recipe = SequenceRecipe(optimizer=name, steps=300, warm_up_steps=10, learning_rate=0.06, weight_decay=0.0)
    method = optimizer(recipe)
    params = {"layers": {"0": {"kernel": 0.2 * jnp.array([[0.5, -1.0], [0.25, 0.5]])}}, "head": jnp.array([1.0, -2.0])}

    def step(carry, _):
        params, state = carry
        updates, state = method.update(jax.tree.map(lambda w: 2 * w, params), state, params, value=jnp.zeros(()))
        return (jax.tree.map(jnp.add, params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, method.init(params)), length=300)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(params)) < 0.1


@pytest.mark.parametrize("name", ["adamw", "adafactor", "muon"])
def test_weights_decay_by_the_rate_and_not_by_themselves(name: str):
    """Without a gradient, a step leaves 1 - rate × decay of a weight, whatever the optimizer."""
    recipe = SequenceRecipe(optimizer=name, steps=9, warm_up_steps=1, learning_rate=0.1, weight_decay=0.5)
    params = {"layers": {"0": {"kernel": jnp.ones((4, 4))}}, "head": jnp.ones((4, 4))}
    method, before = optimizer(recipe), params
    state = method.init(params)
    for step in range(3):
        updates, state = method.update(jax.tree.map(jnp.zeros_like, params), state, params, value=jnp.zeros(()))
        params = jax.tree.map(jnp.add, before, updates)
        left = 1 - 0.5 * float(learning_rate(recipe)(step))
        for leaf in jax.tree.leaves(jax.tree.map(jnp.divide, params, before)):
            np.testing.assert_allclose(leaf, left, rtol=1e-6)
        before = params


def test_muon_takes_every_kernel_of_the_stacked_layers_and_only_these():
    axes = matrix_axes(dalle_bart.param_shapes(CONFIG))
    is_leaf = lambda node: node is None or isinstance(node, optax.contrib.MuonDimensionNumbers)  # noqa: E731
    named = jax.tree_util.tree_leaves_with_path(axes, is_leaf=is_leaf)
    taken = {"/".join(str(key.key) for key in path): numbers for path, numbers in named if numbers is not None}
    assert taken.keys() == {name for name in shapes() if "layers" in name and name.endswith("kernel")}
    assert len(taken) == 4 + 3 + 2 * 4 + 3  # products of attention and feed-forward, of each side
    for name, numbers in taken.items():
        assert (numbers.reduction_axis, numbers.output_axis) == (1, 2), name


def test_optax_by_itself_takes_exactly_what_is_no_matrix_between_layers():
    """What has two axes is embeddings, the head, and norms that are stacked: none is a kernel of a layer."""
    by_default = {name for name, leaf in shapes().items() if leaf.ndim == 2}
    ours = {name for name in shapes() if "layers" in name and name.endswith("kernel")}
    state = jax.eval_shape(optax.contrib.muon(0.1).init, dalle_bart.param_shapes(CONFIG))
    momenta = jax.tree_util.tree_leaves_with_path(state.inner_states["muon"].inner_state[0].mu)
    taken = {"/".join(str(key.key) for key in path if hasattr(key, "key")) for path, _ in momenta}
    assert taken == by_default
    assert not taken & ours
    assert any(name.endswith("scale") for name in taken)
    assert any(name.endswith("embedding") for name in taken)


def test_a_step_of_muon_moves_each_layers_kernel_by_a_near_orthogonal_matrix():
    recipe = SequenceRecipe(
        optimizer="muon", steps=10, warm_up_steps=0, schedule="constant", learning_rate=1.0, weight_decay=0.0
    )
    params = {"layers": {"stack": {"kernel": jnp.zeros((3, 8, 8))}}}
    turns = np.linalg.qr(np.random.default_rng(0).normal(size=(2, 3, 8, 8)))[0]
    stretched = np.einsum("lij,j,ljk->lik", turns[0], np.linspace(0.2, 1.0, 8), turns[1])
    grads = {"layers": {"stack": {"kernel": jnp.asarray(stretched, jnp.float32)}}}
    method = optimizer(recipe)
    updates, _ = jax.jit(method.update)(grads, method.init(params), params, value=jnp.zeros(()))
    for update in np.asarray(updates["layers"]["stack"]["kernel"]):
        values = np.linalg.svd(update, compute_uv=False) / (0.2 * np.sqrt(8))  # as wide as AdamW's
        assert values.max() / values.min() < 2
        assert values.mean() == pytest.approx(1, abs=0.3)


def test_other_families_kernels_lie_the_other_way_round():
    axes = matrix_axes(
        {"layers": {"0": {"qkv": jnp.zeros((2, 3, 4, 8)), "norm": jnp.zeros(8)}}, "head": jnp.zeros((4, 8))}
    )
    assert axes["layers"]["0"]["qkv"] == optax.contrib.MuonDimensionNumbers(3, (0, 1, 2))
    assert axes["layers"]["0"]["norm"] is None
    assert axes["head"] is None


def test_a_plateau_lowers_the_rate_and_says_so():
    recipe = SequenceRecipe(
        steps=100,
        warm_up_steps=0,
        schedule="plateau",
        learning_rate=0.1,
        plateau_window=2,
        plateau_patience=2,
        plateau_factor=0.5,
    )
    method, params = optimizer(recipe), {"w": jnp.ones(2)}
    state, update = method.init(params), jax.jit(method.update)
    told = []
    for i in range(12):
        told.append(float(rate_in(recipe, state, jnp.int32(i))))
        _, state = update(params, state, params, value=jnp.float32(1.0))  # the loss stays
    assert told[:4] == pytest.approx([0.1] * 4)
    assert told[-1] <= 0.0501


def test_a_gradient_is_clipped_unless_the_norm_is_0():
    def moved(clip_norm: float) -> float:
        recipe = SequenceRecipe(optimizer="adamw", warm_up_steps=0, clip_norm=clip_norm, steps=10)
        method, params = optimizer(recipe), {"w": jnp.zeros(1)}
        _, state = method.update({"w": jnp.array([100.0])}, method.init(params), params, value=jnp.zeros(()))
        return float(state[1][0].mu["w"][0])

    assert moved(1.0) == pytest.approx(0.1, rel=1e-3)
    assert moved(0.0) == pytest.approx(10.0, rel=1e-3)


def test_an_unknown_optimizer_is_named():
    with pytest.raises(InvalidValue, match=r"'sgd'; there are adamw, adafactor, muon, shampoo"):
        optimizer(SequenceRecipe(optimizer="sgd"))


@pytest.mark.skipif(HAS_SHAMPOO, reason="its package is installed")
def test_shampoo_says_what_to_install():
    with pytest.raises(InvalidValue, match=r"pip install git.*google-research/precondition"):
        optimizer(SequenceRecipe(optimizer="shampoo"))
