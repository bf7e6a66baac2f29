import argparse
from pathlib import Path

import pytest

from loadtest import fleet_simulation
from loadtest.fleet import COLUMNS, Measurement, Setup, hop_of, plan, table
from loadtest.fleet_simulation import Fleet, Simulation, curve, simulated


def measurement(gateway_ms: float = 10.0, **setup: float) -> Measurement:
    costs = dict.fromkeys(COLUMNS, 0.0) | {"gateway": gateway_ms, "proxy": 1.0}
    return Measurement(
        setup=Setup(**setup),  # type: ignore[arg-type]
        way="n=9",
        drawn=9,
        clients=8,
        images_per_second=50.0,
        cpu_ms=costs,
    )


@pytest.mark.parametrize(
    ("title", "hop"),
    [
        ("ray::ServeReplica:dalle-serve:gateway.handle_request_with_rejection", "gateway"),
        ("ray::image_decoder.handle_request_with_rejection", "image_decoder"),
        ("ray::ServeReplica:dalle-serve:emoji.token_sampler", "token_sampler"),
        ("ray::ProxyActor.receive_asgi_messages", "proxy"),
        ("ray::ServeController", "rest"),
        ("/venv/ray/core/src/ray/raylet/raylet --store_socket_name=x", "raylet"),
        ("/venv/ray/core/src/ray/gcs/gcs_server --log_dir=/raylet", "rest"),
    ],
)
def test_processes_are_known_by_what_ray_calls_them(title: str, hop: str):
    assert hop_of(title) == hop


def test_the_table_says_what_a_gateway_core_would_take():
    head, _, row = table([measurement()]).splitlines()
    cells = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert cells["images/s a gateway core |"] == "100 |" and cells["gateway"] == "10.00"
    assert {setup.gateways for setup, _ in plan(1.0)} == {1, 2, 4}


def test_a_slow_sampler_is_what_a_small_fleet_waits_for():
    one = measurement(samplers=2, slots=8, seconds_an_image=2.0)
    assert simulated(one, cores=2, seconds=40.0) == pytest.approx(8.0, rel=0.1)


def test_what_computes_nothing_is_bound_by_cores():
    """11 ms an image on one core are 91 images a second; a second core helps the proxy, and no second gateway."""
    assert simulated(measurement(), cores=1, seconds=4.0) == pytest.approx(1000 / 11, rel=0.1)
    assert simulated(measurement(), cores=2, seconds=4.0) == pytest.approx(100, rel=0.1)


def test_samplers_add_up_until_the_gateways_are_full(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fleet_simulation, "SAMPLERS", (2, 16))
    asked = argparse.Namespace(slots=4, sampler_rate=10.0, seconds=6.0)
    few, many = curve(measurement(), 1, asked)
    assert few["share"] == pytest.approx(1, abs=0.1) and many["share"] < 0.75
    assert many["images_per_second"] == pytest.approx(100, rel=0.15)
    _, with_two = curve(measurement(), 2, asked)
    assert with_two["share"] > 0.9


def test_more_than_one_gateway_shares_the_work():
    fleet = Fleet(gateways=4, samplers=1, slots=256, seconds_an_image=0.0)
    rate = Simulation(fleet, measurement().cpu_ms, 9, 16).images_per_second(4.0)
    assert 300 < rate < 410


def test_the_picture_is_drawn(tmp_path: Path):
    from loadtest.fleet_plot import draw

    points = [{"samplers": 1, "images_per_second": 5.0, "share": 1.0}]
    draw(tmp_path / "fleet.png", {1: points}, 5.0, [measurement()], [measurement(12.0)])
    assert (tmp_path / "fleet.png").read_bytes().startswith(b"\x89PNG")
