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
from model_core.shipped.world.codes import by_drawn, drawn_first, read_codes, shows_only, write_codes
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
    assert (made.shape, made.dtype) == ((12, 2, 256), np.uint16)
    assert made.max() < CONFIG.n_embed
    for scene, (spelled, plain) in zip(WORLD.scenes(0, 12), made, strict=True):
        if scene.description.ground != WHITE:
            continue
        background = shows_only(scene.pixels, "#ffffff", CONFIG.grid)
        assert len(set(plain[background].tolist())) == 1
        np.testing.assert_array_equal(plain[~background], spelled[~background])
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


SPELLED = np.array(
    [
        [7, 7, 7, 7, 7, 7, 7],
        [7, 7, 7, 7, 1, 2, 3],
        [7, 7, 1, 2, 3, 4, 5],
        [1, 2, 3, 4, 5, 6, 7],
    ],
    np.uint16,
)[:, None].repeat(2, axis=1)


@pytest.mark.parametrize(
    ("most", "scenes"),
    [
        (None, {2: [0], 4: [1], 7: [2, 3]}),
        (7, {2: [0], 4: [1], 7: [2, 3]}),
        (6, {2: [0], 4: [1]}),
        (2, {2: [0]}),
    ],
)
def test_scenes_are_sorted_by_how_much_is_drawn(
    monkeypatch: pytest.MonkeyPatch, most: int | None, scenes: dict[int, list[int]]
):
    monkeypatch.setattr(codes, "KEPT", (2, 4, 9))
    monkeypatch.setattr(codes, "GROUND", 1)
    assert {size: found.tolist() for size, found in by_drawn(SPELLED, most).items()} == scenes


def test_where_every_scene_takes_more_it_is_said_how_many(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(codes, "KEPT", (2, 4))
    monkeypatch.setattr(codes, "GROUND", 1)
    with pytest.raises(InvalidValue, match="drawn_codes is 3, but every scene takes 4 codes or more"):
        by_drawn(SPELLED[1:], 3)


@given(seed=st.integers(0, 2**31), count=st.integers(1, 16))
@settings(max_examples=20, deadline=None)
def test_what_is_drawn_is_kept_before_the_ground_and_in_order(seed: int, count: int):
    rng = np.random.default_rng(seed)
    rows = rng.integers(9, size=(5, 16))
    rows[:, 2:11] = 3  # the ground of every row
    kept, weights = drawn_first(rows, count, rng)
    assert kept.shape == weights.shape == (5, count) and (np.diff(kept, axis=1) > 0).all()
    for row, places, stands_for in zip(rows, kept, weights, strict=True):
        drawn = np.flatnonzero(row != 3)
        np.testing.assert_array_equal(places[row[places] != 3], drawn[:count])
        np.testing.assert_array_equal(stands_for[row[places] != 3], 1)
        if count > len(drawn):
            np.testing.assert_allclose(stands_for[row[places] == 3].sum(), (row == 3).sum())
