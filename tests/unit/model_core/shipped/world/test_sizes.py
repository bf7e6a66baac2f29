"""PSNR by the size of things."""

import numpy as np
import pytest

from model_core.codecs.vqgan import VQGANConfig
from model_core.shipped.world import sizes
from model_core.shipped.world.description import Box, Description, Subject
from model_core.shipped.world.scenes import Scene

CONFIG = VQGANConfig(
    resolution=128,
    n_embed=8,
    embed_dim=4,
    z_channels=4,
    ch=4,
    ch_mult=(1, 1),
    num_res_blocks=1,
    attn_resolutions=(),
    norm_num_groups=2,
)


def scene(side: int) -> Scene:
    box = Box(left=10, top=10, right=10 + side, bottom=10 + side)
    description = Description(subjects=(Subject(name="cat"),), style="flat")
    return Scene(pixels=np.zeros((128, 128, 3), np.uint8), caption="", description=description, boxes=((box,),))


def test_errors_are_those_in_the_boxes_of_each_size(monkeypatch: pytest.MonkeyPatch):
    """The stand-in is wrong by 0.1 everywhere, which is 20 dB, and by 1 in the rows from 70 down."""

    def decoded(_config: VQGANConfig, _params: dict, codes: np.ndarray) -> np.ndarray:
        pixels = np.full((len(codes), 128, 128, 3), 0.1, np.float32)
        pixels[:, 70:] = 1.0
        return pixels

    monkeypatch.setattr(sizes.vqgan, "encode_pixels", lambda _config, _params, pixels: np.zeros((len(pixels), 1)))
    monkeypatch.setattr(sizes.vqgan, "decode_codes", decoded)
    found = sizes.psnr_by_size(CONFIG, {}, [scene(30), scene(50), scene(60)] * 6)
    assert list(found) == ["0–35 px", "48–63 px", "whole pictures"]
    assert found["0–35 px"] == pytest.approx((20.0, 6))
    assert found["48–63 px"] == pytest.approx((20.0, 12))
    assert found["whole pictures"][0] < 5
