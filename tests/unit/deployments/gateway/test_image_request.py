"""Requests on their way, with a pipeline whose results can be computed by hand."""

import asyncio
import dataclasses
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deployments.config import AppConfig, FilesConfig, ModelConfig, SafetyConfig
from deployments.errors import ContentRefused
from deployments.flow.previews import Preview
from deployments.gateway.image_request import ImageRequest, preview_rows
from deployments.gateway.replies import completed_events, wire_event
from deployments.gateway.served_model import ServedModel
from deployments.requests.schemas import DrawingRequest, EditRequest, GenerationRequest, Upload, VariationRequest
from deployments.telemetry import degraded
from model_core.errors import InvalidValue
from model_core.families.conditions import EncodedPrompt
from model_core.pictures import images
from model_core.pictures.images import VEIL
from model_core.pictures.provenance import read_notes
from model_core.scorers.ranking import RankedImage
from model_core.vocabulary import Vocabulary
from tests.unit.deployments.api.fake_service import png
from tests.unit.deployments.fakes import encoded, fake_stages

SIDE, NUM_CODES = 32, 64


class FakePipeline:
    """An image is all of its seed, its score too. An encoded image is codes 0…63."""

    def __init__(self) -> None:
        self.told = "A picture"
        self.options: dict[str, Any] = {}
        self.negative: str | None = None
        self.encoded: np.ndarray | None = None
        self.num_closed = 0
        self.away: list[list[str]] = []
        self.waking = self  # it wakes its stages itself

    async def waiting_for(self, timeout_s: float) -> AsyncGenerator[list[str], None]:
        for away in self.away:
            yield away

    async def encode_prompt(self, prompt: str, negative_prompt: str | None, **_: Any) -> EncodedPrompt:
        self.negative = negative_prompt
        return encoded(prompt, negative_prompt)

    async def generate(self, prompt: str, text: EncodedPrompt, **options: Any) -> list[RankedImage]:
        self.options = {"prompt": prompt} | options
        drawn = [RankedImage(image=image_of(seed), codes=np.arange(64, dtype=np.int32), seed=seed, score=float(seed))
                 for seed in options["seeds"]]  # fmt: skip
        return sorted(drawn, key=lambda image: -image.seed)[: options["n"]]

    async def stream(
        self, prompt: str, text: EncodedPrompt, *, preview_rows: tuple[int, ...], preview_images: int, **options: Any
    ) -> AsyncIterator[Any]:
        try:
            for row in preview_rows:
                for index in range(preview_images):
                    yield Preview(image_index=index, num_codes=8 * row, image=image_of(options["seeds"][index]))
            yield await self.generate(prompt, text, **options)
        finally:
            self.num_closed += 1

    async def tell(self, image: np.ndarray, *, timeout_s: float) -> str:
        assert image.shape == (SIDE, SIDE, 3) and timeout_s > 0
        return self.told

    async def encode_image(self, image: np.ndarray, *, timeout_s: float) -> np.ndarray:
        self.encoded = image
        return np.arange(NUM_CODES)


def image_of(seed: int) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), seed % 256, np.uint8)


@pytest.fixture
def model(model_folder: Path) -> ServedModel:
    card = json.loads((model_folder / "model.json").read_text())
    (model_folder / "model.json").write_text(json.dumps(card | {"size": SIDE}))

    async def make() -> ServedModel:
        stages = fake_stages()
        return ServedModel(ModelConfig(id="fake", source=str(model_folder)), stages, images_in_flight=2)

    made = asyncio.run(make())
    made.pipeline = FakePipeline()  # type: ignore[assignment]
    return made


def draw(model: ServedModel, request: DrawingRequest, upload: Upload | None = None, **config: Any) -> dict[str, Any]:
    return asyncio.run(ImageRequest(request, upload, model, AppConfig(**config)).draw())


def events(model: ServedModel, request: DrawingRequest, upload: Upload | None = None, **config: Any) -> list[Any]:
    async def collect() -> list[Any]:
        *previews, reply = [item async for item in ImageRequest(request, upload, model, AppConfig(**config)).stream()]
        return previews + completed_events(reply)

    return asyncio.run(collect())


def pixels(file: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(file)) as image:
        return np.array(image.convert("RGB"))


def test_seeds_follow_each_other_and_wrap_around(model: ServedModel):
    reply = draw(model, GenerationRequest(prompt="a", n=2, best_of=3, seed=2**32 - 1))
    assert model.pipeline.options["seeds"] == [2**32 - 1, 0, 1]
    assert [image["seed"] for image in reply["data"]] == [2**32 - 1, 1]


def test_what_is_counted_is_what_was_read_and_drawn(model: ServedModel):
    def counts(**fields: Any) -> tuple[int, int]:
        usage = draw(model, GenerationRequest(prompt="avocado", **fields))["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
        return usage["input_tokens"], usage["output_tokens"]

    words, codes = counts()
    assert (words, codes) == (len("avocado"), NUM_CODES)
    assert counts(best_of=5) == (words, 5 * NUM_CODES)
    assert counts(negative_prompt="red") == (words + 3, NUM_CODES)
    assert counts(negative_prompt="red", guidance_scale=1.0) == (words, NUM_CODES)  # it is not read


def test_without_guidance_there_is_nothing_to_lead_away_from(model: ServedModel):
    draw(model, GenerationRequest(prompt="a"))
    assert model.pipeline.negative == ""
    draw(model, GenerationRequest(prompt="a", guidance_scale=1.0))
    assert model.pipeline.negative is None


def test_the_prompt_is_shown_as_the_model_reads_it(model: ServedModel):
    (image,) = draw(model, GenerationRequest(prompt="An AVOCADO"))["data"]
    assert image["revised_prompt"] == "an avocado"


def test_a_reply_without_scores_says_why(model: ServedModel, monkeypatch: pytest.MonkeyPatch):
    assert "warning" not in draw(model, GenerationRequest(prompt="a"))

    async def unscored(prompt: str, text: EncodedPrompt, **options: Any) -> list[RankedImage]:
        return [RankedImage(image=image_of(1), codes=np.arange(64, dtype=np.int32), seed=1, score=None)]

    monkeypatch.setattr(model.pipeline, "generate", unscored)
    reply = draw(model, GenerationRequest(prompt="a"))
    assert reply["data"][0]["clip_score"] is None and "not ranked" in reply["warning"]


def test_a_negative_prompt_that_does_nothing_is_said(model: ServedModel):
    assert "warning" not in draw(model, GenerationRequest(prompt="a", negative_prompt="b", guidance_scale=1.5))
    reply = draw(model, GenerationRequest(prompt="a", negative_prompt="b", guidance_scale=1.0))
    assert "negative_prompt" in reply["warning"] and "try 1.5" in reply["warning"]


def test_a_model_that_cannot_be_guided_is_not_told_to_be(model: ServedModel):
    model.can_be_guided = False
    model.sampling = model.sampling | {"guidance_scale": 1.0}
    reply = draw(model, GenerationRequest(prompt="a", negative_prompt="b"))
    assert "fake cannot be guided" in reply["warning"] and "try" not in reply["warning"]
    assert "warning" not in draw(model, GenerationRequest(prompt="a", guidance_scale=1.0))
    for scale in (0.0, 2.5):
        with pytest.raises(InvalidValue, match=f"fake cannot be guided.*got {scale:g}") as raised:
            draw(model, GenerationRequest(prompt="a", guidance_scale=scale))
        assert raised.value.param == "guidance_scale"


def test_words_that_a_model_was_never_taught_are_said(model: ServedModel):
    assert "warning" not in draw(model, GenerationRequest(prompt="a flag of Bhutan"))  # its card tells nothing
    model.vocabulary = Vocabulary(["red flag"])
    assert "taught the words 'bhutan'" in draw(model, GenerationRequest(prompt="a flag of Bhutan"))["warning"]
    assert "warning" not in draw(model, GenerationRequest(prompt="red flags"))


def test_a_score_that_known_prompts_hardly_ever_have_is_said(model: ServedModel):
    for low, said in ((None, False), (-1.0, False), (1e12, True)):
        model.bundle = dataclasses.replace(model.bundle, low_score=low)
        assert ("hardly ever" in draw(model, GenerationRequest(prompt="a", n=2)).get("warning", "")) == said


def test_a_prompt_that_is_cut_is_said(model: ServedModel, monkeypatch: pytest.MonkeyPatch):
    async def cut(prompt: str, negative: str | None, **_: Any) -> EncodedPrompt:
        unread = {"num_unread": max(0, len(prompt) - 9), "num_negative_unread": max(0, len(negative or "") - 9)}
        return dataclasses.replace(encoded(prompt[:9], (negative or "")[:9]), **unread)

    monkeypatch.setattr(model.pipeline, "encode_prompt", cut)
    for prompt, negative, said in (("a" * 20, "", ["prompt"]), ("a" * 20, "b" * 12, ["prompt", "negative_prompt"]),
                                   ("a" * 9, "b" * 12, ["negative_prompt"]), ("a" * 9, "b" * 9, [])):  # fmt: skip
        reply = draw(model, GenerationRequest(prompt=prompt, negative_prompt=negative, n=2))
        told = [line for line in ("prompt", "negative_prompt") if f" {line} is longer" in f" {reply.get('warning')}"]
        assert told == said
        unread = (11 if "prompt" in said else 0) + (3 if "negative_prompt" in said else 0)
        assert reply["usage"]["input_tokens_details"].get("unread_text_tokens", 0) == unread
        assert reply["usage"]["input_tokens"] == 9 + min(len(negative), 9)
        assert {image["revised_prompt"] for image in reply["data"]} == {"a" * 9}
    *_, completed = events(model, GenerationRequest(prompt="a" * 20, stream=True))
    assert "first 9 tokens were read, 11 were not" in completed["warning"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [(quality, quality) for quality in ("low", "medium", "high", "xhigh", "max", "standard", "hd")]
    + [("auto", "high"), ("", "high")],
)
def test_the_quality_that_was_asked_for_comes_back(model: ServedModel, asked: Any, told: str):
    assert draw(model, GenerationRequest(prompt="a", quality=asked))["quality"] == told
    stream = GenerationRequest(prompt="a", quality=asked, stream=True, partial_images=1)
    assert {event["quality"] for event in events(model, stream)} == {told}


def test_an_empty_file_that_counts_as_not_given_is_said(model: ServedModel):
    reply = draw(model, EditRequest(prompt="a", keep=0.25), Upload(images=[png(10, 20)], empty=("mask",)))
    assert "mask is empty" in reply["warning"]
    assert model.pipeline.options["fixed_codes"].tolist() == [*range(16), *[-1] * 48]


def test_sizes_are_exact_and_said(model: ServedModel):
    for size, expected in (("auto", (32, 32)), ("64x48", (64, 48)), ("16x16", (16, 16))):
        reply = draw(model, GenerationRequest(prompt="a", size=size, seed=5))
        picture = pixels(reply["data"][0]["image"])
        assert (picture.shape[1], picture.shape[0]) == expected
        assert (picture == 5).all()
        assert (reply["size"], reply["native_size"]) == (f"{expected[0]}x{expected[1]}", "32x32")


def on_plain_ground(model: ServedModel, monkeypatch: pytest.MonkeyPatch, *, but: tuple[int, ...] = ()) -> None:
    """Has the model draw a red square on white, but on no plain ground where the seed is one of `but`."""
    plain = np.full((SIDE, SIDE, 3), 255, np.uint8)
    plain[8:24, 8:24] = (200, 0, 0)
    mixed = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)

    async def generate(prompt: str, text: EncodedPrompt, **options: Any) -> list[RankedImage]:
        codes = np.arange(64, dtype=np.int32)
        return [RankedImage(image=mixed if seed in but else plain, codes=codes, seed=seed, score=1.0)
                for seed in options["seeds"]]  # fmt: skip

    monkeypatch.setattr(model.pipeline, "generate", generate)
    model.bundle = dataclasses.replace(model.bundle, plain_ground=True)


def alpha_of(file: bytes) -> np.ndarray | None:
    with Image.open(io.BytesIO(file)) as image:
        return np.array(image.getchannel("A")) if image.mode == "RGBA" else None


@pytest.mark.parametrize("output_format", ["png", "webp"])
def test_a_plain_ground_is_cleared_where_that_is_asked_for(
    model: ServedModel, monkeypatch: pytest.MonkeyPatch, output_format: Any
):
    on_plain_ground(model, monkeypatch)
    request = {"prompt": "a", "output_format": output_format, "size": "64x64"}
    reply = draw(model, GenerationRequest(background="transparent", **request))
    alpha = alpha_of(reply["data"][0]["image"])
    assert alpha is not None and not alpha[:8].any() and (alpha[24:40, 24:40] == 255).all()
    assert reply["background"] == "transparent" and "warning" not in reply
    assert read_notes(reply["data"][0]["image"])["seed"]
    for background in ("auto", "opaque", ""):
        reply = draw(model, GenerationRequest(background=background, **request))
        assert alpha_of(reply["data"][0]["image"]) is None and reply["background"] == "opaque"


def test_a_ground_that_is_not_plain_stays_and_is_told(model: ServedModel, monkeypatch: pytest.MonkeyPatch):
    on_plain_ground(model, monkeypatch, but=(6,))
    reply = draw(model, GenerationRequest(prompt="a", n=2, seed=5, background="transparent"))
    assert [alpha_of(image["image"]) is None for image in reply["data"]] == [False, True]
    assert reply["background"] == "transparent" and "seed 6" in reply["warning"]
    reply = draw(model, GenerationRequest(prompt="a", seed=6, background="transparent"))
    assert reply["background"] == "opaque"


def test_previews_keep_their_ground(model: ServedModel, monkeypatch: pytest.MonkeyPatch):
    on_plain_ground(model, monkeypatch)
    request = GenerationRequest(prompt="a", stream=True, partial_images=1, background="transparent")
    partial, completed = events(model, request)
    assert alpha_of(partial["image"]) is None and alpha_of(completed["image"]) is not None
    assert (partial["background"], completed["background"]) == ("opaque", "transparent")


def test_a_model_without_a_plain_ground_has_nothing_transparent(model: ServedModel):
    with pytest.raises(InvalidValue, match="fake does not draw on a plain ground") as refused:
        draw(model, GenerationRequest(prompt="a", background="transparent"))
    assert refused.value.param == "background"
    assert model.describe(1, "me")["backgrounds"] == ["opaque"]
    model.bundle = dataclasses.replace(model.bundle, plain_ground=True)
    assert model.describe(1, "me")["backgrounds"] == ["opaque", "transparent"]


def test_files_say_what_draws_this_very_image_again(model: ServedModel):
    request = GenerationRequest(prompt="a secret", n=1, best_of=3, seed=5, top_k=9, output_format="webp")
    best = draw(model, request)["data"][0]
    notes = read_notes(best["image"])
    assert notes["model"] == "fake" and notes["seed"] == "7" and json.loads(notes["parameters"])["top_k"] == 9
    assert "secret" not in str(notes)
    again = GenerationRequest(prompt="a secret", seed=7, top_k=9, output_format="webp")
    assert draw(model, again)["data"][0]["image"] == best["image"]
    told = draw(model, request, files=FilesConfig(prompt_in_metadata=True))["data"][0]
    assert read_notes(told["image"])["prompt"] == "a secret"


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_files_that_cannot_say_what_drew_them_are_delivered_all_the_same(
    model: ServedModel, output_format: Any, monkeypatch: pytest.MonkeyPatch
):
    def fail(*args: Any) -> Any:
        raise ValueError("too long")

    monkeypatch.setattr(images, "note_options", fail)
    reply = draw(model, GenerationRequest(prompt="a", seed=5, output_format=output_format))
    assert abs(pixels(reply["data"][0]["image"]).astype(int) - 5).max() < 3
    assert "how they were drawn" in reply["warning"]
    *_, completed = events(model, GenerationRequest(prompt="a", seed=5, stream=True, partial_images=1))
    assert "how they were drawn" in completed["warning"]


class FakeSigner:
    """Writes who signed at a file's end, and fails where it is told to."""

    fails = False

    def sign(self, file: bytes, output_format: str, model: str, is_edit: bool = False) -> bytes:
        if self.fails:
            raise RuntimeError("secret")
        return file + f"{output_format} {model} {is_edit}".encode()


def signed(model: ServedModel, signer: Any, request: DrawingRequest, upload: Upload | None = None) -> ImageRequest:
    return ImageRequest(request, upload, model, AppConfig(), signer)


def test_finished_files_are_signed_last_of_all(model: ServedModel):
    reply = asyncio.run(signed(model, FakeSigner(), GenerationRequest(prompt="a", output_format="webp")).draw())
    assert reply["data"][0]["image"].endswith(b"webp fake False") and read_notes(reply["data"][0]["image"])
    reply = asyncio.run(signed(model, FakeSigner(), VariationRequest(), Upload(images=[png()])).draw())
    assert reply["data"][0]["image"].endswith(b"png fake True")

    async def streamed() -> list[Any]:
        request = GenerationRequest(prompt="a", stream=True, partial_images=1)
        return [event async for event in signed(model, FakeSigner(), request).stream()]

    partial, reply = asyncio.run(streamed())
    assert not partial["image"].endswith(b"False") and reply["data"][0]["image"].endswith(b"png fake False")


def test_files_that_cannot_be_signed_are_delivered_and_told(model: ServedModel):
    signer = FakeSigner()
    signer.fails = True
    reply = asyncio.run(signed(model, signer, GenerationRequest(prompt="a", seed=5)).draw())
    assert (pixels(reply["data"][0]["image"]) == 5).all() and "could not be signed" in reply["warning"]
    assert "secret" not in reply["warning"] + str(degraded.warnings())
    assert any(warning.startswith("content_credentials") for warning in degraded.warnings())
    signer.fails = False
    assert "warning" not in asyncio.run(signed(model, signer, GenerationRequest(prompt="a")).draw())
    assert not degraded.warnings()


def test_an_edit_fixes_the_codes_that_the_mask_keeps(model: ServedModel):
    mask = np.full((32, 32, 4), 255, np.uint8)
    mask[:4, 4:8, 3] = 0  # the square of code 1
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    upload = Upload(images=[png(32, 32, colour=(1, 2, 3)), png()], mask=buffer.getvalue())
    reply = draw(model, EditRequest(prompt="a", seed=9), upload)
    fixed = model.pipeline.options["fixed_codes"]
    assert fixed[1] == -1 and np.delete(fixed, 1).tolist() == np.delete(np.arange(NUM_CODES), 1).tolist()
    assert (model.pipeline.encoded == (1, 2, 3)).all()
    assert reply["usage"]["input_tokens_details"]["image_tokens"] == NUM_CODES
    assert reply["usage"]["output_tokens"] == 1
    assert reply["ignored_images"] == 1
    faithful = pixels(draw(model, EditRequest(prompt="a", seed=9, input_fidelity="high"), upload)["data"][0]["image"])
    assert (faithful[:4, 4:8] == 9).all() and (faithful[4:] == (1, 2, 3)).all()


@pytest.mark.parametrize("edit", [EditRequest(prompt="a", keep=0.25), VariationRequest(keep=0.25)])
def test_without_a_mask_the_upper_rows_stay(model: ServedModel, edit: DrawingRequest):
    draw(model, edit, Upload(images=[png(10, 20)]))
    assert model.pipeline.options["fixed_codes"].tolist() == [*range(16), *[-1] * 48]


def test_a_variation_without_words_is_drawn_by_what_the_picture_is_told_to_show(model: ServedModel):
    for prompt in ("", " \n"):
        reply = draw(model, VariationRequest(prompt=prompt), Upload(images=[png()]))
        assert model.pipeline.options["prompt"] == "A picture"  # by which images are ranked
        assert reply["data"][0]["revised_prompt"] == "a picture" and "warning" not in reply
        assert reply["usage"]["input_tokens_details"]["text_tokens"] == len("A picture")
    events(model, VariationRequest(stream=True), Upload(images=[png()]))
    assert model.pipeline.options["prompt"] == "A picture"
    draw(model, VariationRequest(prompt="a hat"), Upload(images=[png()]))
    assert model.pipeline.options["prompt"] == "a hat"
    model.pipeline.told = ""  # as a model does that knows no prompts
    reply = draw(model, VariationRequest(), Upload(images=[png()]))
    assert model.pipeline.options["prompt"] == "" and "No prompt was given" in reply["warning"]


def test_a_stream_shows_pictures_under_a_veil_and_then_all_of_them(model: ServedModel):
    request = GenerationRequest(prompt="a", n=2, seed=5, stream=True, partial_images=3, stream_multiple=True)
    *partials, best, other = events(model, request)
    assert [(event["partial_image_index"], event["image_index"], event["seed"]) for event in partials] == [
        (place, index, 5 + index) for place in range(3) for index in range(2)
    ]
    assert [event["progress"] for event in partials[::2]] == [0.25, 0.5, 0.75]
    for event in partials:
        picture = pixels(event["image"])
        drawn = round(SIDE * event["progress"])
        assert (picture[:drawn] == event["seed"]).all()
        assert abs(picture[-1].astype(int) - VEIL).max() < 120
    assert [(event["image_index"], event["seed"]) for event in (best, other)] == [(0, 6), (1, 5)]
    assert best["usage"]["output_tokens"] == 2 * NUM_CODES and other["usage"]["total_tokens"] == 0
    assert (pixels(best["image"]) == 6).all()
    assert model.pipeline.num_closed == 1


def test_what_stays_is_never_veiled(model: ServedModel):
    request = EditRequest(prompt="a", seed=5, stream=True, partial_images=1, keep=0.5)
    partial, _ = events(model, request, Upload(images=[png()]))
    assert (pixels(partial["image"])[:24] == 5).all()  # half of it stays, half of the rest is drawn
    assert partial["progress"] == 0.75


def test_who_waits_for_a_model_is_told_before_anything_is_drawn(model: ServedModel):
    model.pipeline.away = [["token_sampler", "clip_scorer"], ["token_sampler"]]  # type: ignore[attr-defined]  of the fake
    first, second, completed = events(model, GenerationRequest(prompt="a", stream=True))
    assert {name: first[name] for name in ("type", "model", "stages")} == {
        "type": "loading",
        "model": "fake",
        "stages": ["token_sampler", "clip_scorer"],
    }
    assert (second["stages"], completed["type"]) == (["token_sampler"], "completed")
    assert wire_event(first, "image_edit") == first | {"type": "image_edit.loading"}


def test_a_stream_that_is_left_ends_the_drawing(model: ServedModel):
    async def leave() -> None:
        stream = ImageRequest(
            GenerationRequest(prompt="a", stream=True, partial_images=3), None, model, AppConfig()
        ).stream()
        await anext(stream)
        await stream.aclose()

    asyncio.run(leave())
    assert model.pipeline.num_closed == 1


def test_checked_images_have_no_previews_and_may_be_refused(model: ServedModel):
    safety = SafetyConfig(refused_concepts=["bad"], neutral_concepts=["fine"], refuse_from=0.4)
    request = GenerationRequest(prompt="a", seed=5, stream=True, partial_images=3)
    with pytest.raises(ContentRefused, match="seed 5"):  # the fake scorer says the same of every text
        events(model, request, safety=safety)
    (completed,) = events(model, request, safety=safety.model_copy(update={"refuse_from": 0.6}))
    assert completed["type"] == "completed"


def test_a_size_that_cannot_be_had_is_refused_before_anything_is_drawn(model: ServedModel):
    with pytest.raises(InvalidValue, match="size"):
        ImageRequest(GenerationRequest(prompt="a", size="9999x9999"), None, model, AppConfig())
    assert not model.pipeline.options


def test_previews_are_spread_evenly_over_what_is_drawn():
    assert preview_rows(3, 0, 8) == (2, 4, 6)
    assert preview_rows(1, 0, 16) == (8,)
    assert preview_rows(0, 0, 8) == ()
    assert preview_rows(3, 0, 2) == (1,)
    assert preview_rows(3, 4, 8) == (5, 6, 7)
    assert preview_rows(3, 7, 8) == ()
