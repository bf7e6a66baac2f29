"""A batch over HTTP, and the same lines without a service, on Ray Data: the pictures are those of single requests."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from deployments.batches.lines import read_lines
from deployments.config import AppConfig
from deployments.local import LocalService
from tests.unit.deployments.batches.conftest import ENDPOINT, jsonl

PATIENCE_S = 120.0
BODIES: list[dict[str, Any]] = [
    {"prompt": "an avocado", "seed": 3, "n": 2, "best_of": 3},
    {"prompt": "a red apple", "seed": 4},
    {"prompt": "an avocado", "size": "nonsense"},
    {"prompt": "a cat", "seed": 5, "output_format": "webp"},
]


@pytest.fixture(scope="module")
def pictures(service: LocalService) -> list[list[dict[str, Any]]]:
    """What a request for each body answers, but for the one that is refused."""
    with httpx.Client(base_url=service.url, timeout=60) as http:
        replies = [http.post(ENDPOINT, json=body | {"response_format": "b64_json"}) for body in BODIES]
    return [reply.json()["data"] for reply in replies if reply.status_code == 200]


def test_a_batch_draws_what_single_requests_draw(service: LocalService, pictures: list[list[dict[str, Any]]]):
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client:
        file = client.files.create(file=jsonl(*BODIES), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h")
        deadline = time.monotonic() + PATIENCE_S
        while batch.status in ("validating", "in_progress"):
            assert time.monotonic() < deadline, batch
            time.sleep(0.1)  # between looks
            batch = client.batches.retrieve(batch.id)
        assert batch.status == "completed" and batch.output_file_id and batch.error_file_id
        answers = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
        assert [answer["response"]["body"]["data"] for answer in answers] == pictures
        (refusal,) = client.files.content(batch.error_file_id).text.splitlines()
        assert json.loads(refusal)["custom_id"] == "one-3"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray Data sets fields of its own that it has given up
def test_ray_data_draws_the_same_files(
    service: LocalService, tiny_model: Path, tmp_path: Path, pictures: list[list[dict[str, Any]]]
):
    from deployments.offline.drawing import draw_lines
    from deployments.offline.results import Results

    stages = {name: {"num_cpus": 0.05} for name in ("text_encoder", "token_sampler", "image_decoder", "clip_scorer")}
    config = AppConfig.model_validate({"models": [{"id": "tiny", "source": str(tiny_model)} | stages]})
    lines, _ = read_lines([jsonl(*BODIES)], [ENDPOINT], max_lines=10, limits=config.limits)
    seen: list[int] = []
    with Results(tmp_path).claimed({}):
        draw_lines(lines, config, tmp_path, workers=1, on_progress=seen.append)
        assert Results(tmp_path).finish() == (3, 1)
    assert seen == [1, 2, 3, 4]
    answers = [
        json.loads(line)["response"]["body"]["data"] for line in (tmp_path / "output.jsonl").read_text().splitlines()
    ]
    for mine, theirs in zip(answers, pictures, strict=True):
        for image, expected in zip(mine, theirs, strict=True):
            file = (tmp_path / image.pop("file")).read_bytes()
            assert image | {"b64_json": base64.b64encode(file).decode()} == expected
