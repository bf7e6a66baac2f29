"""Updates while clients draw: no request fails, and a version that does not start changes nothing."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from ray import serve

from deployments.app import build_app
from deployments.config import APP_NAME, AppConfig
from deployments.local import LocalService
from tests.chaos.clients import PATIENCE_S, Load, Sketchbook
from tests.chaos.conftest import tiny_config
from tests.serve.processes import replica

STAGE = "token_sampler"


def deploy(config: AppConfig) -> None:
    target = serve.RunTarget(target=build_app(config), name=APP_NAME, route_prefix="/")
    serve.run_many([target], wait_for_applications_running=False)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 2 * PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.2)


def test_new_weights_come_without_a_failed_request(
    service: LocalService, sketchbook: Sketchbook, tiny_model: Path, tmp_path: Path, note: Callable[..., None]
):
    moved = tmp_path / "tiny"  # the same weights elsewhere, so that pictures can be compared
    shutil.copytree(tiny_model, moved)
    _update_under_load(service, tiny_config(moved), STAGE, sketchbook, note)


def test_a_new_gateway_comes_without_a_failed_request(
    service: LocalService, sketchbook: Sketchbook, config: AppConfig, note: Callable[..., None]
):
    gateway = config.gateway.model_copy(update={"images_in_flight": config.gateway.images_in_flight + 1})
    _update_under_load(service, config.model_copy(update={"gateway": gateway}), "gateway", sketchbook, note)


def test_a_version_that_does_not_load_leaves_the_old_one_serving(
    service: LocalService, sketchbook: Sketchbook, tiny_model: Path, tmp_path: Path, note: Callable[..., None]
):
    broken_model = tmp_path / "tiny"
    shutil.copytree(tiny_model, broken_model)
    weights = broken_model / "dalle_bart/flax_model.msgpack"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with Load(service.url) as load:
        load.wait_for_answers(4)
        deploy(tiny_config(broken_model))
        wait_until(lambda: serve.status().applications[APP_NAME].status == "DEPLOY_FAILED", "the update fails")
        failed = time.monotonic()
        load.wait_for_answers(6, begun_after=failed)
    message = serve.status().applications[APP_NAME].deployments[f"tiny.{STAGE}"].message
    broken = [why for answer in load.answers for why in answer.breaks]
    note(requests=len(load.answers), broken=broken, said=message[-300:])
    assert all(answer.picture == sketchbook[answer.seed] for answer in load.answers)
    assert broken == []


def _update_under_load(
    service: LocalService, config: AppConfig, changed: str, sketchbook: Sketchbook, note: Callable[..., None]
) -> None:
    """Deploys `config` while clients draw, until `changed` is another replica and has answered for a while."""
    old, began = replica(changed), time.monotonic()
    with Load(service.url) as load:
        load.wait_for_answers(4)
        deploy(config)
        wait_until(lambda: _is_new(changed, old), f"a new {changed} alone")
        updated = time.monotonic()
        load.wait_for_answers(6, begun_after=updated)
    assert all(answer.picture == sketchbook[answer.seed] for answer in load.answers)
    broken = [why for answer in load.answers for why in answer.breaks]
    note(requests=len(load.answers), broken=broken, update_s=round(updated - began, 1))
    assert broken == []


def _is_new(deployment: str, old: int) -> bool:
    try:
        return replica(deployment) != old
    except ValueError:  # two of them
        return False
