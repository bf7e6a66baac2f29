"""Models of other families over HTTP, as users of the API find them, with the stages themselves in this process.

A Janus is served on real Ray, in `tests/serve/test_families.py`. These are the tiny ones of the parity tests, made by
`convert` where they are published as PyTorch's files.
"""

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from deployments.config import AppConfig
from deployments.gateway.gateway import Gateway
from tests.unit.deployments.api.fake_service import ask, events_of
from tests.unit.deployments.real_stages import served
from tests.unit.deployments.tiny_models import make_models

# Of each model: sides of its picture and of its grid, and whether it can be guided.
MODELS = {
    "dalle-pytorch": (32, 8, True),
    "malevich": (16, 8, False),
    "mindalle": (16, 8, False),
    "llamagen": (12, 6, True),
}
PROMPT = "радуга над морем, a red circle"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """All of them behind one gateway; none has a scorer."""
    folders = make_models(tmp_path_factory.mktemp("families"), *MODELS)
    models = [{"id": name, "source": str(folder), "clip_scorer": None} for name, folder in folders.items()]
    with served(AppConfig.model_validate({"models": models})) as gateway:
        yield gateway


def picture(width: int, height: int, alpha: int = 255) -> bytes:
    """A PNG in two colours, navy above orange; its lower half is clear where `alpha` is 0."""
    image = Image.new("RGBA", (width, height), "orange")
    image.paste((0, 0, 128, 255), (0, 0, width, height // 2))
    image.paste((255, 165, 0, alpha), (0, height // 2, width, height))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def post(gateway: Gateway, verb: str, **options: Any) -> httpx.Response:
    return ask(gateway, "POST", f"/v1/images/{verb}", timeout=60, **options)


def draw(gateway: Gateway, model: str, **fields: Any) -> dict[str, Any]:
    asked = {"model": model, "prompt": PROMPT, "response_format": "b64_json"} | fields
    reply = post(gateway, "generations", json=asked)
    assert reply.status_code == 200, reply.text
    return reply.json()


def pixels(b64_json: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(b64_json))).convert("RGB"))


def test_each_model_tells_of_itself(gateway: Gateway):
    listed = {model["id"]: model for model in ask(gateway, "GET", "/v1/models").json()["data"]}
    assert {name: (f"{side}x{side}", guided) for name, (side, _, guided) in MODELS.items()} == {
        name: (model["size"], model["can_be_guided"]) for name, model in listed.items()
    }
    assert not any(model["ranks_images"] for model in listed.values())
    sampling = {name: list(model["sampling"].values()) for name, model in listed.items()}
    assert (sampling["malevich"], sampling["mindalle"]) == ([1.0, 1.0, 2048, 0.995], [1.0, 1.0, 256, 1.0])
    assert sampling["llamagen"] == [7.5, 1.0, 1000, 1.0]


@pytest.mark.parametrize("model", MODELS)
def test_a_seed_means_the_same_picture(gateway: Gateway, model: str):
    side, grid, _ = MODELS[model]
    reply = draw(gateway, model, n=2, seed=3)
    first, second = sorted(reply["data"], key=lambda image: image["seed"])
    assert pixels(first["b64_json"]).shape == (side, side, 3)
    assert (pixels(first["b64_json"]) != pixels(second["b64_json"])).any()
    assert reply["usage"]["output_tokens"] == 2 * grid**2 and reply["usage"]["input_tokens"] > 0
    assert draw(gateway, model, seed=4)["data"][0]["b64_json"] == second["b64_json"]
    assert first["revised_prompt"].strip() and draw(gateway, model, prompt="ещё", seed=3)["data"][0]["b64_json"]


@pytest.mark.parametrize("model", MODELS)
def test_rows_are_shown_while_they_are_drawn(gateway: Gateway, model: str):
    side, grid, _ = MODELS[model]
    asked = {"model": model, "prompt": PROMPT, "stream": True, "partial_images": 3, "seed": 3}
    *shown, last = events_of(post(gateway, "generations", json=asked))
    assert last["type"] == "image_generation.completed" and len(shown) <= 3
    assert last["b64_json"] == draw(gateway, model, seed=3)["data"][0]["b64_json"]
    progress = [event["progress"] * grid for event in shown]
    assert progress == sorted(progress) and all(rows == int(rows) and 0 < rows < grid for rows in progress)
    for event, rows in zip(shown, progress, strict=True):
        assert pixels(event["b64_json"]).shape == (side, side, 3) and rows


@pytest.mark.parametrize("model", MODELS)
def test_what_a_mask_leaves_clear_is_repainted(gateway: Gateway, model: str):
    side, grid, _ = MODELS[model]
    image = picture(side, side, alpha=0)  # its lower half is clear
    fields = {"model": model, "prompt": PROMPT, "seed": "3", "input_fidelity": "high", "response_format": "b64_json"}
    reply = post(gateway, "edits", files={"image": image}, data=fields).json()
    drawn, half = pixels(reply["data"][0]["b64_json"]), side // 2
    assert (drawn[:half] == (0, 0, 128)).all()  # the upload's own pixels
    assert (drawn[half:] != (255, 165, 0)).any()
    assert reply["usage"]["output_tokens"] == grid**2 // 2
    asked = {"model": model, "prompt": PROMPT, "stream": "true", "partial_images": "2", "keep": "0.5"}
    *_, last = events_of(post(gateway, "edits", files={"image": picture(side, side)}, data=asked))
    assert last["type"] == "image_edit.completed"


@pytest.mark.parametrize("model", MODELS)
def test_a_variation_needs_no_words(gateway: Gateway, model: str):
    fields = {"model": model, "n": "2", "response_format": "b64_json"}
    reply = post(gateway, "variations", files={"image": picture(40, 40)}, data=fields)
    assert reply.status_code == 200, reply.text
    assert "nothing here tells what the picture shows" in reply.json()["warning"]
    assert len(reply.json()["data"]) == 2


def test_without_a_scorer_there_is_no_best(gateway: Gateway):
    refused = post(gateway, "generations", json={"model": "malevich", "prompt": PROMPT, "best_of": 4})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "best_of"


@pytest.mark.parametrize("model", [name for name, (_, _, guided) in MODELS.items() if not guided])
def test_a_model_that_cannot_be_guided_says_so(gateway: Gateway, model: str):
    refused = post(gateway, "generations", json={"model": model, "prompt": PROMPT, "guidance_scale": 3})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["param"] == "guidance_scale" and f"{model} cannot be guided" in error["message"]
    warning = draw(gateway, model, negative_prompt="blue")["warning"]
    assert f"{model} cannot be guided" in warning and "try" not in warning


@pytest.mark.parametrize("model", [name for name, (_, _, guided) in MODELS.items() if guided])
def test_guidance_leads_away_from_what_is_not_wanted(gateway: Gateway, model: str):
    pictures = {
        draw(gateway, model, seed=3, guidance_scale=scale, negative_prompt=against)["data"][0]["b64_json"]
        for scale, against in ((1, ""), (6, ""), (6, "a blue square"))
    }
    assert len(pictures) == 3


def test_what_a_model_does_not_read_is_told(gateway: Gateway):
    for model in MODELS:
        reply = draw(gateway, model, prompt=" ".join(["море"] * 200), seed=3)
        assert "is longer than the model reads" in reply["warning"], model
        assert reply["usage"]["input_tokens_details"]["unread_text_tokens"] > 0
