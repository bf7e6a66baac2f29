"""A model's folder with all that the gateway reads of it, and no weights."""

import json
import warnings
from pathlib import Path

import pytest
from pydantic import PydanticDeprecatedSince20

with warnings.catch_warnings():  # here once, so that the tests may import it with warnings as errors
    warnings.simplefilter("ignore", PydanticDeprecatedSince20)  # Ray's settings use a keyword that pydantic gave up
    import ray.serve  # noqa: F401


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "fake"
    for part in ("dalle_bart", "vqgan", "clip"):
        (folder / part).mkdir(parents=True)
    sampling = {"guidance_scale": 4.0, "temperature": 1.0, "top_k": 50, "top_p": 1.0}
    card = {"id": "fake", "licence": "Apache-2.0", "size": 2, "sampling": sampling, "description": "a fake"}
    (folder / "model.json").write_text(json.dumps(card))
    return folder
