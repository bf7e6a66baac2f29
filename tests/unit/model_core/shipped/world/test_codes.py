"""Scenes as codes in shards."""

from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.codecs.vqgan import VQGAN, VQGANConfig
from model_core.errors import InvalidValue
from model_core.families.conditions import Grid
from model_core.shipped.world import codes
from model_core.shipped.world.codes import by_size, drawn_at, kept_of, read_codes, shows_only, write_codes
from model_core.shipped.world.description import WHITE
from model_core.shipped.world.scenes import World
from tests.unit.model_core.shipped.world.things_made_here import sprites

CONFIG = VQGANConfig(
    resolution=128,
    n_embed=16,
    embed_dim=4,
    z_channels=4,
    ch=4,
    ch_mult=(1, 1, 1, 1),
    num_res_blocks=1,
    attn_resolutions=(),
    norm_num_groups=2,
)
WORLD = World(sprites=sprites())


@pytest.fixture(scope="module")
def params() -> dict:
    return jax.jit(VQGAN(CONFIG).init)(jax.random.key(0), np.zeros((1, 128, 128, 3)))["params"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "SHARD", 6)
    monkeypatch.setattr(codes, "BATCH", 12)


@pytest.mark.usefixtures("small")
def test_shards_hold_both_spellings_and_are_made_once(tmp_path: Path, params: dict, monkeypatch: pytest.MonkeyPatch):
    write_codes(tmp_path, WORLD, CONFIG, params, 2)
    made = read_codes(tmp_path, 2)
    assert (made.shape, made.dtype) == ((12, 3, 256), np.uint16)
    assert made.max() < CONFIG.n_embed
    for scene, (spelled, plain, is_drawn) in zip(WORLD.scenes(0, 12), made, strict=True):
        if scene.description.ground != WHITE:
            continue
        background = shows_only(scene.pixels, "#ffffff", CONFIG.grid)
        assert len(set(plain[background].tolist())) == 1
        np.testing.assert_array_equal(plain[~background], spelled[~background])
        assert is_drawn[~background].all() and not is_drawn.all()
    monkeypatch.setattr(codes, "encode_shard", lambda *_: pytest.fail("made again"))
    write_codes(tmp_path, WORLD, CONFIG, params, 2)


@pytest.mark.usefixtures("small")
def test_codes_of_another_vqgan_are_refused(tmp_path: Path, params: dict):
    write_codes(tmp_path, WORLD, CONFIG, params, 0)
    other = {**params, "quantize": jax.tree.map(lambda each: each + 1, params["quantize"])}
    with pytest.raises(InvalidValue, match="another VQGAN"):
        write_codes(tmp_path, WORLD, CONFIG, other, 0)


def test_places_that_show_only_the_ground():
    pixels = np.full((128, 128, 3), 255, np.uint8)
    pixels[20, 30] = 0
    places = shows_only(pixels, "#ffffff", Grid(16, 16, 1))
    assert np.flatnonzero(~places).tolist() == [2 * 16 + 3]


def test_scenes_are_sorted_by_how_much_is_drawn(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(codes, "KEPT", (2, 4, 9))
    monkeypatch.setattr(codes, "GROUND", 1)
    spelled = np.zeros((5, 3, 7), np.uint16)
    for row, drawn in enumerate((0, 3, 4, 1, 7)):
        spelled[row, 2, :drawn] = 1
    assert {size: found.tolist() for size, found in by_size(spelled).items()} == {2: [0, 3], 4: [1], 7: [2, 4]}


def test_what_boxes_reach_into_is_drawn():
    scene = next(each for each in WORLD.scenes(0, 100) if sum(map(len, each.boxes)) > 1)
    grid = Grid(16, 16, 1)
    pixels = np.zeros((128, 128), bool)
    for box in (box for group in scene.boxes for box in group):
        pixels[box.top : box.bottom, box.left : box.right] = True
    np.testing.assert_array_equal(drawn_at(scene, grid), pixels.reshape(16, 8, 16, 8).any(axis=(1, 3)).reshape(-1))


@given(seed=st.integers(0, 2**31), count=st.integers(1, 16))
@settings(max_examples=20, deadline=None)
def test_what_is_kept_stands_for_the_whole_row(seed: int, count: int):
    rng = np.random.default_rng(seed)
    is_drawn = rng.random((5, 16)) < 0.4
    positions, weights = kept_of(is_drawn, count, rng)
    assert positions.shape == weights.shape == (5, count) and (np.diff(positions, axis=1) > 0).all()
    for drawn, places, stands_for in zip(is_drawn, positions, weights, strict=True):
        kept = drawn[places]
        assert kept.sum() == min(count, drawn.sum())
        np.testing.assert_array_equal(stands_for[kept], 1)
        if count > drawn.sum():
            np.testing.assert_allclose(stands_for.sum(), 16, rtol=1e-5)
