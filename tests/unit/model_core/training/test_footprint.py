"""What a run took: added up over its parts and attempts, and honest about what was not measured."""

import json
from pathlib import Path

import pytest

from model_core.training.footprint import FILE, NOT_MEASURED, Footprint, in_words, of_run

HOUR = 3600.0


def write(folder: Path, *lines: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_parts_and_attempts_add_up_and_half_a_line_is_left_out(tmp_path: Path):
    write(tmp_path / "vqgan", {"step": 1, "device": "a CPU", "seconds": 10.0})
    write(
        tmp_path / "dalle_bart",
        {"step": 50, "device": "2 x H100", "seconds": 20.0, "joules": 300.0},
        {"step": 50, "device": "2 x H100", "seconds": 5.0, "joules": 50.0},  # again, after a kill
    )
    with (tmp_path / "dalle_bart" / FILE).open("a") as file:
        file.write('{"step": 100, "sec')
    took = of_run(tmp_path)
    assert took == Footprint(devices=("2 x H100", "a CPU"), seconds=35.0, measured_s=25.0, joules=350.0)


@pytest.mark.parametrize(
    ("measured_h", "watts", "energy", "kwh"),
    [
        (4, None, "measured", 2.0),
        (4, 100, "measured", 2.0),
        (1, None, "measured for 1 of 4 hours", 2.0),
        (1, 100, "estimated at 100 W for 3 of 4 hours", 2.3),
        (0, 100, "estimated at 100 W", 0.4),
        (0, None, NOT_MEASURED, None),
    ],
)
def test_what_was_measured_is_told_apart_from_what_was_not(measured_h, watts, energy, kwh):
    joules = 2 * 3.6e6 if measured_h else 0.0
    took = Footprint(devices=("a GPU",), seconds=4 * HOUR, measured_s=measured_h * HOUR, joules=joules)
    told = took.told(watts, grams_per_kwh=500)
    assert (told["hours"], told["energy"], told.get("kwh")) == (4.0, energy, kwh)
    assert told.get("kg_co2") == (None if kwh is None else kwh / 2)
    assert told["grams_co2_per_kwh"] == 500
    assert energy in in_words(told)
    assert "kg_co2" not in took.told(watts)
