"""Draws are made once, kept, and never taken from another model."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model_core.bundles import Bundle
from model_core.errors import InvalidValue
from model_core.pipeline import Pipeline, RankedImage
from model_core.shipped.evaluation.draws import draw_all, fingerprint


class CountingPipeline(Pipeline):
    """Draw j of a prompt has the codes (j, j, j, length of the prompt) and the score −j: the best come first."""

    def __init__(self, clip: bool = True):
        self.asked: list[tuple[str, int, int]] = []
        self.bundle: Any = SimpleNamespace(id="counting")
        self.token_sampler: Any = SimpleNamespace(config=SimpleNamespace(image_length=4))
        self.scorer: Any = object() if clip else None

    def generate(self, prompt: str, n: int = 1, best_of: Any = None, seed: Any = 0, **_: Any) -> list[RankedImage]:
        self.asked.append((prompt, n, seed))
        image = np.zeros((2, 2, 3), np.uint8)
        seeds = reversed(range(seed, seed + n))  # not in the order of the seeds
        return [RankedImage(image, np.array([j, j, j, len(prompt)], np.int32), j, float(-j)) for j in seeds]


def test_draws_come_in_the_order_of_their_seeds_and_more_are_added_to_those_there_are(tmp_path: Path):
    pipeline, done = CountingPipeline(), []
    draw_all(pipeline, ["cat", "horse"], 2, tmp_path, lambda: done.append(1))
    draws = draw_all(pipeline, ["cat", "horse"], 5, tmp_path, lambda: done.append(1))
    assert pipeline.asked == [("cat", 2, 0), ("horse", 2, 0), ("cat", 3, 2), ("horse", 3, 2)]
    assert draws.codes[:, :, 0].tolist() == [[0, 1, 2, 3, 4]] * 2
    assert draws.codes[:, 0, 3].tolist() == [3, 5]
    assert draws.scores.tolist() == [[0, -1, -2, -3, -4]] * 2
    assert len(done) == 4
    fewer = draw_all(pipeline, ["horse"], 3, tmp_path, lambda: None)
    assert fewer.codes.shape == (1, 3, 4)
    assert len(pipeline.asked) == 4


@pytest.mark.parametrize("draws", [0, 65])
def test_a_number_of_draws_out_of_range_is_refused(tmp_path: Path, draws: int):
    with pytest.raises(InvalidValue, match=f"1 to 64; got {draws}"):
        draw_all(CountingPipeline(), ["cat"], draws, tmp_path, lambda: None)


def test_a_model_without_clip_is_refused(tmp_path: Path):
    with pytest.raises(InvalidValue, match="counting has no CLIP"):
        draw_all(CountingPipeline(clip=False), ["cat"], 1, tmp_path, lambda: None)


def test_the_fingerprint_is_of_the_files_and_the_sampling(tmp_path: Path):
    for part in ("dalle_bart", "vqgan"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "weights").write_bytes(b"1")
    sampler, codec = tmp_path / "dalle_bart", tmp_path / "vqgan"
    bundle = Bundle(id="m", sampler=sampler, text=sampler, codec=codec, scorer=None, size=8, sampling={"top_k": 50})
    first = fingerprint(bundle)
    assert fingerprint(replace(bundle, id="other name")) == first
    assert fingerprint(replace(bundle, sampling={"top_k": 20})) != first
    (tmp_path / "vqgan/weights").write_bytes(b"2")
    assert fingerprint(bundle) != first
