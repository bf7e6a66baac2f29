from typing import Any

import pytest

from deployments.config import AppConfig, CacheConfig, FilesConfig, SafetyConfig
from deployments.gateway.results import OVERHEAD_BYTES, Results, result_key
from deployments.requests.schemas import EditRequest, GenerationRequest, Upload


def reply(letter: bytes, size: int = 1000) -> dict[str, Any]:
    return {"data": [{"image": letter * size}], "created": 1}


def test_so_many_bytes_are_kept_and_what_was_used_longest_ago_goes_first():
    results = Results(3 * (1000 + OVERHEAD_BYTES), 60.0, lambda: 0.0)
    for letter in (b"a", b"b", b"c"):
        results.keep(letter, reply(letter))
    assert results.find(b"a") == reply(b"a")
    results.keep(b"d", reply(b"d"))
    assert [results.find(key) is not None for key in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    assert results.num_bytes == 3 * (1000 + OVERHEAD_BYTES)
    results.keep(b"e", reply(b"e", 20_000))  # it would take more than there is
    assert results.find(b"e") is None and results.find(b"d")


def test_nothing_is_kept_for_ever():
    now = 0.0
    results = Results(10**6, 60.0, lambda: now)
    results.keep(b"a", reply(b"a"))
    now = 59.0
    assert results.find(b"a")
    now = 61.0
    assert results.find(b"a") is None and results.num_bytes == 0


def test_without_room_nothing_is_kept():
    results = Results(0, 60.0)
    results.keep(b"a", reply(b"a"))
    assert results.find(b"a") is None


def key(scope: str = "", model: str = "m", upload: Upload | None = None, edit: bool = False, **fields: Any) -> bytes:
    config = fields.pop("config", AppConfig())
    kind: Any = EditRequest if edit else GenerationRequest
    return result_key(kind(**{"prompt": "avocado", "seed": 1} | fields), upload, model, scope, config)


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": "Avocado"},
        {"seed": 2},
        {"n": 2},
        {"best_of": 2},
        {"top_k": 0},
        {"negative_prompt": "red"},
        {"size": "64x64"},
        {"output_format": "webp"},
        {"scope": "another key"},
        {"model": "another one"},
        {"edit": True},
        {"upload": Upload(images=[b"a"])},
        {"config": AppConfig(safety=SafetyConfig(refused_concepts=["bad"]))},
        {"config": AppConfig(files=FilesConfig(prompt_in_metadata=True))},
    ],
    ids=str,
)
def test_what_may_change_a_picture_changes_the_key(changed: dict[str, Any]):
    assert key(**changed) != key()


def test_uploads_and_masks_are_told_apart():
    uploads = [
        Upload(images=[b"a"]),
        Upload(images=[b"b"]),
        Upload(images=[b"a", b"b"]),
        Upload(images=[b"a"], mask=b"b"),
        Upload(images=[b"a"], empty=("mask",)),
    ]
    assert len({key(edit=True, upload=upload) for upload in uploads}) == len(uploads)


@pytest.mark.parametrize(
    "changed",
    [
        {"user": "me"},
        {"response_format": "url"},
        {"stream": True, "partial_images": 2, "stream_multiple": True},
        {"model": "m", "top_k": None},
    ],
    ids=str,
)
def test_who_asks_and_how_it_is_answered_does_not(changed: dict[str, Any]):
    assert key(**changed) == key()


def test_keys_share_where_they_may():
    config = AppConfig(cache=CacheConfig(results_across_keys=True))
    assert key(scope="a", config=config) == key(scope="b", config=config)
    assert key(scope="a") != key(scope="b")
