import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from deployments.cli.main import app
from deployments.config import AppConfig
from deployments.scaling.planner import BUSY, Cost, plan, read_costs
from model_core.errors import InvalidValue


def cost(stage: str, images: int, seconds: float) -> Cost:
    return Cost(stage=stage, images=images, seconds=seconds, device="cpu")


SAMPLER = cost("token_sampler", 8, 4.0)  # 2 images/s
DECODER = cost("image_decoder", 4, 0.4)  # 10 images/s


def test_a_plan_to_compute_by_hand():
    made = plan([SAMPLER, DECODER], images_per_second=3.0, wait_s=10)
    assert [(part.cost.stage, part.replicas) for part in made.stages] == [("token_sampler", 2), ("image_decoder", 1)]
    assert [part.busy for part in made.stages] == pytest.approx([0.75, 0.3])
    assert made.image_seconds == pytest.approx(4.4)
    assert made.max_pending_images == 44  # 3 images/s × 14.4 s


def test_stages_that_share_a_device_take_their_turns():
    made = plan([SAMPLER, DECODER], images_per_second=3.0)
    assert made.shared_per_second == pytest.approx(1 / 0.6)  # half a second to sample, a tenth to decode
    assert made.shared_machines == 3  # each draws 1.25 images/s at three quarters


def test_what_best_of_drops_has_to_be_drawn_as_well():
    one, eight = (plan([SAMPLER, DECODER], images_per_second=3.0, best_of=best_of) for best_of in (1, 8))
    assert eight.drawn_per_second == 8 * one.drawn_per_second
    assert eight.stages == plan([SAMPLER, DECODER], images_per_second=24.0).stages


def test_of_several_batch_sizes_the_fastest_is_taken():
    made = plan([cost("token_sampler", 1, 1.0), SAMPLER, cost("token_sampler", 16, 9.0)], images_per_second=1.0)
    assert made.stages[0].cost == SAMPLER


@given(rate=st.floats(0.01, 1e4), images=st.integers(1, 64), seconds=st.floats(0.01, 100))
def test_no_replica_is_busier_than_it_may_be_and_none_is_too_many(rate: float, images: int, seconds: float):
    (part,) = plan([cost("token_sampler", images, seconds)], images_per_second=rate).stages
    assert part.busy <= BUSY * (1 + 1e-9)
    assert part.replicas == 1 or part.busy * part.replicas / (part.replicas - 1) > BUSY * (1 - 1e-9)


def test_emissions_are_those_of_all_devices_busy_or_not():
    """Three replicas at 200 W for half an image a second; DALL·E mini's card by the same rule: a chip, 72 h."""
    made = plan([Cost(stage="token_sampler", images=1, seconds=4.0, device="x")], images_per_second=0.5)
    assert [part.replicas for part in made.stages] == [3]
    emitted = made.emissions(watts=200, grams_per_kwh=500)
    assert (emitted.joules_per_image, emitted.kwh_per_day, emitted.kg_per_day) == pytest.approx((1200, 14.4, 7.2))
    card = plan([Cost(stage="token_sampler", images=1, seconds=1.0, device="x")], images_per_second=0.5)
    assert 3 * card.emissions(watts=283, grams_per_kwh=370).kg_per_day == pytest.approx(7.54, abs=0.005)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_must_be_above_nothing(rate: float):
    with pytest.raises(InvalidValue, match="above 0"):
        plan([SAMPLER], images_per_second=rate)


def test_without_the_sampler_there_is_no_plan():
    with pytest.raises(InvalidValue, match="bench engine"):
        plan([DECODER], images_per_second=1.0)
    with pytest.raises(InvalidValue, match="best_of 1 is below n 2"):
        plan([SAMPLER], images_per_second=1.0, n=2)


def write(path: Path, what: str, *measured: tuple[int, float], **settings: float) -> str:
    measurements = [{"images": images, "seconds": seconds} for images, seconds in measured]
    report = {"what": what, "machine": {"device": "cpu"}, "settings": settings, "measurements": measurements}
    path.write_text(json.dumps(report))
    return str(path)


def test_the_command_reads_reports_and_prints_settings_that_the_service_takes(tmp_path: Path):
    reports = [
        write(tmp_path / "engine.json", "engine", (1, 1.0), (8, 4.0)),
        write(tmp_path / "decoder.json", "decoder", (4, 0.4)),
    ]
    shown = CliRunner().invoke(app, ["plan", *reports, "--images-per-second", "3"])
    assert shown.exit_code == 0 and "token_sampler" in shown.stdout and "CO2" not in shown.stdout
    told = CliRunner().invoke(app, ["plan", *reports, "--images-per-second", "3", "--emissions", "370"])
    assert "At 700 W a device and 370 g of CO2" in " ".join(told.stdout.split())
    printed = CliRunner().invoke(app, ["plan", *reports, "--images-per-second", "3", "--best-of", "8", "--json"])
    config = AppConfig.model_validate(json.loads(printed.stdout))
    assert config.models[0].token_sampler.min_replicas == 16
    assert config.models[0].token_sampler.slots == 8


@pytest.mark.parametrize(("guidance_scale", "slots"), [(10.0, 9), (1.0, 5)])
def test_two_images_without_guidance_share_a_slot(tmp_path: Path, guidance_scale: float, slots: int):
    report = write(tmp_path / "engine.json", "engine", (9, 4.0), guidance_scale=guidance_scale)
    settings = plan(read_costs(Path(report)), images_per_second=1.0).settings()
    config = AppConfig.model_validate(settings)
    assert config.models[0].token_sampler.slots == slots


def test_another_file_is_refused_by_name(tmp_path: Path):
    (tmp_path / "other.json").write_text('{"what": "weather"}')
    for name in ("other.json", "none.json"):
        with pytest.raises(InvalidValue, match=name):
            read_costs(tmp_path / name)
