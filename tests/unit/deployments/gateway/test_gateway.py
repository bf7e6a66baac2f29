import asyncio
import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray import serve

from deployments import errors
from deployments.api.routes import build_api
from deployments.config import AppConfig, FilesConfig, GatewayConfig, Limits, ModelConfig, SafetyConfig
from deployments.errors import DeadlineExceeded, MissingParameter, Overloaded, ShuttingDown, UnknownParameter
from deployments.gateway.gateway import Gateway
from deployments.telemetry import degraded
from deployments.telemetry.metrics import RequestMetrics
from model_core.errors import CorruptCheckpoint, InvalidValue, ModelNotFound, NotFinite
from model_core.pictures.images import read_image
from tests.unit.deployments.api.fake_service import GENERATIONS, ask
from tests.unit.deployments.fakes import FakeStage, fake_stages


def make_gateway(folder: Path, stages: dict[str, FakeStage] | None = None, **gateway: Any) -> Gateway:
    stages = stages or fake_stages()
    scorer = {} if "clip_scorer" in stages else {"clip_scorer": None}
    config = AppConfig(
        models=[ModelConfig(id="fake", source=str(folder), **scorer)],
        gateway=GatewayConfig(**gateway),
        limits=Limits(max_best_of=40),
    )
    return Gateway(config, {"fake": stages}, build_api)


def generate(gateway: Gateway, **fields: Any) -> dict[str, Any]:
    return asyncio.run(gateway.generate({"prompt": "avocado"} | fields))


def test_the_reply_says_what_was_drawn(model_folder: Path):
    reply = generate(make_gateway(model_folder), n=2, best_of=3, seed=4)
    assert [(entry["seed"], entry["clip_score"]) for entry in reply["data"]] == [(6, 6.0), (5, 5.0)]
    assert (read_image(reply["data"][0]["image"]) == 6).all()
    effective = {name: reply[name] for name in ("output_format", "size", "background", "quality")}
    assert effective == {"output_format": "png", "size": "2x2", "background": "opaque", "quality": "high"}
    assert isinstance(reply["created"], int)


def test_an_image_is_drawn_again_by_its_seed(model_folder: Path):
    gateway = make_gateway(model_folder)
    best = generate(gateway, n=1, best_of=5)["data"][0]
    assert generate(gateway, seed=best["seed"])["data"] == [best]


def test_what_is_not_given_is_the_models_default(model_folder: Path):
    seen = []
    sampler = FakeStage(lambda conditions, seed, sampling: seen.append(sampling) or np.zeros(3, np.int32))
    generate(make_gateway(model_folder, fake_stages() | {"token_sampler": sampler}), top_k=7, temperature=None)
    (sampling,) = seen
    assert (sampling.guidance_scale, sampling.temperature, sampling.top_k, sampling.top_p) == (4.0, 1.0, 7, 1.0)


@pytest.mark.parametrize("name", [None, "", "fake", "dall-e-2", "dall-e-3", "gpt-image-1"])
def test_names_of_the_default_model(model_folder: Path, name: str | None):
    assert generate(make_gateway(model_folder), model=name)["data"]


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"model": "other"}, ModelNotFound, None),
        ({"size": "8x8"}, InvalidValue, "size"),
        ({"size": "\uff12x2"}, InvalidValue, "size"),
        ({"n": 11}, InvalidValue, "n"),
        ({"prompt": None}, MissingParameter, "prompt"),
        ({"steps": 3}, UnknownParameter, "steps"),
    ],
)
def test_wrong_requests_draw_nothing(model_folder: Path, fields: dict[str, Any], error: type[Exception], param: str):
    stages = fake_stages()
    with pytest.raises(error) as raised:
        generate(make_gateway(model_folder, stages), **fields)
    assert getattr(raised.value, "param", None) == param
    assert not stages["text_encoder"].responses


def test_without_a_scorer_there_is_no_best_of(model_folder: Path):
    stages = fake_stages()
    del stages["clip_scorer"]
    gateway = make_gateway(model_folder, stages)
    assert [entry["clip_score"] for entry in generate(gateway, n=2)["data"]] == [None, None]
    with pytest.raises(InvalidValue, match="without a scorer"):
        generate(gateway, n=2, best_of=3)


def test_too_much_at_once_is_refused_and_later_welcome(model_folder: Path):
    async def check() -> None:
        stages = fake_stages()
        stages["token_sampler"].delay_s = 0.01
        gateway = make_gateway(model_folder, stages, max_pending_images=64)
        fields = {"prompt": "avocado", "best_of": 40}
        outcomes = await asyncio.gather(gateway.generate(fields), gateway.generate(fields), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [dict, Overloaded]
        assert await gateway.generate(fields)

    asyncio.run(check())


def test_what_is_pending_is_said_again_and_again(model_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Ray forgets a gauge that is set only when its value changes."""
    said: list[int] = []
    monkeypatch.setattr(RequestMetrics, "pending", lambda self, number: said.append(number))

    async def check() -> None:
        stages = fake_stages()
        stages["image_decoder"].delay_s = 0.05
        gateway = make_gateway(model_folder, stages)
        drawing = asyncio.create_task(gateway.generate({"prompt": "avocado", "n": 3}))
        await asyncio.sleep(0)
        for _ in range(2):
            assert await gateway.record_autoscaling_stats() == {"pending_images": 3}
        await drawing
        assert await gateway.record_autoscaling_stats() == {"pending_images": 0}

    asyncio.run(check())
    assert said == [3, 3, 0]


def test_who_is_in_is_served_before_the_end(model_folder: Path):
    async def check() -> None:
        stages = fake_stages()
        stages["image_decoder"].delay_s = 0.05
        gateway = make_gateway(model_folder, stages)
        accepted = asyncio.create_task(gateway.generate({"prompt": "avocado"}))
        await asyncio.sleep(0)
        drained = asyncio.create_task(gateway.drain())
        await asyncio.sleep(0)
        with pytest.raises(ShuttingDown):
            await gateway.generate({"prompt": "avocado"})
        assert not drained.done()
        await drained
        assert (await accepted)["data"]

    asyncio.run(check())


def test_the_settings_deadline_holds(model_folder: Path):
    stages = fake_stages()
    stages["image_decoder"].delay_s = 600
    with pytest.raises(DeadlineExceeded):
        generate(make_gateway(model_folder, stages, request_timeout_s=0.05))


def test_models_are_described_by_id_and_alias(model_folder: Path):
    gateway = make_gateway(model_folder)
    (model,) = gateway.list_models()
    assert (model["id"], model["object"], model["owned_by"], model["size"]) == ("fake", "model", "dalle-serve", "2x2")
    assert (model["grid"], model["known_things"], model["ranges"], model["has_card"]) == ([8, 8], [], {}, False)
    assert asyncio.run(gateway.card("fake")) is None
    assert gateway.describe_model("dall-e-2") == model
    with pytest.raises(ModelNotFound, match="Known are: fake"):
        gateway.describe_model("other")


def all_run(monkeypatch: pytest.MonkeyPatch) -> dict[str, SimpleNamespace]:
    """Serve's word that each stage has a replica that runs; to be changed."""
    deployments = {f"fake.{stage}": deployment("RUNNING") for stage in fake_stages()}
    status = SimpleNamespace(applications={"app": SimpleNamespace(deployments=deployments)})
    monkeypatch.setattr(serve, "status", lambda: status)
    monkeypatch.setattr(serve, "get_replica_context", lambda: SimpleNamespace(app_name="app"))
    return deployments


def deployment(*states: str) -> SimpleNamespace:
    return SimpleNamespace(replica_states=dict.fromkeys(states, 1), status=SimpleNamespace(value="UPDATING"))


def test_ready_means_that_every_stage_runs(model_folder: Path, monkeypatch: pytest.MonkeyPatch):
    deployments = all_run(monkeypatch)
    deployments |= {
        "fake.token_sampler": deployment("STARTING"),
        "fake.image_decoder": deployment("RUNNING", "STOPPING"),
        "fake.clip_scorer": deployment(),
    }
    monkeypatch.setenv("XDG_CACHE_HOME", str(model_folder))
    gateway = make_gateway(model_folder)

    state = asyncio.run(gateway.readiness())
    assert state["stages"] == {
        "text_encoder": "ready",
        "token_sampler": "updating",
        "image_decoder": "ready",
        "clip_scorer": "updating",
    }
    assert not state["ready"]
    deployments |= {name: deployment("RUNNING") for name in ("fake.token_sampler", "fake.clip_scorer")}
    state = asyncio.run(gateway.readiness())
    assert state["ready"] and "warnings" not in state
    assert state["seconds_an_image"] > 0
    asyncio.run(gateway.drain())
    assert not asyncio.run(gateway.readiness())["ready"]


def test_without_its_by_products_the_service_is_ready_and_says_so(model_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A load balancer should send it requests all the same: it draws."""
    all_run(monkeypatch)
    rules = model_folder / "rules.txt"
    rules.write_text("bad")
    config = AppConfig(
        models=[ModelConfig(id="fake", source=str(model_folder))],
        files=FilesConfig(url_folder="/proc/nocache/images"),
        safety=SafetyConfig(prompt_policy_file=str(rules)),
    )
    gateway = Gateway(config, {"fake": fake_stages()}, build_api)
    rules.unlink()
    gateway._policy._rules._checked_at -= 2  # type: ignore[union-attr]
    assert generate(gateway, seed=4)["data"]
    state = asyncio.run(gateway.readiness())
    assert state["ready"]
    assert [warning.split(":")[0] for warning in state["warnings"]] == ["rules.txt", "image_urls"]
    assert str(model_folder) not in str(state["warnings"])
    said: dict[str, float] = {}
    monkeypatch.setattr(gateway._metrics._degraded, "set", lambda value, labels: said.update({labels["what"]: value}))
    asyncio.run(gateway.record_autoscaling_stats())
    assert said == {"rules.txt": 1.0, "image_urls": 1.0}
    rules.write_text("worse")
    gateway._policy._rules._checked_at -= 2  # type: ignore[union-attr]
    with pytest.raises(errors.ContentRefused):
        generate(gateway, prompt="worse")
    asyncio.run(gateway.record_autoscaling_stats())
    assert said == {"rules.txt": 0.0, "image_urls": 1.0}


def test_where_nothing_can_be_measured_images_are_drawn(model_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """And an error stays the error that it is."""
    from deployments.telemetry import metrics

    def fail(*args: Any) -> None:
        raise RuntimeError("the exporter is gone")

    for kind, method in ((metrics.Counter, "inc"), (metrics.Gauge, "set"), (metrics.Histogram, "observe")):
        monkeypatch.setattr(kind, method, fail)
    gateway = make_gateway(model_folder)
    assert generate(gateway, n=2, best_of=3, seed=4)["data"]
    with pytest.raises(ModelNotFound):
        generate(gateway, model="other")
    assert asyncio.run(gateway.record_autoscaling_stats()) == {"pending_images": 0}
    assert [warning.split(":")[0] for warning in degraded.warnings()] == ["metrics"]


@pytest.mark.parametrize("stage", fake_stages())
def test_an_invalid_value_is_the_callers_fault_in_a_field_and_the_services_in_a_stage(stage: str, model_folder: Path):
    def ask_for(stages: dict[str, FakeStage], **fields: Any) -> tuple[int, dict[str, Any]]:
        reply = ask(make_gateway(model_folder, stages), "POST", GENERATIONS, json={"prompt": "a"} | fields)
        return reply.status_code, reply.json()["error"]

    status, error = ask_for(fake_stages(), top_p=2.0)
    assert (status, error["code"], error["param"]) == (400, "invalid_value", "top_p")
    stages = fake_stages()
    stages[stage].errors = [InvalidValue("top_p is 2", "top_p")]
    status, error = ask_for(stages)
    assert (status, error["type"], error["code"], error["param"]) == (500, "server_error", "stage_failed", None)
    assert stage in error["message"]


def test_defaults_of_a_model_that_make_no_sense_are_refused_at_the_start(model_folder: Path):
    """Else every request that leaves them to the model would be called wrong."""
    card = json.loads((model_folder / "model.json").read_text())
    card["sampling"]["top_p"] = 5.0
    (model_folder / "model.json").write_text(json.dumps(card))
    with pytest.raises(CorruptCheckpoint, match=r"top_p is 5\.0"):
        make_gateway(model_folder)


@pytest.mark.parametrize(
    "error",
    [
        Overloaded("busy", retry_after_s=7),
        DeadlineExceeded("late"),
        errors.StageUnavailable("down"),
        errors.StageFailed("broken"),
        errors.UrlsUnavailable("full"),
        NotFinite("NaN"),
        UnknownParameter("steps?", "steps"),
        MissingParameter("prompt?", "prompt"),
        InvalidValue("n?", "n"),
    ],
)
def test_errors_survive_the_way_to_a_python_caller(error: Exception):
    arrived = copy.copy(error)  # taken apart and put together as between processes
    assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))
