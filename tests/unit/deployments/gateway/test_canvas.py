import numpy as np
import pytest

from deployments.config import Limits
from deployments.gateway.canvas import read_canvas
from deployments.requests.schemas import Upload
from model_core.errors import InvalidValue
from tests.unit.deployments.api.fake_service import png

LIMITS = Limits(max_upload_pixels=10_000)
CLEAR, OPAQUE = (0, 0, 0, 0), (9, 9, 9, 255)


def test_a_picture_is_cut_and_scaled_to_the_models_size():
    canvas = read_canvas(Upload(images=[png(60, 40)]), 32, LIMITS)
    assert canvas.image.shape == (32, 32, 3) and canvas.alpha is None
    repaint = canvas.repaint((8, 8), keep=0.5)
    assert not repaint[:4].any() and repaint[4:].all()


def test_a_mask_says_what_is_repainted():
    canvas = read_canvas(Upload(images=[png(60, 40)], mask=png(60, 40, "RGBA", CLEAR)), 32, LIMITS)
    assert canvas.repaint((8, 8), keep=0.5).all()


def test_a_pictures_own_transparency_is_a_mask_where_there_is_none():
    assert read_canvas(Upload(images=[png(mode="RGBA", colour=CLEAR)]), 8, LIMITS).repaint((4, 4), 0.5).all()
    assert read_canvas(Upload(images=[png(mode="RGBA", colour=OPAQUE)]), 8, LIMITS).alpha is None


@pytest.mark.parametrize(
    ("upload", "param", "message"),
    [
        (Upload(images=[b"hello"]), "image", "none of PNG"),
        (Upload(images=[png(), b"hello"]), "image", "none of PNG"),
        (Upload(images=[png(200, 200)]), "image", "at most 10000"),
        (Upload(images=[png()], mask=b""), "mask", "none of PNG"),
        (Upload(images=[png()], mask=png()), "mask", "alpha channel"),
        (Upload(images=[png()], mask=png(5, 5, "RGBA", CLEAR)), "mask", "4x4; got 5x5"),
        (Upload(images=[png()], mask=png(4, 4, "RGBA", OPAQUE)), "mask", "Nothing is to be repainted"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(upload: Upload, param: str, message: str):
    with pytest.raises(InvalidValue, match=message) as raised:
        read_canvas(upload, 8, LIMITS)
    assert raised.value.param == param


def test_the_mask_is_cut_as_the_picture_is():
    mask = np.full((4, 8, 4), 255, np.uint8)
    mask[:, :2, 3] = 0  # clear only where the square does not reach
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    with pytest.raises(InvalidValue, match="middle square"):
        read_canvas(Upload(images=[png(8, 4)], mask=buffer.getvalue()), 8, LIMITS)
