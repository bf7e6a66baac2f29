"""A fleet simulated: as many samplers as one likes, and gateways and proxies that cost what was measured.

    python -m loadtest.fleet_simulation out/fleet/fleet.json

First it simulates the services that were measured, on as many cores as this machine has, and says how far it is off.
Then it gives every gateway a core and a proxy of its own, and every sampler an accelerator, and says up to how many
samplers the control plane keeps up: 0.95 of what they could draw.
"""

import argparse
import json
import os
import random
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import simpy

from loadtest.fleet import CLIENT, NINE, Measurement, load

KEEPS_UP = 0.95
PARTS = 4  # of a gateway's work on an image: begun, sampled, decoded, finished
GATEWAYS = (1, 2, 4)
SAMPLERS = (1, 10, 20, 30, 40, 60, 80, 100)
Steps = Generator[simpy.Event, Any, None]


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What is simulated.

    Attributes:
      slots: of one sampler, in each of which an image stays for `seconds_an_image`.
      cores: that all processes share; None gives each its own.
      proxies: None: one for each gateway.
    """

    gateways: int
    samplers: int
    slots: int
    seconds_an_image: float
    images_in_flight: int = 10
    cores: int | None = None
    proxies: int | None = None

    @property
    def capacity(self) -> float:
        """Images a second that the samplers could draw."""
        return self.samplers * self.slots / self.seconds_an_image if self.seconds_an_image else float("inf")


class _Process:
    """One process: it does one thing at a time, on one of the cores."""

    def __init__(self, world: "Simulation"):
        self._world = world
        self._turn = simpy.Resource(world.env)

    def work(self, seconds: float) -> Steps:
        """Takes so long, when its turn has come."""
        with self._turn.request() as turn:
            yield turn
            if self._world.cores is None:
                yield self._world.env.timeout(seconds)
                return
            with self._world.cores.request() as core:
                yield core
                yield self._world.env.timeout(seconds)


class Simulation:
    """Clients that ask for `drawn` images each, again and again, of a fleet.

    Args:
      cpu_ms: CPU milliseconds an image, by hop, as they were measured.
    """

    def __init__(self, fleet: Fleet, cpu_ms: dict[str, float], drawn: int, clients: int, seed: int = 0):
        self.env = simpy.Environment()
        self.cores = simpy.Resource(self.env, fleet.cores) if fleet.cores else None
        self._fleet, self._drawn, self._random = fleet, drawn, random.Random(seed)
        self._cost = {hop: ms / 1000 for hop, ms in cpu_ms.items()}
        self._proxies = [_Process(self) for _ in range(fleet.proxies or fleet.gateways)]
        self._gateways = [_Process(self) for _ in range(fleet.gateways)]
        self._samplers = [_Process(self) for _ in range(fleet.samplers)]
        self._slots = [simpy.Resource(self.env, fleet.slots) for _ in range(fleet.samplers)]
        # Decoders, scorers and encoders are added as samplers are; on one machine there is one of each.
        beside = 1 if fleet.cores else fleet.samplers
        self._others = {
            hop: [_Process(self) for _ in range(beside)] for hop in ("text_encoder", "image_decoder", "clip_scorer")
        }
        self._raylets = [_Process(self) for _ in range(1 if fleet.cores else fleet.gateways)]
        self.images = 0
        for _ in range(clients):
            self.env.process(self._client())

    def images_per_second(self, seconds: float) -> float:
        """Runs for a while to fill up, then counts."""
        self.env.run(seconds / 2)
        before, began = self.images, self.env.now
        self.env.run(began + seconds)
        return (self.images - before) / seconds

    def _client(self) -> Steps:
        yield self.env.timeout(self._random.random() * self._fleet.seconds_an_image)  # not all at once
        while True:
            proxy, gateway = self._least_busy(self._proxies), self._least_busy(self._gateways)
            yield from proxy.work(self._drawn * self._cost["proxy"] / 2)
            if self._fleet.cores:  # the clients are on the same machine
                yield from _Process(self).work(self._drawn * self._cost[CLIENT])
            yield from self._random.choice(self._others["text_encoder"]).work(self._drawn * self._cost["text_encoder"])
            window = simpy.Resource(self.env, self._fleet.images_in_flight)
            yield self.env.all_of([self.env.process(self._image(gateway, window)) for _ in range(self._drawn)])
            yield from proxy.work(self._drawn * self._cost["proxy"] / 2)
            self.images += self._drawn

    def _image(self, gateway: _Process, window: simpy.Resource) -> Steps:
        mine = self._cost["gateway"] / PARTS
        with window.request() as place:
            yield place
            yield from gateway.work(mine)
            yield from self._random.choice(self._raylets).work(self._cost["raylet"] + self._cost["rest"])
            number = self._two_choices()
            with self._slots[number].request() as slot:
                yield slot
                yield from self._samplers[number].work(self._cost["token_sampler"])
                yield self.env.timeout(self._fleet.seconds_an_image)
            yield from gateway.work(mine)
            for hop in ("image_decoder", "clip_scorer"):
                yield from self._random.choice(self._others[hop]).work(self._cost[hop])
            yield from gateway.work(mine)
        yield from gateway.work(mine)

    def _two_choices(self) -> int:
        """The less busy one of two samplers, as Serve's router chooses."""
        both = self._random.choices(range(len(self._slots)), k=2)
        return min(both, key=lambda number: self._slots[number].count + len(self._slots[number].queue))

    def _least_busy(self, processes: list[_Process]) -> _Process:
        return min(self._random.sample(processes, min(2, len(processes))), key=lambda one: len(one._turn.queue))


def simulated(one: Measurement, cores: int, seconds: float) -> float:
    """Images a second of a measured service, by what it was measured to cost."""
    setup = one.setup
    fleet = Fleet(
        gateways=setup.gateways,
        samplers=setup.samplers,
        slots=setup.slots,
        seconds_an_image=setup.seconds_an_image,
        images_in_flight=setup.images_in_flight,
        cores=cores,
        proxies=1,
    )
    return Simulation(fleet, one.cpu_ms, one.drawn, one.clients).images_per_second(seconds)


def curve(cost: Measurement, gateways: int, asked: argparse.Namespace) -> Iterator[dict[str, float]]:
    """Images a second of so many gateways, by the number of samplers."""
    for samplers in SAMPLERS:
        fleet = Fleet(
            gateways=gateways,
            samplers=samplers,
            slots=asked.slots,
            seconds_an_image=asked.slots / asked.sampler_rate,
        )
        clients = max(2, -(-3 * samplers * asked.slots // (2 * cost.drawn)))
        rate = Simulation(fleet, cost.cpu_ms, cost.drawn, clients).images_per_second(asked.seconds)
        yield {"samplers": samplers, "images_per_second": rate, "share": rate / fleet.capacity}


def main() -> None:
    """Prints both, and draws them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=Path, help="what loadtest.fleet has written")
    parser.add_argument("--before", type=Path, help="the same of an earlier version, to be drawn beside it")
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="of the machine that was measured")
    parser.add_argument("--sampler-rate", type=float, default=5.0, help="images a second of one sampler of the fleet")
    parser.add_argument("--slots", type=int, default=16, help="of one sampler of the fleet")
    parser.add_argument("--seconds", type=float, default=24.0, help="that are simulated for each point")
    parser.add_argument("--plot", type=Path, help="draw it here")
    asked = parser.parse_args()
    measured = load(asked.measured)
    checks = []
    for one in measured:
        rate = simulated(one, asked.cores, asked.seconds)
        checks.append({"way": one.way, **asdict(one.setup), "measured": one.images_per_second, "simulated": rate})
        print(
            f"{one.way}, {one.setup.gateways} gateways, {one.setup.samplers} samplers: measured "
            f"{one.images_per_second:.1f} images/s, simulated {rate:.1f} ({rate / one.images_per_second - 1:+.0%})"
        )
    off = median(abs(check["simulated"] / check["measured"] - 1) for check in checks)
    print(f"median error {off:.0%}\n")
    (cost,) = [one for one in measured if one.way == NINE.name and one.setup == measured[0].setup]
    curves = {gateways: list(curve(cost, gateways, asked)) for gateways in GATEWAYS}
    for gateways, points in curves.items():
        kept = max((point["samplers"] for point in points if point["share"] >= KEEPS_UP), default=0)
        most = max(point["images_per_second"] for point in points)
        print(f"{gateways} gateway cores: {kept} samplers at {KEEPS_UP:.0%} or more, {most:.0f} images/s at most")
    result = {"checks": checks, "curves": curves}
    asked.measured.with_name("simulation.json").write_text(json.dumps(result, indent=2))
    if asked.plot:
        from loadtest.fleet_plot import draw

        draw(asked.plot, curves, asked.sampler_rate, measured, load(asked.before) if asked.before else [])


if __name__ == "__main__":
    main()
