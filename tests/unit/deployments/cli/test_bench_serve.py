"""The bench of serving asks both sides for the same images, in turns."""

from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from deployments import local
from deployments.cli.bench_serve import bench_serve
from deployments.errors import RequestFailed
from model_core.pipeline import Pipeline


@pytest.fixture
def asked(monkeypatch) -> list[tuple[str, int, int]]:
    """What was asked of whom: a service that only answers, and a model that draws black pictures."""
    asked = []

    @contextmanager
    def service(config, port, report):
        yield SimpleNamespace(url="http://service")

    class Model:
        def warm_up(self):
            pass

        def generate(self, prompt, n, seed):
            asked.append(("in process", n, seed))
            return [SimpleNamespace(image=np.zeros((8, 8, 3), np.uint8))] * n

    def post(client, url, json, headers):
        assert headers == {"cache-control": "no-store"}  # each is to be drawn
        asked.append(("served", json["n"], json["seed"]))
        return httpx.Response(200)

    monkeypatch.setattr(local, "LocalService", service)
    monkeypatch.setattr(Pipeline, "from_model", lambda *args, **options: Model())
    monkeypatch.setattr(httpx.Client, "post", post)
    return asked


def test_every_round_asks_both_for_the_same(asked):
    report = bench_serve("emoji", images=3, repeats=2, report=lambda line: None)
    counted = asked[2:]  # the first of each is not
    assert counted == [("served", 3, 0), ("in process", 3, 0), ("served", 3, 1), ("in process", 3, 1)]
    assert report.images == 3
    assert report.ratio > 0


def test_a_refusal_ends_the_bench(asked, monkeypatch):
    monkeypatch.setattr(httpx.Client, "post", lambda *args, **options: httpx.Response(503, text="down"))
    with pytest.raises(RequestFailed, match="down"):
        bench_serve("emoji", images=1, repeats=1, report=lambda line: None)
