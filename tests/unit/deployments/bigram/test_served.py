"""A family of a few lines is served through all four stages: all it takes is its folder and a line of a dict."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from deployments.config import AppConfig, ModelConfig
from deployments.gateway.gateway import Gateway
from model_core import families
from model_core.pictures.images import read_image
from model_core.pipeline import Pipeline
from tests.unit.deployments.real_stages import served

FIXTURES = Path(__file__).parents[3] / "parity" / "fixtures"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bigram with the codec and the scorer of other tests."""
    folder = tmp_path_factory.mktemp("models") / "bigram"
    for part in ("vqgan", "clip"):
        shutil.copytree(FIXTURES / f"{part}-tiny", folder / part, ignore=shutil.ignore_patterns("goldens*"))
    (folder / "bigram").mkdir()
    config = {"model_type": "bigram", "side": 8, "codebook": 70, "text_length": 12}
    (folder / "bigram" / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(0)
    tables = {"next": (71, 70), "letters": (128, 70)}
    weights = {name: (rng.normal(size=shape) * 0.2).astype(np.float32) for name, shape in tables.items()}
    save_file(weights, folder / "bigram" / "model.safetensors")
    sampling = {"guidance_scale": 3.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    card = {"id": "bigram", "licence": "none", "size": 32, "sampling": sampling, "description": "random"}
    (folder / "model.json").write_text(json.dumps(card | {"parts": {"sampler": "bigram"}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(families.FAMILIES, "bigram", "tests.unit.deployments.bigram")
        yield folder


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[Gateway]:
    with served(AppConfig(models=[ModelConfig(id="bigram", source=str(folder))])) as gateway:
        yield gateway


def test_it_is_served_through_all_four_stages(gateway: Gateway):
    fields = {"prompt": "Letters!", "n": 2, "best_of": 3, "seed": 1, "negative_prompt": "no"}
    reply = asyncio.run(asyncio.wait_for(gateway.generate(fields), 120))
    best, second = reply["data"]
    assert best["clip_score"] > second["clip_score"]
    assert read_image(best["image"]).shape == (32, 32, 3)
    assert best["revised_prompt"] == "Letters!"
    assert reply["usage"]["input_tokens"] == len("Letters!") + len("no")
    again = asyncio.run(asyncio.wait_for(gateway.generate(fields | {"n": 1, "best_of": 1, "seed": best["seed"]}), 120))
    assert again["data"][0]["image"] == best["image"]


def test_what_is_served_is_what_is_drawn_in_process(gateway: Gateway, folder: Path):
    (drawn,) = Pipeline.from_model(folder).generate("Letters!", seed=5)
    fields = {"prompt": "Letters!", "seed": 5}
    reply = asyncio.run(asyncio.wait_for(gateway.generate(fields), 120))
    np.testing.assert_array_equal(read_image(reply["data"][0]["image"]), drawn.image)
    assert drawn.codes.max() < 64  # the codec has no vector for the other ids


def test_greedy_codes_are_the_likeliest_of_its_logits(folder: Path):
    family, config, params = families.load(folder / "bigram")
    prompt, nothing = family.open_text(folder / "bigram")("Letters!")
    codes = families.generate(family, config, params, [prompt], [nothing], guidance_scale=2.0, greedy=True)
    scores = [
        np.asarray(family.logits(config, params, each.values[None], each.mask[None], codes[:, :-1]))
        for each in (prompt, nothing)
    ]
    np.testing.assert_array_equal((scores[1] + 2 * (scores[0] - scores[1])).argmax(-1), codes)
