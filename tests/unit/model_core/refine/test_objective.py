"""What a step descends: its gradient against finite differences, and a step against numpy in float64."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model_core.refine import cutouts, objective
from model_core.refine.objective import AT_ONCE, Goal, clamp, distance, loss_and_gradient, straight_through
from model_core.refine.refiner import advance
from tests.unit.model_core.refine.linear import (
    BOOK,
    COLOURS,
    LOOK,
    NETWORKS,
    PAINT,
    PARAMS,
    PATCH,
    SCORER,
    SCORER_CONFIG,
    SIDE,
    TEXTS,
)

WEIGHTS = np.array([1.0, -0.4])


def goal(cutouts: int = 5, init_weight: float = 0.7) -> Goal:
    return Goal(
        texts=jnp.asarray(TEXTS, jnp.float32),
        weights=jnp.asarray(WEIGHTS, jnp.float32),
        cutouts=jnp.int32(cutouts),
        init_weight=jnp.float32(init_weight),
        step_size=jnp.float32(0.1),
        key=jax.random.key(3),
    )


def vectors(seed: int) -> Any:
    return jnp.asarray(np.random.default_rng(seed).normal(size=(6, 6, 4)), jnp.float32)


cut_now = jax.jit(cutouts.cut, static_argnums=3)


def test_the_gradient_is_that_of_finite_differences():
    """With the quantiser off, and pixels that nothing cuts off; for more cutouts than are looked at together."""
    there, start, aim = vectors(1), vectors(2), goal(cutouts=AT_ONCE + 3)
    loss = jax.jit(lambda at: loss_and_gradient(NETWORKS, PARAMS, at, start, aim, jnp.int32(4), quantise=False))
    _, gradient = loss(there)
    for seed in range(3):
        direction = vectors(10 + seed)
        direction /= jnp.linalg.norm(direction)
        near = [float(loss(there + sign * np.float32(0.05) * direction)[0]) for sign in (1, -1)]
        np.testing.assert_allclose((near[0] - near[1]) / 0.1, (gradient * direction).sum(), rtol=0.02, atol=2e-4)


def test_one_step_is_that_of_numpy_in_float64():
    """With the cutouts given, as matrices: the choice of codes, the two networks, their gradients by hand, and Adam."""
    aim, step, before = goal(), 6, [vectors(seed) for seed in (1, 2, 3, 4)]
    z, mean, start = (np.asarray(each, np.float64) for each in before[:3])
    square = np.abs(np.asarray(before[3], np.float64))
    key = jax.random.fold_in(aim.key, step)
    unit = np.eye(SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE, SIDE * SIDE)  # what each pixel gives to a cutout
    resized = np.asarray(cut_now(jnp.asarray(unit), key, jnp.arange(int(aim.cutouts)), 8), np.float64)
    offset = np.asarray(cut_now(jnp.zeros((SIDE, SIDE, 1)), key, jnp.arange(int(aim.cutouts)), 8), np.float64)
    resize = (resized - offset).reshape(int(aim.cutouts), 64, SIDE * SIDE)

    nearest = BOOK[((z[:, :, None] - BOOK) ** 2).sum(-1).argmin(-1)]
    squares = (nearest @ PAINT + 0.5).reshape(6, 6, PATCH, PATCH, COLOURS)
    pixels = squares.swapaxes(1, 2).reshape(SIDE * SIDE, COLOURS)
    assert (pixels > 0).all() and (pixels < 1).all()
    of_pixels = np.zeros_like(pixels)
    for matrix, white in zip(resize, offset.reshape(len(resize), 64, 1), strict=True):
        raw = (2 * (matrix @ pixels + white) - 1).reshape(-1) @ LOOK
        length = np.linalg.norm(raw)
        of_raw = np.zeros(5)
        for text, weight in zip(TEXTS, WEIGHTS, strict=True):
            chord = np.linalg.norm(raw / length - text)
            of_chord = 2 * np.arcsin(chord / 2) / np.sqrt(1 - chord**2 / 4)
            of_unit = weight * of_chord * (raw / length - text) / chord
            of_raw += (of_unit - (of_unit @ raw) * raw / length**2) / length
        of_pixels += matrix.T @ (2 * (LOOK @ of_raw).reshape(64, COLOURS)) / len(resize)
    of_squares = of_pixels.reshape(6, PATCH, 6, PATCH, COLOURS).swapaxes(1, 2).reshape(6, 6, -1)
    gradient = of_squares @ PAINT.T + 0.7 * (z - start) / z.size

    want_mean, want_square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
    direction = want_mean / (1 - 0.9**7) / (np.sqrt(want_square / (1 - 0.999**7)) + 1e-8)
    want = np.clip(z - 0.1 * direction, BOOK.min(axis=0), BOOK.max(axis=0))
    given = (each.astype(np.float32) for each in (z, mean, square, start))
    got = advance(NETWORKS, PARAMS, *given, aim, np.int32(step))
    for ours, theirs in zip(got, (want, want_mean, want_square), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


def test_the_distance_is_half_the_square_of_the_angle():
    angles = jnp.array([0.0, 0.3, 1.5, 3.0])
    a, b = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1), jnp.array([1.0, 0.0])
    np.testing.assert_allclose(distance(a, b), angles**2 / 2, rtol=1e-3, atol=1e-6)
    assert np.isfinite(jax.grad(lambda v: distance(v, b))(b)).all()


def test_a_gradient_passes_what_is_cut_off_only_on_its_way_back():
    pixels = jnp.array([-0.5, -0.5, 0.5, 0.5, 1.5, 1.5])
    gradient = jnp.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])  # descent goes the other way
    (passed,) = jax.vjp(clamp, pixels)[1](gradient)
    np.testing.assert_array_equal(passed, [0, -1, 1, -1, 1, 0])


def test_the_nearest_code_is_chosen_and_the_gradient_does_not_see_it():
    z, book = jnp.asarray(vectors(5)), jnp.asarray(BOOK, jnp.float32)
    chosen, back = jax.vjp(lambda at: straight_through(at, book), z)
    want = book[((z[:, :, None] - book) ** 2).sum(-1).argmin(-1)]
    np.testing.assert_array_equal(chosen, want)
    np.testing.assert_array_equal(back(z)[0], z)


def test_cutouts_are_squares_of_the_picture_between_the_scorer_s_side_and_its_own():
    """Of a picture that says where it is: each cutout's colours are a straight ramp, from which its corners follow."""
    rows, columns = jnp.meshgrid(jnp.arange(20.0), jnp.arange(32.0), indexing="ij")
    pixels = jnp.stack([rows, columns, jnp.zeros_like(rows)], axis=-1)
    cut = np.asarray(cut_now(pixels, jax.random.key(1), jnp.arange(40), 8))
    again = np.asarray(cut_now(pixels, jax.random.key(1), jnp.array([7, 3]), 8))
    np.testing.assert_allclose(again, cut[[7, 3]], atol=1e-4)
    sides = (cut[:, -3, 4, 0] - cut[:, 2, 4, 0]) / 3 * 8
    np.testing.assert_allclose((cut[:, 4, -3, 1] - cut[:, 4, 2, 1]) / 3 * 8, sides, rtol=0.02)
    assert 7.9 < sides.min() < 10 and 18 < sides.max() < 20.2
    assert cut[..., :2].min() > -1 and cut[..., 0].max() < 20 and cut[..., 1].max() < 32


def test_all_cutouts_count_the_same_however_they_are_grouped():
    pixels = jnp.asarray(np.random.default_rng(6).random((SIDE, SIDE, 3)), jnp.float32)
    key, most = jax.random.key(0), AT_ONCE + 3
    looks = SCORER.normalize(SCORER_CONFIG, cut_now(pixels, key, jnp.arange(most), 8))
    seen = np.asarray(SCORER.embed_pixels(SCORER_CONFIG, PARAMS["scorer"], looks))
    far = 2 * np.arcsin(np.linalg.norm(seen[:, None] - TEXTS, axis=-1) / 2) ** 2 @ WEIGHTS
    look = jax.jit(lambda aim: objective._looked_at(NETWORKS, PARAMS["scorer"], pixels, aim, key)[0])
    for count in (1, AT_ONCE, most):
        np.testing.assert_allclose(look(goal(count)), far[:count].mean(), rtol=1e-4)
