"""The service on a real cluster: four stages of tiny models with random weights."""

import asyncio
import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from deployments.config import APP_NAME
from deployments.local import LocalService
from tests.serve.conftest import kill
from tests.serve.processes import replica, stopped

GENERATIONS = "/v1/images/generations"
EXAMPLES = Path(__file__).parents[2] / "examples"
SAMPLER = "token_sampler"  # Ray writes more before and after it, and not always the same
LARGEST = {"prompt": "a rocket", "n": 2, "best_of": 64, "seed": 11, "response_format": "b64_json"}
NO_STORE = {"cache-control": "no-store"}  # each is to be drawn
PATIENCE_S = 240.0


def draw(http: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    wish = {"prompt": "an avocado", "response_format": "b64_json"} | fields
    reply = http.post(GENERATIONS, json=wish, headers=NO_STORE)
    assert reply.status_code == 200, reply.text
    return reply.json()["data"]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


def pending_images(http: httpx.Client) -> int:
    return http.get("/ready").json()["pending_images"]


def in_background(service: LocalService, fields: dict[str, Any]) -> "Future[httpx.Response]":
    """Asks in a thread of its own, which ends with the answer."""
    pool = ThreadPoolExecutor(1)
    answer = pool.submit(httpx.post, service.url + GENERATIONS, json=fields, timeout=PATIENCE_S, headers=NO_STORE)
    pool.shutdown(wait=False)
    return answer


def test_all_stages_are_ready(http: httpx.Client):
    assert http.get("/health").json() == {"status": "ok"}
    stages = dict.fromkeys(("text_encoder", "token_sampler", "image_decoder", "clip_scorer", "refiner"), "ready")
    state = http.get("/ready").json()
    assert state.pop("seconds_an_image") > 0
    assert state == {"ready": True, "model": "tiny", "stages": stages, "pending_images": 0}


def test_openais_client_draws(service: LocalService):
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client:
        result = client.images.generate(
            model="dall-e-2",
            prompt="an avocado",
            n=2,
            size="32x32",  # type: ignore[arg-type] - the size of the tiny model is none of OpenAI's
            quality="standard",
            response_format="b64_json",
            extra_body={"seed": 5, "best_of": 3},
        )
        assert result.data is not None and result._request_id
        assert (result.size, result.output_format, result.background) == ("32x32", "png", "opaque")
        images = [base64.b64decode(image.b64_json or "") for image in result.data]
        assert all(image.startswith(b"\x89PNG") for image in images) and len(set(images)) == 2
        scores = [image.model_extra["clip_score"] for image in result.data if image.model_extra]
        assert scores == sorted(scores, reverse=True)
        assert {image.model_extra["seed"] for image in result.data if image.model_extra} < {5, 6, 7}
        assert [model.id for model in client.models.list()] == ["tiny", "tiny:refine"]
        assert client.models.retrieve("tiny").owned_by == "dalle-serve"


def test_openais_client_understands_errors(service: LocalService):
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            client.models.retrieve("org/none")
        assert missing.value.code == "model_not_found" and missing.value.request_id
        with pytest.raises(openai.BadRequestError) as unknown:
            client.images.generate(prompt="x", extra_body={"passes": 3})
        assert (unknown.value.code, unknown.value.param) == ("unknown_parameter", "passes")
        assert unknown.value.request_id


def test_the_callers_request_id_comes_back_once(http: httpx.Client):
    for path in ("/health", "/nope"):
        assert http.get(path, headers={"x-request-id": "mine-1"}).headers.get_list("x-request-id") == ["mine-1"]
    assert http.get("/health").headers["x-request-id"]


def test_a_seed_means_the_same_image_whatever_is_drawn_beside_it(http: httpx.Client, service: LocalService):
    together = draw(http, n=5, seed=2**32 - 2)
    assert {image["seed"] for image in together} == {2**32 - 2, 2**32 - 1, 0, 1, 2}
    others = [in_background(service, {"prompt": "a cat", "n": 3, "seed": seed, "top_k": 3}) for seed in (1, 2)]
    alone = [draw(http, seed=image["seed"])[0] for image in together]
    assert alone == together
    assert all(other.result().status_code == 200 for other in others)
    assert len({image["b64_json"] for image in together}) == 5


def test_what_was_drawn_for_a_seed_is_not_drawn_again(http: httpx.Client):
    fields = {"prompt": "an avocado", "seed": 5, "n": 2, "response_format": "b64_json"}
    first, second = (http.post(GENERATIONS, json=fields) for _ in range(2))
    assert [reply.headers["x-dalle-serve-cache"] for reply in (first, second)] == ["miss", "hit"]
    assert first.json() == second.json()
    assert first.json()["data"] == draw(http, seed=5, n=2)


def test_who_waits_for_a_drawing_gets_it_though_the_one_who_began_it_leaves(http: httpx.Client, service: LocalService):
    """Serve cancels the calls of a request whose client leaves; these are no longer its own."""
    fields = {"prompt": "an avocado", "seed": 123, "n": 3, "response_format": "b64_json"}
    with stopped(replica(SAMPLER)), ThreadPoolExecutor(2) as pool:
        impatient = httpx.Timeout(10, read=1.5)
        first = pool.submit(httpx.post, service.url + GENERATIONS, json=fields, timeout=impatient)
        wait_until(lambda: pending_images(http) == 3, "it is being drawn")
        second = pool.submit(httpx.post, service.url + GENERATIONS, json=fields, timeout=PATIENCE_S)
        with pytest.raises(httpx.ReadTimeout):
            first.result()
        time.sleep(0.5)  # for all that is cancelled to be cancelled
        assert pending_images(http) == 3
        os.kill(replica(SAMPLER), signal.SIGCONT)
        reply = second.result()
    assert (reply.status_code, reply.headers["x-dalle-serve-cache"]) == (200, "joined")
    assert reply.json()["data"] == draw(http, **fields)


def test_changed_settings_take_effect_in_the_gateway_that_is_there(http: httpx.Client, service: LocalService):
    """As where Serve is told of another `user_config`."""
    from ray import serve

    gateway = serve.get_deployment_handle("gateway", APP_NAME)

    def max_n() -> int:
        return http.get("/v1/models").json()["data"][0]["max_n"]

    with stopped(replica(SAMPLER)):
        drawing = in_background(service, {"prompt": "x", "n": 5})
        wait_until(lambda: pending_images(http) == 5, "it is let in")
        gateway.reconfigure.remote({"limits": {"max_n": 3}}).result(timeout_s=PATIENCE_S)
    try:
        assert max_n() == 3
        assert http.post(GENERATIONS, json={"prompt": "x", "n": 4}).status_code == 400
        gateway.reconfigure.remote({"limits": {"max_n": 0}}).result(timeout_s=PATIENCE_S)
        assert max_n() == 3 and "user_config" in http.get("/ready").json()["warnings"][0]
    finally:
        gateway.reconfigure.remote({}).result(timeout_s=PATIENCE_S)
    assert max_n() == service._config.limits.max_n
    assert len(drawing.result().json()["data"]) == 5


def test_a_handle_in_another_process_draws_what_http_draws(http: httpx.Client, tmp_path: Path):
    import ray

    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, str(EXAMPLES / "handle_client.py")]
    # The second is the default, but in throughput mode calls would need a running event loop, which the example lacks.
    environment = os.environ | {"RAY_ADDRESS": address, "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=PATIENCE_S, capture_output=True)
    files = [tmp_path / "avocado-1.png", tmp_path / "avocado-2.png"]
    over_http = [base64.b64decode(image["b64_json"]) for image in draw(http, n=2, best_of=4, seed=7)]
    assert [file.read_bytes() for file in files] == over_http


def test_the_example_with_openais_client_runs(service: LocalService, tmp_path: Path):
    command = [sys.executable, str(EXAMPLES / "openai_client.py"), service.url]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=PATIENCE_S, capture_output=True)
    assert (tmp_path / "avocado-2.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"\xff\xfe", 400),
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b'{"prompt": "\\ud800"}', 400),
        (b'{"prompt": "x", "\\ud800": 1}', 400),
        (b'{"prompt": "x", "n": true}', 400),
        (b'{"prompt": "x", "n": ' + b"9" * 5000 + b"}", 400),
        (b'{"prompt": "x", "size": "7x7"}', 400),
        (b'{"prompt": "x", "model": "none"}', 404),
        (b"x" * (2 * 1024 * 1024), 413),
    ],
    ids=lambda value: str(value)[:24],
)
def test_bad_input_leaves_the_service_up(http: httpx.Client, body: bytes, status: int):
    reply = http.post(GENERATIONS, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == status
    assert reply.json()["error"]["message"] and reply.headers["x-request-id"]
    assert http.get("/ready").status_code == 200


def test_too_much_is_refused_with_a_time_to_come_back(http: httpx.Client, service: LocalService):
    with stopped(replica(SAMPLER)):
        accepted = in_background(service, LARGEST)
        wait_until(lambda: pending_images(http) == 64, "the large request is let in")
        refused = [http.post(GENERATIONS, json={"prompt": "x"}) for _ in range(3)]
    assert [reply.status_code for reply in refused] == [429] * 3
    assert all(1 <= int(reply.headers["retry-after"]) <= 30 for reply in refused)
    assert refused[0].json()["error"]["code"] == "rate_limit_exceeded"
    assert accepted.result().status_code == 200


def test_a_client_that_leaves_frees_its_place(http: httpx.Client, service: LocalService):
    with stopped(replica(SAMPLER)):  # so that nothing can be drawn to its end
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(service.url + GENERATIONS, json=LARGEST, timeout=httpx.Timeout(10, read=1), headers=NO_STORE)
        wait_until(lambda: pending_images(http) == 0, "the place of the client that left is free")
    assert draw(http, seed=3)


async def until_the_sampler_draws() -> None:
    """As it tells its autoscaler."""
    from ray import serve

    sampler = serve.get_deployment_handle(f"tiny.{SAMPLER}", APP_NAME)
    async with asyncio.timeout(PATIENCE_S):
        while not (await sampler.record_autoscaling_stats.remote())["active_slots"]:
            await asyncio.sleep(0.05)


def test_a_replica_killed_under_a_request_changes_nothing(http: httpx.Client, service: LocalService):
    undisturbed = draw(http, **LARGEST)
    sampler = replica(SAMPLER)
    answer = in_background(service, LARGEST)
    asyncio.run(until_the_sampler_draws())
    kill(sampler)
    assert not answer.done(), "the request was over before the kill"
    reply = answer.result()
    assert reply.status_code == 200, reply.text
    assert reply.json()["data"] == undisturbed
    assert replica(SAMPLER) != sampler
