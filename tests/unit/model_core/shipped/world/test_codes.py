"""Scenes as codes in shards."""

from pathlib import Path

import jax
import numpy as np
import pytest

from model_core.codecs.vqgan import VQGAN, VQGANConfig
from model_core.errors import InvalidValue
from model_core.families.conditions import Grid
from model_core.shipped.world import codes
from model_core.shipped.world.codes import few_drawn, read_codes, shows_only, write_codes
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


def test_scenes_of_which_little_is_drawn_are_found():
    codes = np.zeros((4, 2, 6), np.uint16)
    codes[:, 1] = [[7, 7, 7, 7, 7, 7], [7, 7, 7, 7, 1, 2], [7, 7, 1, 2, 3, 4], [1, 2, 3, 4, 5, 6]]
    assert [few_drawn(codes, most).tolist() for most in (0, 2, 4, 5)] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]


def test_where_every_scene_draws_more_it_is_said_how_many():
    codes = np.arange(6, dtype=np.uint16)[None, None].repeat(2, axis=1)
    with pytest.raises(InvalidValue, match="kept_codes is 4, but every scene draws 5 codes"):
        few_drawn(codes, 4)
