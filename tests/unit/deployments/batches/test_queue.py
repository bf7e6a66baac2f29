"""Leases and ends of batches, by two runners, on each kind of database."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from deployments.batches.database import Database
from deployments.batches.files import Files
from deployments.batches.lines import Line, Problem
from deployments.batches.queue import LEASE_S, MAX_ATTEMPTS, RETRY_S, WEBHOOK_DELAYS_S, Item, Queue, answer_line
from deployments.batches.registry import WINDOW_S, Registry
from deployments.config import BatchesConfig
from deployments.errors import NotFound, Overloaded
from model_core.errors import InvalidValue
from tests.unit.deployments.batches.conftest import ENDPOINT, Clock


class Service:
    """Callers, and two who draw."""

    def __init__(self, database: Database):
        config = BatchesConfig(max_open_batches=3, keep_days=30)
        self.files = Files(database, config)
        self.registry = Registry(database, self.files, config)
        self.one, self.two = (Queue(database, self.files, config, name) for name in ("one", "two"))

    def begin(self, lines: int, owner: str = "me", **options: Any) -> str:
        """A batch with so many lines to draw."""
        file = self.files.add(owner, "a", io.BytesIO(b"x"))["id"]
        batch = self.registry.create(owner, file, ENDPOINT, **options)
        row = self.one.new()
        assert row and row.id == batch["id"] and batch["status"] == "validating"
        self.one.begin(row, [Line(number, f"id-{number}", {"prompt": "a"}, ENDPOINT) for number in range(1, lines + 1)])
        return batch["id"]

    def lines(self, file_id: str, owner: str = "me") -> list[dict[str, Any]]:
        return [json.loads(line) for line in b"".join(self.files.content(owner, file_id)[1]).splitlines()]


@pytest.fixture
def service(database: Database) -> Service:
    return Service(database)


def answer(queue: Queue, item: Item, *, completed: bool = True) -> bool:
    line = answer_line(item.id, item.custom_id, response={"status_code": 200 if completed else 400})
    return queue.end(item, line, completed=completed)


def test_a_batch_from_beginning_to_end(service: Service, clock: Clock):
    batch = service.begin(3, metadata={"for": "me"})
    assert service.registry.get("me", batch)["request_counts"] == {"total": 3, "completed": 0, "failed": 0}
    first, second = service.one.take(2)
    assert (first.line, first.custom_id, first.body, first.attempts) == (1, "id-1", {"prompt": "a"}, 1)
    assert (first.endpoint, first.owner) == (ENDPOINT, "me")
    (third,) = service.two.take(2)
    assert third.line == 3 and not service.one.take(9)
    clock.now += 5
    assert answer(service.two, third) and answer(service.one, second, completed=False)
    service.one.settle()
    assert service.registry.get("me", batch)["status"] == "in_progress"
    assert answer(service.one, first)
    assert not answer(service.one, first), "what has ended is answered again"
    service.one.settle()
    found = service.registry.get("me", batch)
    assert found["status"] == "completed" and found["completed_at"] == clock.now and found["metadata"] == {"for": "me"}
    assert found["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert [line["custom_id"] for line in service.lines(found["output_file_id"])] == ["id-1", "id-3"]
    assert [line["custom_id"] for line in service.lines(found["error_file_id"])] == ["id-2"]
    about = service.files.get("me", found["output_file_id"])
    assert about["bytes"] == len(b"".join(service.files.content("me", about["id"])[1]))
    assert about["purpose"] == "batch_output"
    with pytest.raises(InvalidValue, match="is completed: there is nothing to cancel"):
        service.registry.cancel("me", batch)


def test_what_a_dead_runner_took_is_taken_by_another_and_answered_once(service: Service, clock: Clock):
    batch = service.begin(1)
    (item,) = service.one.take(1)
    clock.now += LEASE_S - 1
    assert service.one.renew() == {item.place}
    clock.now += LEASE_S - 1
    assert not service.two.take(1), "it is still being drawn"
    clock.now += 2
    (again,) = service.two.take(1)
    assert again.place == item.place and again.attempts == 2
    assert not service.one.renew()
    assert not answer(service.one, item) and not service.one.give_back(item)
    assert answer(service.two, again)
    service.two.settle()
    assert len(service.lines(service.registry.get("me", batch)["output_file_id"])) == 1


def test_a_request_that_gateways_die_of_is_given_up(service: Service, clock: Clock):
    batch = service.begin(1)
    for _ in range(MAX_ATTEMPTS):
        assert service.one.take(1)
        clock.now += LEASE_S + 1
    assert not service.one.take(1)
    service.one.settle()
    (line,) = service.lines(service.registry.get("me", batch)["error_file_id"])
    assert line["response"] is None and "gateways ended while they drew" in line["error"]["message"]


def test_what_is_given_back_is_drawn_again_and_counts_only_where_it_failed(service: Service, clock: Clock):
    service.begin(1)
    for failed, attempts, wait_s in ((False, 1, 0), (True, 1, RETRY_S), (True, 2, 2 * RETRY_S), (False, 3, 0)):
        (item,) = service.one.take(1)
        assert item.attempts == attempts
        assert service.one.give_back(item, failed=failed)
        if failed:
            clock.now += wait_s
            assert not service.two.take(1), "it is left alone for a while"
            clock.now += 1


def test_many_who_take_at_once_get_each_item_once(service: Service):
    batch = service.begin(40)
    with ThreadPoolExecutor(8) as pool:
        taken = [item for items in pool.map(lambda _: service.one.take(3), range(16)) for item in items]
    assert sorted(item.line for item in taken) == list(range(1, 41)), batch


def test_a_large_batch_does_not_hold_up_a_small_one(service: Service, clock: Clock):
    large = service.begin(50)
    clock.now += 1
    small = service.begin(2, owner="you")
    taken = []
    for _ in range(4):
        clock.now += 1
        taken += [item.batch_id for item in service.one.take(1)]
    assert taken.count(large) == taken.count(small) == 2
    assert len(service.one.take(5)) == 5


def test_cancelling_keeps_what_is_drawn(service: Service, clock: Clock):
    batch = service.begin(3)
    drawn, drawing = service.one.take(2)
    answer(service.one, drawn)
    assert service.registry.cancel("me", batch)["status"] == "cancelling"
    service.one.settle()
    assert service.registry.get("me", batch)["status"] == "cancelling", "something is still being drawn"
    assert not service.one.renew(), "who draws it hears that it is not wanted"
    service.one.give_back(drawing)
    assert not service.one.take(1)
    service.one.settle()
    found = service.registry.cancel("me", batch)
    assert found["status"] == "cancelled" and found["cancelled_at"] == clock.now
    assert found["request_counts"] == {"total": 3, "completed": 1, "failed": 2}
    assert {line["error"]["code"] for line in service.lines(found["error_file_id"])} == {"batch_cancelled"}


def test_a_batch_that_is_not_begun_can_be_cancelled(service: Service):
    file = service.files.add("me", "a", io.BytesIO(b"x"))["id"]
    batch = service.registry.create("me", file, ENDPOINT)["id"]
    row = service.one.new()
    service.registry.cancel("me", batch)
    assert row
    service.one.begin(row, [Line(1, "a", {}, ENDPOINT)])
    service.one.settle()
    found = service.registry.get("me", batch)
    assert found["status"] == "cancelled" and found["output_file_id"] is found["error_file_id"] is None


def test_what_is_not_drawn_in_the_window_is_an_error(service: Service, clock: Clock):
    batch = service.begin(2)
    (item,) = service.one.take(1)
    clock.now += WINDOW_S
    assert not service.two.take(1)
    service.two.settle()
    found = service.registry.get("me", batch)
    assert found["status"] == "expired" and not answer(service.one, item)
    assert {line["error"]["code"] for line in service.lines(found["error_file_id"])} == {"batch_expired"}


def test_a_file_that_cannot_be_used_fails_the_batch(service: Service):
    file = service.files.add("me", "a", io.BytesIO(b"x"))["id"]
    batch = service.registry.create("me", file, ENDPOINT)["id"]
    row = service.one.new()
    assert row
    service.one.refuse(row, [Problem("invalid_line", "Line 1: no.", 1, "body")])
    found = service.registry.get("me", batch)
    assert found["status"] == "failed" and found["failed_at"]
    assert found["errors"]["data"] == [{"code": "invalid_line", "message": "Line 1: no.", "line": 1, "param": "body"}]
    assert service.one.new() is None


def test_batches_are_their_owners_only_and_not_too_many(service: Service, clock: Clock):
    mine = []
    for _ in range(3):
        clock.now += 1
        mine.append(service.begin(1))
    service.begin(1, owner="you")
    for call in (service.registry.get, service.registry.cancel):
        for name in (mine[0], "batch_\0"):
            with pytest.raises(NotFound):
                call("you", name)
    with pytest.raises(Overloaded, match="3 batches of this key are open, and at most 3 may be"):
        service.begin(1)
    first, more = service.registry.page("me", limit=2, after="")
    rest, no_more = service.registry.page("me", limit=2, after=first[-1]["id"])
    assert [each["id"] for each in first + rest] == mine[::-1] and (more, no_more) == (True, False)
    yours = service.files.add("you", "a", io.BytesIO(b"x"))["id"]
    with pytest.raises(NotFound):
        service.registry.create("me", yours, ENDPOINT)


def test_an_answer_is_no_input(service: Service):
    batch = service.begin(1)
    answer(service.one, *service.one.take(1))
    service.one.settle()
    output = service.registry.get("me", batch)["output_file_id"]
    with pytest.raises(InvalidValue, match="has the purpose batch_output"):
        service.registry.create("me", output, ENDPOINT)


def test_who_is_to_be_told_comes_again_until_he_was(service: Service, clock: Clock):
    batch = service.begin(1, webhook_url="https://hooks.example.com/a")
    assert not service.one.webhooks()
    answer(service.one, *service.one.take(1))
    service.one.settle()
    (webhook,) = service.one.webhooks()
    assert webhook == (batch, "https://hooks.example.com/a", "completed", clock.now)
    assert not service.two.webhooks(), "it is being sent"
    for delay in WEBHOOK_DELAYS_S:
        clock.now += delay
        assert service.two.webhooks() == [webhook]
    clock.now += 10 * WEBHOOK_DELAYS_S[-1]
    assert not service.two.webhooks(), "he does not answer"


def test_who_was_told_is_not_told_again(service: Service, clock: Clock):
    service.begin(1, webhook_url="https://hooks.example.com/a")
    answer(service.one, *service.one.take(1))
    service.one.settle()
    service.one.delivered(*service.one.webhooks())
    clock.now += 10**6
    assert not service.one.webhooks()


def test_old_batches_and_their_answers_are_forgotten(service: Service, clock: Clock):
    batch = service.begin(1, output_seconds=3600)
    answer(service.one, *service.one.take(1))
    service.one.settle()
    output = service.registry.get("me", batch)["output_file_id"]
    clock.now += 3601
    service.one.sweep()
    with pytest.raises(NotFound):
        service.files.get("me", output)
    assert service.registry.get("me", batch)["request_counts"]["completed"] == 1
    clock.now += 31 * 86400
    service.one.sweep()
    with pytest.raises(NotFound):
        service.registry.get("me", batch)
