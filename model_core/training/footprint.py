"""What a run took: hours, electricity, and the CO2 of making it, added up from the lines of `speed.jsonl`.

Every attempt adds its lines, what a killed one did for nothing too; but for the steps after its last look. Energy is
what was measured, or an estimate by a stated power, and is said to be one or the other, or neither.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "speed.jsonl"
KWH = 3.6e6  # joules
NOT_MEASURED = "not measured where it was trained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What was computed on, for how long, and what it consumed.

    Attributes:
      devices: names, in the order of their first use.
      seconds: by the clock, all parts of the run one after another.
      measured_s: those of them in which energy was measured, which came to `joules`.
    """

    devices: tuple[str, ...]
    seconds: float
    measured_s: float
    joules: float

    def told(self, watts: float | None = None, grams_per_kwh: float | None = None) -> dict[str, Any]:
        """The footprint as `training` of model.json.

        Args:
          watts: what all devices of the run take together, for the hours in which nothing was measured.
          grams_per_kwh: of CO2 equivalent, of the electricity where the devices were.
        """
        hours, missing_h = self.seconds / 3600, (self.seconds - self.measured_s) / 3600
        told: dict[str, Any] = {"devices": list(self.devices), "hours": _rounded(hours)}
        if grams_per_kwh is not None:
            told["grams_co2_per_kwh"] = grams_per_kwh
        kwh = self.joules / KWH
        if missing_h <= 0.001 * hours:
            told["energy"] = "measured"
        elif watts is not None:
            kwh += missing_h * watts / 1000
            part = f" for {missing_h:.3g} of {hours:.3g} hours" if self.measured_s else ""
            told |= {"energy": f"estimated at {watts:g} W{part}", "watts": watts}
        elif self.measured_s:
            told["energy"] = f"measured for {hours - missing_h:.3g} of {hours:.3g} hours"
        else:
            return told | {"energy": NOT_MEASURED}
        told["kwh"] = _rounded(kwh)
        if grams_per_kwh is not None:
            told["kg_co2"] = _rounded(kwh * grams_per_kwh / 1000)
        return told


def of_part(folder: Path) -> Footprint:
    """Of one part of a run, as of its folder's `speed.jsonl`; nothing where there is none yet."""
    return _added([folder / FILE])


def of_run(folder: Path) -> Footprint:
    """Of all parts of a run."""
    return _added(sorted(folder.glob(f"*/{FILE}")))


def in_words(told: dict[str, Any]) -> str:
    """What `told` gives, as a line."""
    devices = ", ".join(told["devices"]) or "devices that were not noted"
    words = f"{told['hours']:g} h on {devices}; energy {told['energy']}"
    if "kwh" in told:
        words += f": {told['kwh']:g} kWh"
    if "kg_co2" in told:
        words += f", {told['kg_co2']:g} kg of CO2 equivalent at {told['grams_co2_per_kwh']:g} g a kWh"
    return words


def _added(files: Iterable[Path]) -> Footprint:
    lines = [line for file in files if file.exists() for line in _lines(file)]
    measured = [line for line in lines if "joules" in line]
    return Footprint(
        devices=tuple(dict.fromkeys(line["device"] for line in lines if "device" in line)),
        seconds=sum(line["seconds"] for line in lines),
        measured_s=sum(line["seconds"] for line in measured),
        joules=sum(line["joules"] for line in measured),
    )


def _lines(file: Path) -> list[dict[str, Any]]:
    """Whole ones: a kill may leave half of one, behind which the next attempt goes on."""
    found = []
    for text in file.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return found


def _rounded(number: float) -> float:
    return float(f"{number:.3g}")
