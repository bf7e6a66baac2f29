"""Requests to a model's refiner, through the gateway, with stages whose results can be computed by hand."""

import asyncio
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deployments.api.routes import build_api
from deployments.config import AppConfig, ModelConfig, RefinerConfig, SafetyConfig
from deployments.errors import ContentRefused, InvalidSettings, Overloaded
from deployments.gateway.caller import Caller
from deployments.gateway.gateway import Gateway
from deployments.requests.parsing import parse
from deployments.requests.schemas import GenerationRequest
from model_core.errors import InvalidValue, ModelNotFound
from model_core.pictures.images import encode_png, read_image
from model_core.pictures.provenance import read_notes
from tests.unit.deployments.fakes import FakeRefiner, FakeStage, fake_stages

SIDE = 32  # of the pictures that the codec's configuration speaks of


def make_gateway(folder: Path, stages: dict[str, FakeStage], **refiner: Any) -> Gateway:
    model = ModelConfig(id="fake", source=str(folder), refiner=RefinerConfig(**refiner))
    return Gateway(AppConfig(models=[model]), {"fake": stages}, build_api)


@pytest.fixture
def stages() -> dict[str, FakeStage]:
    return fake_stages() | {"refiner": FakeRefiner()}


@pytest.fixture
def gateway(model_folder: Path, stages: dict[str, FakeStage]) -> Gateway:
    return make_gateway(model_folder, stages)


def refine(gateway: Gateway, **fields: Any) -> dict[str, Any]:
    return asyncio.run(gateway.generate({"prompt": "avocado", "model": "fake:refine", "steps": 4} | fields))


def edit(gateway: Gateway, **fields: Any) -> dict[str, Any]:
    file = encode_png(np.full((SIDE, SIDE, 3), 50, np.uint8))
    return asyncio.run(gateway.edit({"prompt": "avocado", "model": "fake:refine", "steps": 4, "image": file} | fields))


def refined(stages: dict[str, FakeStage]) -> list[Any]:
    return [args[0] for args in stages["refiner"].args_given]


def test_what_is_drawn_is_refined(gateway: Gateway, stages: dict[str, FakeStage]):
    """The best of what was drawn: seeds 6 and 5 of 4…6; their values grow by the steps."""
    reply = refine(gateway, seed=4, n=2, best_of=3)
    assert [(entry["seed"], entry["clip_score"]) for entry in reply["data"]] == [(6, 10.0), (5, 9.0)]
    assert (read_image(reply["data"][0]["image"]) == 10).all()
    assert (reply["model"], reply["size"]) == ("fake:refine", "2x2")
    notes = read_notes(reply["data"][0]["image"])
    assert (notes["seed"], notes["refined"]) == ("6", "4 steps, 16 cutouts, init_weight 3")


def test_noise_and_uploads_are_refined_without_drawing(gateway: Gateway, stages: dict[str, FakeStage]):
    assert refine(gateway, start="noise")["data"][0]["clip_score"] == 104.0
    reply = edit(gateway, n=2, seed=7)
    assert [(entry["seed"], entry["clip_score"]) for entry in reply["data"]] == [(7, 54.0), (8, 54.0)]
    assert not stages["token_sampler"].responses
    assert [asked.init_weight for asked in refined(stages)] == [0.0, 3.0, 3.0]  # noise is not held


def test_prompts_have_weights_and_all_numbers_arrive(gateway: Gateway, stages: dict[str, FakeStage]):
    prompts = [{"text": "stone", "weight": -0.5}, {"text": "green"}]
    edit(gateway, prompts=prompts, cutouts=8, init_weight=2.0, seed=3)
    (asked,) = refined(stages)
    assert asked.texts == (("avocado", 1.0), ("stone", -0.5), ("green", 1.0))
    assert (asked.steps, asked.cutouts, asked.init_weight, asked.seed, asked.size) == (4, 8, 2.0, 3, (SIDE, SIDE))


def test_listed_sizes_are_refined_at_and_others_scaled(model_folder: Path, stages: dict[str, FakeStage]):
    gateway = make_gateway(model_folder, stages, sizes=["64x32"])
    assert refine(gateway, size="64x32", start="noise")["size"] == "64x32"
    assert refine(gateway, size="100x50", start="noise")["size"] == "100x50"
    assert [asked.size for asked in refined(stages)] == [(32, 64), (SIDE, SIDE)]


def test_a_stream_shows_steps(gateway: Gateway):
    fields = {"prompt": "avocado", "model": "fake:refine", "steps": 8, "stream": True, "partial_images": 3, "seed": 1}
    request = parse(GenerationRequest, fields, gateway.config.limits)

    async def run() -> list[Any]:
        return [event async for event in gateway.stream(request, None, Caller())]

    *shown, completed = asyncio.run(run())
    assert [(event["partial_image_index"], event["progress"]) for event in shown] == [(0, 0.25), (1, 0.5), (2, 0.75)]
    values = [int(read_image(event["image"])[0, 0, 0]) for event in shown]
    assert (values, completed["clip_score"]) == ([3, 5, 7], 9.0)


def test_the_same_again_is_found_and_never_taken_for_a_drawing(gateway: Gateway, stages: dict[str, FakeStage]):
    first, again = refine(gateway, seed=3), refine(gateway, seed=3)
    assert first["data"] == again["data"] and len(refined(stages)) == 1
    drawn = asyncio.run(gateway.generate({"prompt": "avocado", "seed": 3}))
    assert drawn["data"][0]["clip_score"] == 3.0


def test_steps_wait_in_a_line_of_their_own_and_drawings_do_not(model_folder: Path, stages: dict[str, FakeStage]):
    async def check() -> None:
        gateway = make_gateway(model_folder, stages, max_pending_steps=10)
        stages["refiner"].delay_s = 0.05
        fields = {"prompt": "avocado", "model": "fake:refine", "steps": 6, "start": "noise"}
        running = asyncio.create_task(gateway.generate(fields))
        while not stages["refiner"].responses:
            await asyncio.sleep(0.001)
        with pytest.raises(Overloaded, match="6 steps are waiting to be made, and 10 may; there is room for 4"):
            await gateway.generate(fields)
        await gateway.generate({"prompt": "avocado", "n": 4})
        state = gateway._admission
        assert (state.pending_images, state.is_idle) == (0, False)
        await running
        assert state.is_idle

    asyncio.run(check())


class Counting(Caller):
    charged = 0

    async def charge(self, num_images: int) -> None:
        self.charged += num_images


@pytest.mark.parametrize(
    ("fields", "charged"),
    [({"n": 2, "best_of": 3}, 3 + 10), ({"start": "noise"}, 5), ({"cutouts": 32, "start": "noise"}, 9)],
)
def test_a_key_pays_for_what_is_drawn_and_for_the_steps(gateway: Gateway, fields: dict[str, Any], charged: int):
    caller = Counting()
    request = GenerationRequest.model_validate({"prompt": "a", "model": "fake:refine", "steps": 20} | fields)
    asyncio.run(gateway.draw(request, None, caller))
    assert caller.charged == charged


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 301}, "steps must be at most 300, got 301"),
        ({"cutouts": 65}, "cutouts must be at most 64, got 65"),
        ({"steps": 300, "n": 5}, "takes as long as 1500 steps, and at most 1200"),
        ({"start": "noise", "best_of": 2}, "best_of chooses among drawings"),
        ({"prompts": [{"text": "a", "weight": 0}]}, "other than 0"),
        ({"prompts": [{"text": "a", "wait": 1}]}, r"prompts\[0\].wait"),
    ],
)
def test_what_cannot_be_is_refused(gateway: Gateway, fields: dict[str, Any], message: str):
    with pytest.raises(InvalidValue, match=message):
        refine(gateway, **fields)


def test_variations_are_drawn_not_refined(gateway: Gateway):
    fields = {"model": "fake:refine", "image": encode_png(np.zeros((SIDE, SIDE, 3), np.uint8))}
    with pytest.raises(InvalidValue, match="ask fake for them"):
        asyncio.run(gateway.vary(fields))


def test_a_picture_is_refined_as_a_whole(gateway: Gateway):
    clear = io.BytesIO()
    Image.new("RGBA", (SIDE, SIDE)).save(clear, "PNG")
    for fields, param in (({"mask": clear.getvalue()}, "mask"), ({"input_fidelity": "high"}, "input_fidelity")):
        with pytest.raises(InvalidValue, match="as a whole") as raised:
            edit(gateway, **fields)
        assert raised.value.param == param


@pytest.mark.parametrize("fields", [{"steps": 4}, {"init_weight": 1.0}, {"prompts": []}, {"start": "noise"}])
def test_its_fields_go_with_no_model_that_draws(gateway: Gateway, fields: dict[str, Any]):
    with pytest.raises(InvalidValue, match="goes with models that refine alone, such as fake:refine"):
        asyncio.run(gateway.generate({"prompt": "avocado"} | fields))


def test_each_of_its_prompts_is_held_against_the_policy(model_folder: Path, tmp_path: Path, stages: Any):
    (policy := tmp_path / "policy.txt").write_text("gun\n")
    model = ModelConfig(id="fake", source=str(model_folder), refiner=RefinerConfig())
    config = AppConfig(models=[model], safety=SafetyConfig(prompt_policy_file=str(policy)))
    with pytest.raises(ContentRefused):
        refine(Gateway(config, {"fake": stages}, build_api), prompts=[{"text": "a gun"}])


def test_a_refiner_is_a_model_of_its_own_where_there_is_one(gateway: Gateway, model_folder: Path, stages: Any):
    assert [(model["id"], model["refines"]) for model in gateway.list_models()] == [
        ("fake", None),
        ("fake:refine", "fake"),
    ]
    without = Gateway(AppConfig(models=[ModelConfig(id="fake", source=str(model_folder))]), {"fake": stages}, build_api)
    with pytest.raises(ModelNotFound, match="Known are: fake"):
        refine(without)


@pytest.mark.parametrize(
    ("codec", "sizes", "message"),
    [
        (None, ["30x32"], "its width must be a multiple of 4"),
        ("openai_dvae", [], "codec openai_dvae cannot be refined"),
    ],
)
def test_settings_that_cannot_be_are_told_at_the_start(
    model_folder: Path, stages: Any, codec: str | None, sizes: list[str], message: str
):
    if codec:
        parts = (
            '{"encoder": {"n_hid": 4, "vocab_size": 64}, "decoder": {"n_hid": 4, "vocab_size": 64}, "resolution": 64'
        )
        (model_folder / "vqgan" / "config.json").write_text(parts + f', "model_type": "{codec}"}}')
    with pytest.raises(InvalidSettings, match=message):
        make_gateway(model_folder, stages, sizes=sizes)
