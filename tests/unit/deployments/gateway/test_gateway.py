import asyncio
import copy
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from ray import serve

from deployments import errors
from deployments.api.reply_schemas import KeyUsage
from deployments.api.routes import build_api
from deployments.config import AppConfig, FilesConfig, GatewayConfig, Limits, ModelConfig, SafetyConfig
from deployments.errors import DeadlineExceeded, MissingParameter, Overloaded, ShuttingDown, UnknownParameter
from deployments.gateway.caller import CACHE_HEADER, Caller, Key
from deployments.gateway.gateway import Gateway
from deployments.gateway.usage import USAGE_COUNTS
from deployments.requests.schemas import GenerationRequest
from deployments.telemetry import degraded
from deployments.telemetry.metrics import RequestMetrics
from model_core.errors import CorruptCheckpoint, DalleServeError, InvalidValue, ModelNotFound, NotFinite
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


KEY = Key(digest=b"key", name="one")


def num_drawn(stages: dict[str, FakeStage]) -> int:
    return sum(len(seeds) for _, seeds, _ in stages["token_sampler"].args_given)


def test_images_with_seeds_are_found_again_and_others_are_drawn(model_folder: Path):
    async def check() -> None:
        stages = fake_stages()
        gateway = make_gateway(model_folder, stages)

        async def ask_for(caller: Caller, **fields: Any) -> tuple[str, int, Any]:
            before = num_drawn(stages)
            reply = await gateway.draw(GenerationRequest(prompt="avocado", **fields), None, caller)
            return caller.cache, num_drawn(stages) - before, reply

        how, drawn, first = await ask_for(Caller(), seed=3, n=2, user="me")
        assert (how, drawn, first["safety_identifier"]) == ("miss", 2, "me")
        how, drawn, again = await ask_for(Caller(), seed=3, n=2)
        assert (how, drawn) == ("hit", 0)
        assert again == {name: value for name, value in first.items() if name != "safety_identifier"}
        for caller, fields, expected in (
            (Caller(), {"seed": 3, "n": 1}, "miss"),
            (Caller(KEY), {"seed": 3, "n": 2}, "miss"),
            (Caller(KEY), {"seed": 3, "n": 2}, "hit"),
            (Caller(cache_control="no-store"), {"seed": 3, "n": 2}, ""),
            (Caller(cache_control="no-cache"), {"seed": 3, "n": 2}, "miss"),
            (Caller(cache_control="no-store"), {"seed": 9}, ""),
            (Caller(), {"seed": 9}, "miss"),  # nothing of the one before was kept
            (Caller(), {}, ""),
        ):
            how, drawn, _ = await ask_for(caller, **fields)
            assert (how, drawn > 0) == (expected, expected != "hit")

    asyncio.run(check())


def test_a_stream_is_answered_with_what_was_drawn_without_one(model_folder: Path):
    async def check() -> None:
        stages = fake_stages()
        gateway = make_gateway(model_folder, stages)
        reply = await gateway.generate({"prompt": "avocado", "seed": 3})
        caller = Caller()
        request = GenerationRequest(prompt="avocado", seed=3, stream=True, partial_images=1)
        (event,) = [event async for event in gateway.stream(request, None, caller)]
        assert (caller.cache, event["type"], num_drawn(stages)) == ("hit", "completed", 1)
        assert event["image"] == reply["data"][0]["image"]

    asyncio.run(check())


def test_who_asks_for_the_same_at_the_same_time_shares_the_drawing_and_one_place(model_folder: Path):
    """Also where the one who began it leaves; a prompt that the policy refuses joins nothing."""

    async def check() -> None:
        stages = fake_stages()
        stages["token_sampler"].delay_s = 0.02
        gateway = make_gateway(model_folder, stages)
        request = GenerationRequest(prompt="avocado", seed=3, n=2)
        callers = [Caller() for _ in range(4)]
        asking = [asyncio.create_task(gateway.draw(request, None, caller)) for caller in callers]
        await asyncio.sleep(0.01)
        assert gateway._admission.pending_images == 2
        asking[0].cancel()
        replies = await asyncio.gather(*asking[1:])
        assert [caller.cache for caller in callers] == ["miss", "joined", "joined", "joined"]
        assert num_drawn(stages) == 2 and replies[0] == replies[1] == replies[2]
        assert not any(response.cancelled for response in stages["token_sampler"].responses)
        assert gateway._admission.pending_images == 0

    asyncio.run(check())


def test_where_nobody_waits_any_more_nothing_is_drawn(model_folder: Path):
    async def check() -> None:
        stages = fake_stages()
        stages["token_sampler"].delay_s = 600
        gateway = make_gateway(model_folder, stages)
        request = GenerationRequest(prompt="avocado", seed=3)
        asking = [asyncio.create_task(gateway.draw(request, None, Caller())) for _ in range(2)]
        await asyncio.sleep(0.01)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert all(response.cancelled for response in stages["token_sampler"].responses)
        assert gateway._admission.pending_images == 0 and not gateway._answers._flights._flights

    asyncio.run(check())


def test_who_has_time_left_draws_what_another_had_none_left_for(model_folder: Path):
    async def check() -> None:
        stages = fake_stages()
        stages["token_sampler"].delay_s = 600
        gateway = make_gateway(model_folder, stages, request_timeout_s=0.2)
        request = GenerationRequest(prompt="avocado", seed=3)
        first = asyncio.create_task(gateway.draw(request, None, Caller()))
        await asyncio.sleep(0.1)
        late = Caller()
        second = asyncio.create_task(gateway.draw(request, None, late))
        await asyncio.sleep(0)
        stages["token_sampler"].delay_s = 0.0
        with pytest.raises(DeadlineExceeded):
            await first
        assert (await second)["data"] and late.cache == "miss"

    asyncio.run(check())


def test_what_was_done_without_something_is_not_kept(model_folder: Path):
    """Images that could not be ranked, for one: the next time they may be."""

    async def check() -> None:
        stages = fake_stages()
        config = AppConfig(models=[ModelConfig(id="fake", source=str(model_folder), unranked_if_scorer_down=True)])
        gateway = Gateway(config, {"fake": stages}, build_api)
        stages["clip_scorer"].errors = [ValueError("broken")]
        first = await gateway.generate({"prompt": "avocado", "seed": 3})
        second = await gateway.generate({"prompt": "avocado", "seed": 3})
        assert [reply["data"][0]["clip_score"] for reply in (first, second)] == [None, 3.0]

    asyncio.run(check())


def test_a_model_that_is_replaced_in_its_place_is_another_one(model_folder: Path):
    first = make_gateway(model_folder)._model(None).fingerprint
    assert make_gateway(model_folder)._model(None).fingerprint == first
    (model_folder / "vqgan" / "more.json").write_text("{}")
    assert make_gateway(model_folder)._model(None).fingerprint != first


def test_batch_work_is_batch_work_on_all_its_way(model_folder: Path):
    async def check() -> None:
        stages = fake_stages()
        stages["token_sampler"].delay_s = 0.01
        gateway = make_gateway(model_folder, stages, max_pending_images=40, max_pending_batch_images=1)
        nightly = Caller(Key(digest=b"2", name="nightly", is_batch=True))
        bulk = GenerationRequest(prompt="avocado", n=10, best_of=40, seed=3)
        mine = bulk.model_copy(update={"priority": "batch"})
        drawing = [asyncio.create_task(gateway.draw(bulk, None, nightly)), asyncio.create_task(gateway.draw(bulk))]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="batch images"):
            await gateway.draw(mine)  # does not join who is not of its class
        with pytest.raises(InvalidValue, match="batch work"):
            await gateway.draw(bulk.model_copy(update={"priority": "interactive"}), None, nightly)
        await asyncio.gather(*drawing)
        sampler = stages["token_sampler"]
        calls = zip(sampler.args_given, sampler.options_given, strict=True)
        given = [options["is_batch"] for (_, seeds, _), options in calls for _ in seeds]
        assert sorted(given) == [False] * 40 + [True] * 40

    asyncio.run(check())


def test_a_key_is_told_what_it_has_had(model_folder: Path):
    async def check() -> None:
        gateway = make_gateway(model_folder)
        for caller, fields in (
            (Caller(KEY), {"seed": 3, "n": 2, "best_of": 5}),
            (Caller(KEY), {"seed": 3, "n": 2, "best_of": 5}),
            (Caller(KEY, cache_control="no-store"), {"seed": 3}),
            (Caller(), {"seed": 3}),
        ):
            await gateway.draw(GenerationRequest(prompt="avocado", **fields), None, caller)
        await gateway.record_autoscaling_stats()
        usage = await gateway.usage(Caller(KEY))
        assert KeyUsage.model_validate(usage).key == "one" and usage["rate_limit"] is None
        counts = {"requests": 3, "images_drawn": 6, "images_returned": 5, "images_not_drawn_again": 2}
        assert counts.items() <= usage.items() and usage["models"] == {"fake": {k: usage[k] for k in USAGE_COUNTS}}
        assert usage["output_tokens"] == 6 * 64
        assert (await gateway.usage(Caller(Key(digest=b"3", name="new"))))["requests"] == 0

    asyncio.run(check())


def test_settings_change_under_requests_and_lose_none(model_folder: Path):
    keys, rules = model_folder / "keys", model_folder / "rules.txt"
    keys.write_text("a-key-of-many-letters")
    rules.write_text("bad")

    async def check() -> None:
        stages = fake_stages()
        stages["token_sampler"].delay_s = 0.02
        gateway = make_gateway(model_folder, stages)
        api = build_api(gateway)
        await gateway.reconfigure({})
        drawing = asyncio.create_task(gateway.generate({"prompt": "bad avocado", "n": 5}))
        await asyncio.sleep(0)
        await gateway.reconfigure(
            {
                "limits": {"max_n": 2},
                "access": {"keys_file": str(keys)},
                "safety": {"prompt_policy_file": str(rules)},
                "gateway": {"max_pending_images": 44, "request_timeout_s": 7},
                "sampling": {"fake": {"top_k": 3}},
            }
        )
        with pytest.raises(Overloaded, match="5 images are waiting to be drawn, and 44 may"):
            await gateway.generate({"prompt": "avocado", "best_of": 40})
        assert len((await drawing)["data"]) == 5
        with pytest.raises(InvalidValue, match="between 1 and 2"):
            await gateway.generate({"prompt": "avocado", "n": 5})
        with pytest.raises(errors.ContentRefused):
            await gateway.generate({"prompt": "bad avocado"})
        await gateway.generate({"prompt": "avocado"})
        assert stages["token_sampler"].args_given[-1][2].top_k == 3
        assert gateway.describe_model("fake")["sampling"]["top_k"] == 3
        transport = httpx.ASGITransport(api)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
            assert (await http.get("/v1/models")).status_code == 401
            await gateway.reconfigure({})  # all as it was
            assert (await http.get("/v1/models")).json()["data"][0]["max_n"] == 10

    asyncio.run(check())


def test_settings_that_are_wrong_change_nothing_later_and_are_refused_at_the_start(model_folder: Path):
    wrong: list[dict[str, Any]] = [
        {"limits": {"max_n": 3}, "access": {"keys_file": "/proc/none"}},
        {"limits": {"max_n": 3}, "safety": {"prompt_policy_file": "/proc/none"}},
        {"limits": {"max_n": 3}, "sampling": {"fake": {"top_p": 3}}},
        {"limits": {"max_n": 3}, "sampling": {"fake": {"cold": 3}}},
        {"limits": {"max_n": 0}},
    ]

    async def check() -> None:
        gateway = make_gateway(model_folder)
        build_api(gateway)
        for user_config in wrong:
            with pytest.raises(DalleServeError):
                await gateway.reconfigure(user_config)
        await gateway.reconfigure({"limits": {"max_n": 4}})
        for user_config in wrong:
            await gateway.reconfigure(user_config)
            assert gateway.config.limits.max_n == 4
            assert [warning.split(":")[0] for warning in degraded.warnings()] == ["user_config"]
        await gateway.reconfigure({"limits": {"max_n": 5}})
        assert not degraded.warnings()

    asyncio.run(check())


def test_the_head_of_a_reply_says_how_it_came(model_folder: Path):
    gateway = make_gateway(model_folder)
    gateway.api = build_api(gateway)  # type: ignore[attr-defined]
    fields = {"prompt": "avocado", "seed": 3}
    heads = [ask(gateway, "POST", GENERATIONS, json=fields).headers.get(CACHE_HEADER) for _ in range(2)]
    heads.append(ask(gateway, "POST", GENERATIONS, json=fields | {"stream": True}).headers.get(CACHE_HEADER))
    heads.append(ask(gateway, "POST", GENERATIONS, json={"prompt": "avocado"}).headers.get(CACHE_HEADER))
    assert heads == ["miss", "hit", "hit", None]


def test_what_is_not_given_is_the_models_default(model_folder: Path):
    seen = []
    sampler = FakeStage(lambda conditions, seeds, sampling: seen.append(sampling) or [np.zeros(3, np.int32)])
    generate(make_gateway(model_folder, fake_stages() | {"token_sampler": sampler}), top_k=7, temperature=None)
    (sampling,) = seen
    assert (sampling.guidance_scale, sampling.temperature, sampling.top_k, sampling.top_p) == (4.0, 1.0, 7, 1.0)


TODAYS_NAMES = ["dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2-2026-04-21",
                "gpt-image-2.5-sunburst", "gpt-image-2.6-flare", "chatgpt-image-latest"]  # fmt: skip


@pytest.mark.parametrize("name", [None, "", "fake", *TODAYS_NAMES])
def test_names_of_the_default_model(model_folder: Path, name: str | None):
    assert generate(make_gateway(model_folder), model=name)["data"]


def aliased(folder: Path, **settings: Any) -> Gateway:
    models = [ModelConfig(id=name, source=str(folder)) for name in ("fake", "gpt-image-of-our-own")]
    return Gateway(AppConfig(models=models, **settings), {model.id: fake_stages() for model in models}, build_api)


def test_a_models_own_id_goes_before_any_alias(model_folder: Path):
    gateway = aliased(model_folder)
    assert gateway.describe_model("gpt-image-of-our-own")["id"] == "gpt-image-of-our-own"
    assert gateway.describe_model("gpt-image-2")["id"] == "fake"
    with pytest.raises(ModelNotFound):
        gateway.describe_model("my-gpt-image-2")


def test_aliases_are_the_operators(model_folder: Path):
    gateway = aliased(model_folder, default_model_aliases=["sd*"])
    assert gateway.describe_model("sdxl")["id"] == "fake"
    with pytest.raises(ModelNotFound):
        gateway.describe_model("dall-e-2")


def test_strict_models_have_no_aliases(model_folder: Path):
    gateway = aliased(model_folder, strict_models=True)
    assert gateway.describe_model("gpt-image-of-our-own") and gateway.describe_model("fake")
    for name in TODAYS_NAMES:
        with pytest.raises(ModelNotFound, match="Known are: fake, gpt-image-of-our-own"):
            gateway.describe_model(name)


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"model": "other"}, ModelNotFound, None),
        ({"size": "8x8"}, InvalidValue, "size"),
        ({"size": "\uff12x2"}, InvalidValue, "size"),
        ({"n": 11}, InvalidValue, "n"),
        ({"prompt": None}, MissingParameter, "prompt"),
        ({"strength": 3}, UnknownParameter, "strength"),
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


def translating(folder: Path, monkeypatch: pytest.MonkeyPatch, words: dict[str, str], **safety: Any) -> Gateway:
    module = ModuleType("my_words")
    module.to_english = words.__getitem__  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_words", module)
    config = AppConfig(
        models=[ModelConfig(id="fake", source=str(folder))],
        gateway=GatewayConfig(translator="my_words:to_english"),
        safety=SafetyConfig(**safety),
    )
    return Gateway(config, {"fake": fake_stages()}, build_api)


def test_prompts_are_drawn_in_the_translators_words(model_folder: Path, monkeypatch: pytest.MonkeyPatch):
    gateway = translating(model_folder, monkeypatch, {"Ein Apfel": "An apple"})
    (image,) = generate(gateway, prompt="Ein Apfel")["data"]
    assert image["revised_prompt"] == "an apple"
    reply = generate(gateway, prompt="Eine Birne")
    assert reply["data"][0]["revised_prompt"] == "eine birne" and "could not be translated" in reply["warning"]


def test_the_prompt_policy_sees_both_wordings(model_folder: Path, monkeypatch: pytest.MonkeyPatch):
    rules = model_folder / "rules.txt"
    rules.write_text("bomb\nverboten\n")
    asked: list[str] = []

    class Words(dict[str, str]):
        def __getitem__(self, text: str) -> str:
            asked.append(text)
            return super().__getitem__(text)

    words = Words({"eine Bombe": "a bomb", "Apfel": "apple"})
    gateway = translating(model_folder, monkeypatch, words, prompt_policy_file=str(rules))
    for prompt in ("eine Bombe", "verboten"):
        with pytest.raises(errors.ContentRefused):
            generate(gateway, prompt=prompt)
    assert generate(gateway, prompt="Apfel")["data"]
    assert asked == ["eine Bombe", "Apfel"]  # what is refused as it comes is not shown to a translator


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
        errors.ContentRefused("no", "prompt", "output"),
        NotFinite("NaN"),
        UnknownParameter("steps?", "steps"),
        MissingParameter("prompt?", "prompt"),
        InvalidValue("n?", "n"),
    ],
)
def test_errors_survive_the_way_to_a_python_caller(error: Exception):
    arrived = copy.copy(error)  # taken apart and put together as between processes
    assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))


def test_what_cannot_sign_ends_the_start(model_folder: Path):
    model = ModelConfig(id="fake", source=str(model_folder))
    for settings in ({"c2pa_key": "key.pem"}, {"c2pa_timestamp_url": "http://time.example"}):
        with pytest.raises(ValueError, match="c2pa_certificates and c2pa_key"):
            FilesConfig.model_validate(settings)
    missing = FilesConfig(c2pa_certificates=str(model_folder / "chain.pem"), c2pa_key=str(model_folder / "key.pem"))
    with pytest.raises(DalleServeError, match=r"chain\.pem cannot be read"):
        Gateway(AppConfig(models=[model], files=missing), {"fake": fake_stages()}, build_api)
