"""A model's folder with all that the gateway reads of it, and no weights."""

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import PydanticDeprecatedSince20

with warnings.catch_warnings():  # here once, so that the tests may import it with warnings as errors
    warnings.simplefilter("ignore", PydanticDeprecatedSince20)  # Ray's settings use a keyword that pydantic gave up
    import ray.serve  # noqa: F401 - for what its import does

from deployments.telemetry import degraded

FIXTURES = Path(__file__).parents[2] / "parity" / "fixtures"
TINY = FIXTURES / "dalle-tiny"  # 64 codes an image


@pytest.fixture(autouse=True)
def nothing_fails_yet() -> Iterator[None]:
    """What failed in one test is not said in another."""
    degraded.forget()
    yield
    degraded.forget()


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "fake"
    shutil.copytree(TINY, folder / "dalle_bart", ignore=shutil.ignore_patterns("*.msgpack", "*.npz"))
    for part in ("vqgan", "clip"):
        (folder / part).mkdir()
    shutil.copy(FIXTURES / "vqgan-tiny" / "config.json", folder / "vqgan")
    sampling = {"guidance_scale": 4.0, "temperature": 1.0, "top_k": 50, "top_p": 1.0}
    card = {"id": "fake", "licence": "Apache-2.0", "size": 2, "sampling": sampling, "description": "a fake"}
    (folder / "model.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def given_back_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Commands set variables for what they start; this gives them back."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
