"""Every other family over HTTP, in one application of several models: as a user of the API finds them.

The models are the tiny ones of the parity tests, made by `convert` where they are published as PyTorch's files.
"""

import base64
import io
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from deployments.local import LocalService
from tests.serve.conftest import FIXTURES
from tests.serve.test_openai_client import picture
from tests.serve.test_service import PATIENCE_S

APP, PREFIX = "families", "/families"
# Of each model: sides of its picture and of its grid, and whether it can be guided.
MODELS = {
    "dalle-pytorch": (32, 8, True),
    "malevich": (16, 8, False),
    "mindalle": (16, 8, False),
    "janus": (12, 6, True),
    "llamagen": (12, 6, True),
}
PROMPT = "радуга над морем, a red circle"
LITTLE = {"num_cpus": 0.01}


def make_models(folder: Path) -> dict[str, Path]:
    """The folders that `serve` takes, by the model's id."""
    from model_core.conversion.convert import convert

    found = {name: folder / name for name in MODELS}
    published = folder / "published"
    kept = shutil.ignore_patterns("goldens*", "model.safetensors", "clip")
    for fixture, name in (("dp-rotary", "dalle-pytorch"), ("rudalle", "malevich"), ("mindalle", "mindalle")):
        shutil.copytree(FIXTURES / fixture, published / fixture, ignore=kept)
        if name == "mindalle":  # the codec of the fixture is another fixture's
            shutil.copy(FIXTURES / "dp-taming" / "vqgan.model.ckpt", published / fixture / "stage1_last.ckpt")
        found[name].mkdir()
        convert(published / fixture, found[name], name, None, [])
    shutil.copytree(FIXTURES / "janus-tiny", found["janus"], ignore=shutil.ignore_patterns("goldens*"))
    shutil.copytree(FIXTURES / "llamagen-tiny", found["llamagen"], ignore=shutil.ignore_patterns("goldens*", "*.pt"))
    vq = found["llamagen"] / "vq" / "config.json"
    vq.write_text(json.dumps(json.loads(vq.read_text()) | {"resolution": 12}))
    card = {"id": "llamagen", "licence": "MIT", "size": 12, "description": "random weights"}
    card["sampling"] = {"guidance_scale": 7.5, "temperature": 1.0, "top_k": 1000, "top_p": 1.0}
    card["parts"] = {"sampler": "gpt", "codec": "vq", "text": "t5-ckpt/flan-t5-xl"}
    (found["llamagen"] / "model.json").write_text(json.dumps(card))
    return found


@pytest.fixture(scope="module")
def families(service: LocalService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A second application on the running cluster; Janus is ranked by a CLIP beside it."""
    from ray import serve

    from deployments.app import build_app
    from deployments.config import AppConfig

    folders = make_models(tmp_path_factory.mktemp("families"))
    ranked = LITTLE | {"source": str(FIXTURES / "clip-tiny")}
    stages = dict.fromkeys(("text_encoder", "token_sampler", "image_decoder"), LITTLE)
    models = [
        {"id": name, "source": str(folder), **stages, "clip_scorer": ranked if name == "janus" else None}
        for name, folder in folders.items()
    ]
    app = build_app(AppConfig.model_validate({"models": models, "gateway": LITTLE}))
    serve.run_many([serve.RunTarget(target=app, name=APP, route_prefix=PREFIX)], wait_for_applications_running=False)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while (state := serve.status().applications[APP]).status != "RUNNING":
            assert state.status != "DEPLOY_FAILED" and time.monotonic() < deadline, state
            time.sleep(0.2)
        with httpx.Client(base_url=f"{service.url}{PREFIX}", timeout=60) as client:
            yield client
    finally:
        serve.delete(APP)


def draw(families: httpx.Client, model: str, **fields: Any) -> dict[str, Any]:
    asked = {"model": model, "prompt": PROMPT, "response_format": "b64_json"} | fields
    reply = families.post("/v1/images/generations", json=asked)
    assert reply.status_code == 200, reply.text
    return reply.json()


def pixels(b64_json: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(b64_json))).convert("RGB"))


def events(reply: httpx.Response) -> list[dict[str, Any]]:
    assert reply.status_code == 200, reply.text
    return [json.loads(line.removeprefix("data: ")) for line in reply.text.splitlines() if line.startswith("data: ")]


def test_each_model_tells_of_itself(families: httpx.Client):
    listed = {model["id"]: model for model in families.get("/v1/models").json()["data"]}
    assert {name: (f"{side}x{side}", guided) for name, (side, _, guided) in MODELS.items()} == {
        name: (model["size"], model["can_be_guided"]) for name, model in listed.items()
    }
    assert [name for name, model in listed.items() if model["ranks_images"]] == ["janus"]
    sampling = {name: list(model["sampling"].values()) for name, model in listed.items()}
    assert (sampling["malevich"], sampling["mindalle"]) == ([1.0, 1.0, 2048, 0.995], [1.0, 1.0, 256, 1.0])
    assert (sampling["janus"], sampling["llamagen"]) == ([5.0, 1.0, 0, 1.0], [7.5, 1.0, 1000, 1.0])


@pytest.mark.parametrize("model", MODELS)
def test_a_seed_means_the_same_picture(families: httpx.Client, model: str):
    side, grid, _ = MODELS[model]
    reply = draw(families, model, n=2, seed=3)
    first, second = sorted(reply["data"], key=lambda image: image["seed"])
    assert pixels(first["b64_json"]).shape == (side, side, 3)
    assert (pixels(first["b64_json"]) != pixels(second["b64_json"])).any()
    assert reply["usage"]["output_tokens"] == 2 * grid**2 and reply["usage"]["input_tokens"] > 0
    assert draw(families, model, seed=4)["data"][0]["b64_json"] == second["b64_json"]
    assert first["revised_prompt"].strip() and draw(families, model, prompt="ещё", seed=3)["data"][0]["b64_json"]


@pytest.mark.parametrize("model", MODELS)
def test_rows_are_shown_while_they_are_drawn(families: httpx.Client, model: str):
    side, grid, _ = MODELS[model]
    asked = {"model": model, "prompt": PROMPT, "stream": True, "partial_images": 3, "seed": 3}
    *shown, last = events(families.post("/v1/images/generations", json=asked))
    assert last["type"] == "image_generation.completed" and len(shown) <= 3
    assert last["b64_json"] == draw(families, model, seed=3)["data"][0]["b64_json"]
    progress = [event["progress"] * grid for event in shown]
    assert progress == sorted(progress) and all(rows == int(rows) and 0 < rows < grid for rows in progress)
    for event, rows in zip(shown, progress, strict=True):
        assert pixels(event["b64_json"]).shape == (side, side, 3) and rows


@pytest.mark.parametrize("model", MODELS)
def test_what_a_mask_leaves_clear_is_repainted(families: httpx.Client, model: str):
    side, grid, _ = MODELS[model]
    image = picture(2 * side, 2 * side, alpha=0)  # its lower half is clear
    fields = {"model": model, "prompt": PROMPT, "seed": "3", "input_fidelity": "high", "response_format": "b64_json"}
    reply = families.post("/v1/images/edits", files={"image": image}, data=fields).json()
    drawn, half = pixels(reply["data"][0]["b64_json"]), side // 2
    assert (drawn[:half] == (0, 0, 128)).all()  # the upload's own pixels
    assert (drawn[half:] != (255, 165, 0)).any()
    assert reply["usage"]["output_tokens"] == grid**2 // 2
    asked = {"model": model, "prompt": PROMPT, "stream": "true", "partial_images": "2", "keep": "0.5"}
    *_, last = events(families.post("/v1/images/edits", files={"image": picture(side, side)}, data=asked))
    assert last["type"] == "image_edit.completed"


@pytest.mark.parametrize("model", MODELS)
def test_a_variation_needs_no_words(families: httpx.Client, model: str):
    fields = {"model": model, "n": "2", "response_format": "b64_json"}
    reply = families.post("/v1/images/variations", files={"image": picture()}, data=fields)
    assert reply.status_code == 200, reply.text
    assert "nothing here tells what the picture shows" in reply.json()["warning"]
    assert len(reply.json()["data"]) == 2


def test_a_model_without_a_scorer_is_ranked_by_one_beside_it(families: httpx.Client):
    scores = [image["clip_score"] for image in draw(families, "janus", n=2, best_of=5, seed=1)["data"]]
    assert scores == sorted(scores, reverse=True) and scores[0] > scores[1]
    refused = families.post("/v1/images/generations", json={"model": "malevich", "prompt": PROMPT, "best_of": 4})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "best_of"


@pytest.mark.parametrize("model", [name for name, (_, _, guided) in MODELS.items() if not guided])
def test_a_model_that_cannot_be_guided_says_so(families: httpx.Client, model: str):
    refused = families.post("/v1/images/generations", json={"model": model, "prompt": PROMPT, "guidance_scale": 3})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["param"] == "guidance_scale" and f"{model} cannot be guided" in error["message"]
    warning = draw(families, model, negative_prompt="blue")["warning"]
    assert f"{model} cannot be guided" in warning and "try" not in warning


@pytest.mark.parametrize("model", [name for name, (_, _, guided) in MODELS.items() if guided])
def test_guidance_leads_away_from_what_is_not_wanted(families: httpx.Client, model: str):
    pictures = {
        draw(families, model, seed=3, guidance_scale=scale, negative_prompt=against)["data"][0]["b64_json"]
        for scale, against in ((1, ""), (6, ""), (6, "a blue square"))
    }
    assert len(pictures) == 3


def test_what_a_model_does_not_read_is_told(families: httpx.Client):
    for model in MODELS:
        reply = draw(families, model, prompt=" ".join(["море"] * 200), seed=3)
        assert "is longer than the model reads" in reply["warning"], model
        assert reply["usage"]["input_tokens_details"]["unread_text_tokens"] > 0


def test_other_sizes_are_scaled_and_links_work_below_a_prefix(families: httpx.Client):
    reply = draw(families, "janus", size="64x48", response_format="url", n=1)
    assert (reply["size"], reply["native_size"]) == ("64x48", "12x12")
    found = httpx.get(reply["data"][0]["url"], timeout=30)
    assert Image.open(io.BytesIO(found.content)).size == (64, 48)
    page = families.get("/")
    assert page.status_code == 200 and "dalle-serve" in page.text
