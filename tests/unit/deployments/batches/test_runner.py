"""The work in the background, with a gateway that draws at once, or as the test says."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from deployments.batches import queue, runner
from deployments.batches.database import Database
from deployments.batches.files import Files
from deployments.batches.registry import Registry
from deployments.batches.runner import Runner
from deployments.batches.webhooks import Webhooks
from deployments.config import AppConfig, BatchesConfig
from deployments.errors import BatchesUnavailable, Overloaded, ShuttingDown, StageFailed, StageUnavailable
from deployments.requests.schemas import DrawingRequest, Upload
from model_core.errors import ModelNotFound
from tests.unit.deployments.batches.conftest import ENDPOINT, jsonl

REPLY = {"created": 1, "output_format": "png"}
PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("POLL_S", 0.01), ("RENEW_S", 0.02), ("PAUSE_S", 0.02)):
        monkeypatch.setattr(runner, name, value)
    monkeypatch.setattr(queue, "RETRY_S", 0.01)


class Rig:
    """A database, its callers, and as many runners as the test asks for."""

    def __init__(self, folder: Path):
        self.config = AppConfig(batches=BatchesConfig(requests_in_flight=3, max_lines=20))
        self.database = Database(f"sqlite:///{folder}/batches.sqlite")
        self.files = Files(self.database, self.config.batches)
        self.registry = Registry(self.database, self.files, self.config.batches)
        self.drawn: list[str] = []
        self.seconds = 0.0
        self.errors: list[Exception] = []

    async def draw(self, request: DrawingRequest, upload: Upload | None = None) -> dict[str, Any]:
        """Raises the first of the errors there are; else draws `image of <prompt>`."""
        assert request.priority == "batch"  # type: ignore[attr-defined]  whether there are classes or not
        self.drawn.append(request.prompt)
        if self.errors:
            raise self.errors.pop(0)
        await asyncio.sleep(self.seconds)
        return REPLY | {"data": [{"image": f"image of {request.prompt}".encode(), "seed": 1}]}

    @asynccontextmanager
    async def working(self, name: str = "one", draw: Any = None) -> AsyncIterator[Runner]:
        webhooks = Webhooks(self.config.batches)
        one = Runner(
            lambda: self.config,
            self.database,
            webhooks,
            name,
            draw or self.draw,
            lambda error: (400, {"error": str(error)}),
        )
        async with one.running():
            yield one

    def create(self, data: bytes) -> str:
        file = self.files.add("", "a", io.BytesIO(data))["id"]
        return self.registry.create("", file, ENDPOINT)["id"]

    def status(self, batch: str) -> str:
        return self.registry.get("", batch)["status"]

    def lines(self, batch: str, kind: str = "output_file_id") -> list[dict[str, Any]]:
        content = self.files.content("", self.registry.get("", batch)[kind])[1]
        return [json.loads(line) for line in b"".join(content).splitlines()]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)  # between looks


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 2 * PATIENCE_S))  # type: ignore[arg-type]  a coroutine is what it is


async def ended(rig: Rig, batch: str) -> str:
    await until(lambda: rig.status(batch) not in ("validating", "in_progress", "cancelling"))
    return rig.status(batch)


def test_a_batch_is_drawn_and_answered_in_order(rig: Rig):
    async def story() -> None:
        batch = rig.create(jsonl("a cat", "a dog", {"prompt": "a cow", "n": 99}, "a hen"))
        async with rig.working():
            assert await ended(rig, batch) == "completed"
        lines = rig.lines(batch)
        assert [line["custom_id"] for line in lines] == ["one-1", "one-2", "one-4"]
        body = lines[0]["response"]["body"]
        assert lines[0]["response"]["status_code"] == 200 and lines[0]["error"] is None
        assert body["data"] == [{"b64_json": "aW1hZ2Ugb2YgYSBjYXQ=", "seed": 1}]
        (failed,) = rig.lines(batch, "error_file_id")
        assert failed["response"]["status_code"] == 400 and "n must be" in failed["response"]["body"]["error"]
        assert sorted(rig.drawn) == ["a cat", "a dog", "a hen"]

    run(story)


def test_a_broken_file_fails_the_batch_before_anything_is_drawn(rig: Rig):
    async def story() -> None:
        async with rig.working():
            assert await ended(rig, batch := rig.create(jsonl("a cat") + b"{\n")) == "failed"
            assert rig.registry.get("", batch)["errors"]["data"][0]["line"] == 2
            await ended(rig, many := rig.create(jsonl(*["a cat"] * 21)))
            assert rig.registry.get("", many)["errors"]["data"][0]["code"] == "too_many_lines"
        assert not rig.drawn

    run(story)


@pytest.mark.parametrize("error", [Overloaded("busy", 0), ShuttingDown("bye"), StageUnavailable("down")])
def test_what_cannot_be_drawn_just_now_is_drawn_later_as_often_as_it_takes(rig: Rig, error: Exception):
    async def story() -> None:
        rig.errors = [error] * 5
        batch = rig.create(jsonl("a cat", "a dog"))
        async with rig.working():
            assert await ended(rig, batch) == "completed"
        assert len(rig.drawn) == 7 and len(rig.lines(batch)) == 2

    run(story)


def test_what_fails_is_tried_again_a_few_times(rig: Rig):
    async def story() -> None:
        batch = rig.create(jsonl("a cat"))
        rig.errors = [StageFailed("no"), RuntimeError("unforeseen"), StageFailed("no")]
        async with rig.working():
            assert await ended(rig, batch) == "completed"
            rig.errors = [StageFailed(f"no {number}") for number in range(9)]
            assert await ended(rig, hopeless := rig.create(jsonl("a cow"))) == "completed"
            rig.errors = [ModelNotFound("none")]
            assert await ended(rig, wrong := rig.create(jsonl("a hen"))) == "completed"
        assert rig.lines(batch)
        assert [line["response"]["body"] for line in rig.lines(hopeless, "error_file_id")] == [{"error": "no 3"}]
        assert rig.lines(wrong, "error_file_id") and rig.drawn.count("a hen") == 1

    run(story)


def test_so_many_are_drawn_at_a_time(rig: Rig):
    most = running = 0

    async def draw(request: DrawingRequest, _: Upload | None) -> dict[str, Any]:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return await rig.draw(request)

    async def story() -> None:
        async with rig.working(draw=draw):
            await ended(rig, rig.create(jsonl(*["a cat"] * 10)))
        assert most == 3

    run(story)


def test_who_stops_gives_back_and_the_next_one_goes_on_at_once(rig: Rig):
    async def story() -> None:
        rig.seconds = 60.0
        batch = rig.create(jsonl("a cat", "a dog"))
        async with rig.working():
            await until(lambda: len(rig.drawn) == 2)
        rig.seconds = 0.0
        async with rig.working("two"):
            assert await ended(rig, batch) == "completed"
        assert len(rig.lines(batch)) == 2

    run(story)


def test_who_is_killed_leaves_his_work_to_others(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    """Two items are drawn at their end; what the killed one was at is drawn once more, and answered once."""
    monkeypatch.setattr(queue, "LEASE_S", 0.6)

    async def killed(item: Any) -> None:
        await asyncio.sleep(60)

    async def story() -> None:
        batch = rig.create(jsonl("a cat", "a dog", "a cow", "a hen"))
        async with rig.working("one", draw=killed) as one:
            await until(lambda: len(one._drawing) == 3)
            one._database = Database("sqlite:////nowhere/at/all")  # it does nothing any more
            async with rig.working("two"):
                assert await ended(rig, batch) == "completed"
        assert [line["custom_id"] for line in rig.lines(batch)] == ["one-1", "one-2", "one-3", "one-4"]

    run(story)


def test_a_batch_that_is_cancelled_is_not_drawn_on(rig: Rig):
    async def story() -> None:
        rig.seconds = 60.0
        batch = rig.create(jsonl("a cat", "a dog"))
        async with rig.working():
            await until(lambda: len(rig.drawn) == 2)
            rig.registry.cancel("", batch)
            assert await ended(rig, batch) == "cancelled"
        assert rig.registry.get("", batch)["request_counts"] == {"total": 2, "completed": 0, "failed": 2}

    run(story)


def test_a_database_that_fails_for_a_while_loses_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch):
    broken = 0
    real = Database.writing

    def failing(self: Database) -> Any:
        nonlocal broken
        if broken:
            broken -= 1
            raise BatchesUnavailable("down")
        return real(self)

    monkeypatch.setattr(queue, "LEASE_S", 0.5)
    monkeypatch.setattr(Database, "writing", failing)

    async def story() -> None:
        nonlocal broken
        batch = rig.create(jsonl("a cat", "a dog", "a cow", "a hen"))
        broken = 3
        async with rig.working():
            await until(lambda: len(rig.drawn) >= 2)
            broken = 5
            assert await ended(rig, batch) == "completed"
        assert len(rig.lines(batch)) == 4

    run(story)


def test_nothing_is_made_where_nobody_asks_for_batches(rig: Rig, tmp_path: Path):
    async def story() -> None:
        async with rig.working():
            await asyncio.sleep(0.05)  # a few looks
        assert not list(tmp_path.iterdir())

    run(story)
