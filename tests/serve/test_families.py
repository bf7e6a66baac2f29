"""A Janus on real Ray, ranked by a CLIP beside it, in an application of its own below a prefix.

The other families over HTTP are tested with their stages in one process: `tests/unit/deployments/test_families.py`.
"""

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from deployments.local import LocalService
from tests.serve.test_openai_client import picture
from tests.serve.test_service import PATIENCE_S

APP, PREFIX = "families", "/families"
LITTLE = {"num_cpus": 0.01}


@pytest.fixture(scope="module")
def families(service: LocalService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A second application on the running cluster."""
    from ray import serve

    from deployments.app import build_app
    from deployments.config import AppConfig
    from tests.unit.deployments.tiny_models import FIXTURES, make_models

    folders = make_models(tmp_path_factory.mktemp("families"), "janus")
    stages = dict.fromkeys(("text_encoder", "token_sampler", "image_decoder"), LITTLE)
    ranked = {"clip_scorer": LITTLE | {"source": str(FIXTURES / "clip-tiny")}}
    models = [{"id": name, "source": str(folder), **stages, **ranked} for name, folder in folders.items()]
    app = build_app(AppConfig.model_validate({"models": models, "gateway": LITTLE}))
    target = serve.RunTarget(target=app, name=APP, route_prefix=PREFIX)
    serve.run_many([target], wait_for_applications_running=False)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while (state := serve.status().applications[APP]).status != "RUNNING":
            assert state.status != "DEPLOY_FAILED" and time.monotonic() < deadline, state
            time.sleep(0.2)
        with httpx.Client(base_url=f"{service.url}{PREFIX}", timeout=60) as client:
            yield client
    finally:
        serve.delete(APP)


def test_it_is_drawn_and_ranked(families: httpx.Client):
    def draw(**fields: Any) -> dict[str, Any]:
        asked = {"prompt": "a red circle", "response_format": "b64_json", "seed": 3} | fields
        reply = families.post("/v1/images/generations", json=asked)
        assert reply.status_code == 200, reply.text
        return reply.json()

    (model,) = families.get("/v1/models").json()["data"]
    assert (model["id"], model["size"], model["ranks_images"], model["can_be_guided"]) == ("janus", "12x12", True, True)
    assert model["sampling"] == {"guidance_scale": 5.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    reply = draw(n=2, best_of=5)
    best, second = reply["data"]
    assert best["clip_score"] > second["clip_score"] and reply["usage"]["output_tokens"] == 5 * 36
    assert draw(seed=best["seed"])["data"][0]["b64_json"] == best["b64_json"]
    pictures = {
        draw(guidance_scale=scale, negative_prompt=against)["data"][0]["b64_json"]
        for scale, against in ((1, ""), (6, ""), (6, "a blue square"))
    }
    assert len(pictures) == 3
    told = draw(prompt=" ".join(["word"] * 200))
    assert "is longer than the model reads" in told["warning"]


def test_it_is_shown_row_by_row_while_it_is_drawn_and_repainted(families: httpx.Client):
    asked = {"prompt": "a red circle", "stream": True, "partial_images": 3, "seed": 3}
    drawn = events(families.post("/v1/images/generations", json=asked))
    fields = {"prompt": "a red circle", "stream": "true", "partial_images": "3", "keep": "0.5"}
    repainted = events(families.post("/v1/images/edits", files={"image": picture()}, data=fields))
    assert (drawn[-1]["type"], repainted[-1]["type"]) == ("image_generation.completed", "image_edit.completed")
    for told, first in ((drawn, 0), (repainted, 3)):
        rows = [event["progress"] * 6 for event in told[:-1]]
        assert rows == sorted(rows) and all(first < row < 6 and row == int(row) for row in rows)


def test_a_variation_needs_no_words(families: httpx.Client):
    reply = families.post("/v1/images/variations", files={"image": picture()}, data={"n": "2"})
    assert reply.status_code == 200 and len(reply.json()["data"]) == 2
    assert "nothing here tells what the picture shows" in reply.json()["warning"]


def events(reply: httpx.Response) -> list[dict[str, Any]]:
    assert reply.status_code == 200, reply.text
    return [json.loads(line.removeprefix("data: ")) for line in reply.text.splitlines() if line.startswith("data: ")]


def test_links_and_the_page_work_below_a_prefix(families: httpx.Client):
    fields = {"prompt": "a red circle", "size": "64x48", "response_format": "url"}
    reply = families.post("/v1/images/generations", json=fields).json()
    found = httpx.get(reply["data"][0]["url"], timeout=30)
    assert (reply["native_size"], Image.open(io.BytesIO(found.content)).size) == ("12x12", (64, 48))
    assert "dalle-serve" in families.get("/").text
