"""The loop: seeds, states, sizes, and that the score rises. With the tiny codec and scorer of the parity fixtures."""

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_core import codecs
from model_core.codecs import VectorCodec
from model_core.errors import InvalidValue, NotFinite, UnsupportedConfig
from model_core.refine.refiner import Refiner
from model_core.refine.values import Refined, Refinement, State, grid_of
from model_core.scorers import clip, dalle_pytorch_clip

SIZE = (32, 32)
TEXTS = (("an avocado", 1.0),)


@pytest.fixture(scope="module")
def refiner(fixtures: Path) -> Refiner:
    return Refiner(fixtures / "vqgan-tiny", fixtures / "clip-tiny")


def asked(**options: Any) -> Refinement:
    return Refinement(**{"texts": TEXTS, "seed": 3, "size": SIZE, "steps": 4, "cutouts": 4} | options)


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def from_noise(refiner: Refiner) -> list[Refined]:
    return list(refiner.refine(asked(), every=2))


def same(a: State, b: State) -> bool:
    return all(np.array_equal(getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(State))


def test_a_seed_fixes_the_start_and_the_way(refiner: Refiner, from_noise: list[Refined]):
    assert [refined.step for refined in from_noise] == [0, 2, 4]
    again = list(refiner.refine(asked(), every=1))
    assert same(again[-1].state, from_noise[-1].state) and (again[-1].image == from_noise[-1].image).all()
    (other, *_) = refiner.refine(asked(seed=4), every=9)
    assert not (other.image == from_noise[0].image).all()


def test_gone_on_with_elsewhere_it_is_the_same_as_uninterrupted(refiner: Refiner, from_noise: list[Refined]):
    """The state as it travels: as bytes, and without the picture that it came from."""
    travelled = pickle.loads(pickle.dumps(from_noise[1].state))
    resumed = list(refiner.refine(asked(), state=travelled, every=9))
    assert [refined.step for refined in resumed] == [4]
    assert same(resumed[0].state, from_noise[-1].state)
    assert list(refiner.refine(asked(), state=from_noise[-1].state)) == []


def test_a_picture_begins_as_its_codes_paint_it(refiner: Refiner, fixtures: Path):
    codec, config, params = codecs.load(fixtures / "vqgan-tiny")
    image = picture(1)
    (start, *_) = refiner.refine(asked(), image)
    pixels = codec.decode(config, params, codec.encode(config, params, image[None].astype(np.float32) / 255))
    np.testing.assert_allclose(start.image, np.clip(pixels[0], 0, 1) * 255, atol=1.01)


def test_the_score_rises_and_beats_the_best_of_many_random_grids(refiner: Refiner):
    *_, last = refiner.refine(asked(steps=30), every=30)
    starts = [next(refiner.refine(asked(seed=seed))).score for seed in range(16)]
    assert last.score > max(starts)


def test_texts_of_negative_weight_are_led_away_from(refiner: Refiner):
    image = picture(2)
    start, away = refiner.refine(asked(texts=(("an avocado", -1.0),), steps=15), image, every=15)
    assert away.score < start.score


def test_held_to_its_start_it_moves_less(refiner: Refiner):
    image = picture(3)

    def moved(init_weight: float) -> float:
        *_, last = refiner.refine(asked(init_weight=init_weight, steps=6), image, every=6)
        return float(np.abs(last.state.vectors - last.state.start).mean())

    assert moved(100.0) < 0.8 * moved(0.0)


def test_a_size_that_is_not_listed_is_refused(refiner: Refiner):
    with pytest.raises(InvalidValue, match="Pictures of 64x32 are not refined; sizes: 32x32"):
        next(refiner.refine(asked(size=(32, 64))))
    with pytest.raises(InvalidValue, match="The picture has"):
        next(refiner.refine(asked(), picture(0)[:16]))


def test_sides_are_multiples_of_a_code_s(refiner: Refiner, fixtures: Path):
    assert grid_of((32, 64), refiner.config) == (8, 16)
    with pytest.raises(InvalidValue, match="30x32 cannot be refined: its width must be a multiple of 4"):
        Refiner(fixtures / "vqgan-tiny", fixtures / "clip-tiny", sizes=[(32, 30)])


def test_numbers_that_are_not_finite_go_no_further(refiner: Refiner, from_noise: list[Refined]):
    state = dataclasses.replace(from_noise[0].state, vectors=np.full_like(from_noise[0].state.vectors, np.nan))
    with pytest.raises(NotFinite):
        next(refiner.refine(asked(), state=state))


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"texts": ()}, "prompts"),
        ({"texts": TEXTS * 9}, "prompts"),
        ({"texts": (("a", 0.0),)}, "prompts"),
        ({"steps": 0}, "steps"),
        ({"cutouts": 1000}, "cutouts"),
        ({"seed": 2**32}, "seed"),
        ({"init_weight": -1.0}, "init_weight"),
        ({"step_size": float("nan")}, "step_size"),
    ],
)
def test_what_is_out_of_range_is_named(options: dict[str, Any], param: str):
    with pytest.raises(InvalidValue) as raised:
        asked(**options)
    assert raised.value.param == param


def test_a_step_costs_as_much_as_its_cutouts_and_its_size():
    usual, twice = asked(steps=10, cutouts=16), asked(steps=20, cutouts=16)
    assert (usual.cost(SIZE), twice.cost(SIZE)) == (10, 20)
    assert usual.cost(SIZE) < asked(steps=10, cutouts=32).cost(SIZE) < 20
    assert usual.cost(SIZE) < asked(steps=10, cutouts=16, size=(64, 64)).cost(SIZE)


def test_codecs_of_vectors_are_known_by_their_names_and_others_refused(fixtures: Path, tmp_path: Path):
    for name in set(codecs.CODECS.values()):
        module = __import__(f"model_core.codecs.{name}", fromlist=["_"])
        assert isinstance(module, VectorCodec) == (name in codecs.OF_VECTORS)
    (tmp_path / "config.json").write_text('{"model_type": "openai_dvae"}')
    with pytest.raises(UnsupportedConfig, match="codec openai_dvae cannot be refined"):
        Refiner(tmp_path, fixtures / "clip-tiny")


@pytest.mark.parametrize(
    ("scorer", "folder"), [(dalle_pytorch_clip, "dp-plain-clip/clip"), (clip, "clip-tiny")], ids=["own", "clip"]
)
def test_a_scorer_normalises_pixels_as_it_preprocesses_pictures(fixtures: Path, scorer: Any, folder: str):
    config = scorer.read_config(fixtures / folder)
    image = np.random.default_rng(0).integers(0, 256, (*config.size, 3), np.uint8)
    whole = scorer.preprocess(config, [image])
    np.testing.assert_allclose(scorer.normalize(config, image[None].astype(np.float32) / 255), whole, atol=1e-5)
