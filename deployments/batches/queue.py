"""Batches as those see them who draw: lines that wait, are taken under a lease, and end, each of them once.

Whoever takes an item says again and again that it still draws it. Where nobody has said so until the lease is over,
another takes it; what the first one brings then is not taken any more. So what was drawn twice is answered once.
"""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, and_, delete, exists, func, insert, or_, select, update

from deployments.batches.database import Database, batches, items
from deployments.batches.files import Files
from deployments.batches.lines import Line, Problem
from deployments.config import BatchesConfig

LEASE_S = 30.0
RETRY_S = 5.0  # after which an item that failed may be taken again; twice as long each time
MAX_ATTEMPTS = 4  # an item that fails by the service's fault, or under which gateways die
INSERTED_TOGETHER = 1000
SETTLED_TOGETHER = 20
ENDED = ("completed", "failed", "expired", "cancelled")
WEBHOOK_DELAYS_S = (10, 60, 300, 1800, 7200, 21600, 43200)
LATE = {
    "expired": ("batch_expired", "This request could not be drawn before the completion window was over."),
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was drawn."),
    "dying": ("server_error", f"{MAX_ATTEMPTS} gateways ended while they drew this request."),
}

Place = tuple[str, int]  # a batch and a line of it


class Item(NamedTuple):
    """A request of a batch, to be drawn now.

    Attributes:
      owner: whose batch it is, and whose files it may name.
      attempts: this one included.
    """

    batch_id: str
    line: int
    custom_id: str
    body: dict[str, Any]
    attempts: int
    endpoint: str
    owner: str

    @property
    def place(self) -> Place:
        """What tells it from every other."""
        return self.batch_id, self.line

    @property
    def id(self) -> str:
        """The same in a word, for answers."""
        return request_id(self.batch_id, self.line)


class Webhook(NamedTuple):
    """What somebody is to be told of a batch."""

    batch_id: str
    url: str
    status: str
    ended_at: int


class Queue:
    """The work of one service.

    Args:
      runner: the name of who takes it here.
    """

    def __init__(self, database: Database, files: Files, config: BatchesConfig, runner: str):
        self._database = database
        self._files = files
        self._config = config
        self._runner = runner

    def new(self) -> Row | None:
        """A batch whose lines nobody has looked at; None where there is none."""
        with self._database.reading() as connection:
            oldest = select(batches).where(batches.c.status == "validating").order_by(batches.c.created).limit(1)
            return connection.execute(oldest).one_or_none()

    def begin(self, batch: Row, lines: Sequence[Line]) -> None:
        """Has the lines of a new batch drawn; does nothing where another has begun it, or it was cancelled."""
        now = self._database.clock()
        with self._database.writing() as connection:
            if self._advance(connection, batch, status="in_progress", in_progress_at=now, total=len(lines)):
                for start in range(0, len(lines), INSERTED_TOGETHER):
                    rows = [
                        {"batch_id": batch.id, "line": line.number, "custom_id": line.custom_id, "state": "waiting"}
                        | {"body": json.dumps(line.body)}
                        for line in lines[start : start + INSERTED_TOGETHER]
                    ]
                    connection.execute(insert(items), rows)

    def refuse(self, batch: Row, problems: Iterable[Problem]) -> None:
        """Ends a new batch whose file cannot be used."""
        with self._database.writing() as connection:
            errors = [problem._asdict() for problem in problems]
            due = self._database.clock() if batch.webhook_url else None
            ended = {"status": "failed", "ended_at": self._database.clock(), "webhook_due": due}
            self._advance(connection, batch, errors=errors, **ended)

    def take(self, count: int) -> list[Item]:
        """Takes so many items at most, in turn of all batches that are open."""
        now = self._database.clock()
        lost = and_(items.c.state == "running", items.c.lease_until < now)
        waiting = items.c.state == "waiting"
        has_work = exists().where(items.c.batch_id == batches.c.id, or_(waiting, lost))
        is_open = and_(batches.c.status == "in_progress", batches.c.expires > now)
        found = select(batches.c.id, batches.c.endpoint, batches.c.owner).where(is_open, has_work)
        with self._database.reading() as connection:
            order = found.order_by(batches.c.served, batches.c.id).limit(count)
            open_batches = {row.id: row for row in connection.execute(order)}
        if not open_batches:
            return []
        taken: list[Row] = []
        with self._database.writing() as connection:
            share = math.ceil(count / len(open_batches))
            for batch_id in open_batches:
                for which in (lost, waiting):  # apart, so that each is found by its index
                    room = min(share, count - len(taken))
                    taken += self._lease(connection, and_(items.c.batch_id == batch_id, which), room, now)
            served = sorted({row.batch_id for row in taken})
            connection.execute(update(batches).where(batches.c.id.in_(served)).values(served=now))
            dying = [row for row in taken if row.attempts > MAX_ATTEMPTS]
            self._fail(connection, dying, "dying")
        return [_item(row, open_batches[row.batch_id]) for row in taken if row not in dying]

    def renew(self) -> set[Place]:
        """Says that this runner still draws what it took; gives what of it is still wanted from it."""
        now = self._database.clock()
        with self._database.writing() as connection:
            mine = and_(items.c.runner == self._runner, items.c.state == "running")
            connection.execute(update(items).where(mine).values(lease_until=now + LEASE_S))
            is_open = and_(batches.c.status == "in_progress", batches.c.expires > now)
            wanted = select(items.c.batch_id, items.c.line).join(batches, batches.c.id == items.c.batch_id)
            return {(row.batch_id, row.line) for row in connection.execute(wanted.where(mine, is_open))}

    def end(self, item: Item, output: bytes, *, completed: bool) -> bool:
        """Keeps the answer to an item; False where it was not this runner's any more, and the answer is thrown away."""
        return self._let_go(item, state="completed" if completed else "failed", output=output)

    def give_back(self, item: Item, *, failed: bool = False) -> bool:
        """Lets others take an item: after a while where it failed, else at once, as if nobody had taken it."""
        if failed:
            return self._let_go(item, lease_until=self._database.clock() + RETRY_S * 2 ** (item.attempts - 1))
        return self._let_go(item, state="waiting", attempts=item.attempts - 1)

    def settle(self) -> None:
        """Ends the batches of which nothing is left to draw, or that may not go on."""
        now = self._database.clock()
        at_work = exists().where(items.c.batch_id == batches.c.id, items.c.state.in_(("waiting", "running")))
        done = and_(batches.c.status == "in_progress", or_(~at_work, batches.c.expires <= now))
        due = select(batches).where(or_(done, batches.c.status == "cancelling")).limit(SETTLED_TOGETHER)
        with self._database.reading() as connection:
            if not connection.execute(due).first():
                return
        with self._database.writing() as connection:
            for batch in connection.execute(due.with_for_update(skip_locked=True)).all():
                self._settle(connection, batch, now)

    def webhooks(self) -> list[Webhook]:
        """What is to be sent now; each comes again, later and later, until `delivered` is called."""
        now = self._database.clock()
        due = select(batches).where(batches.c.webhook_due <= now).limit(SETTLED_TOGETHER)
        with self._database.reading() as connection:
            if not connection.execute(due).first():
                return []
        with self._database.writing() as connection:
            rows = connection.execute(due.with_for_update(skip_locked=True)).all()
            for row in rows:
                again = WEBHOOK_DELAYS_S[row.webhook_attempts : row.webhook_attempts + 1]
                next_try = {"webhook_due": now + again[0] if again else None}
                next_try["webhook_attempts"] = row.webhook_attempts + 1
                connection.execute(update(batches).where(batches.c.id == row.id).values(next_try))
        return [Webhook(row.id, row.webhook_url, row.status, int(row.ended_at)) for row in rows]

    def delivered(self, webhook: Webhook) -> None:
        """Has nobody told of it again."""
        with self._database.writing() as connection:
            connection.execute(update(batches).where(batches.c.id == webhook.batch_id).values(webhook_due=None))

    def sweep(self) -> None:
        """Forgets files whose time is up, and batches that ended so long ago."""
        self._files.sweep()
        before = self._database.clock() - 86400 * self._config.keep_days
        with self._database.writing() as connection:
            old = connection.scalars(select(batches.c.id).where(batches.c.ended_at < before)).all()
            connection.execute(delete(items).where(items.c.batch_id.in_(old)))
            connection.execute(delete(batches).where(batches.c.id.in_(old)))

    def _advance(self, connection: Connection, batch: Row, **values: Any) -> bool:
        """Changes a batch that is still as it was."""
        same = and_(batches.c.id == batch.id, batches.c.status == batch.status)
        return connection.execute(update(batches).where(same).values(values)).rowcount == 1

    def _lease(self, connection: Connection, which: Any, count: int, now: float) -> list[Row]:
        if count <= 0:
            return []
        found = select(items).where(which).order_by(items.c.line).limit(count).with_for_update(skip_locked=True)
        rows = connection.execute(found).all()
        if not rows:
            return []
        these = and_(items.c.batch_id == rows[0].batch_id, items.c.line.in_([row.line for row in rows]))
        lease = {"state": "running", "runner": self._runner, "lease_until": now + LEASE_S}
        changed = update(items).where(these).values(lease | {"attempts": items.c.attempts + 1}).returning(items)
        return list(connection.execute(changed).all())

    def _let_go(self, item: Item, **values: Any) -> bool:
        with self._database.writing() as connection:
            here = and_(items.c.batch_id == item.batch_id, items.c.line == item.line)
            mine = and_(here, items.c.state == "running", items.c.runner == self._runner)
            ended = update(items).where(mine).values({"runner": None, "lease_until": None} | values)
            return connection.execute(ended).rowcount == 1

    def _settle(self, connection: Connection, batch: Row, now: float) -> None:
        status = "completed"
        if batch.status == "cancelling":
            status = "cancelled"
        elif batch.expires <= now:
            status = "expired"
        if status != "completed":
            mine = items.c.batch_id == batch.id
            idle = or_(items.c.state == "waiting", and_(items.c.state == "running", items.c.lease_until < now))
            self._fail(connection, connection.execute(select(items).where(mine, idle)).all(), status)
            if connection.execute(select(items.c.line).where(mine, items.c.state == "running").limit(1)).first():
                return  # who draws that is about to hear of it, or is gone
        counted = (
            select(items.c.state, func.count().label("items"))
            .where(items.c.batch_id == batch.id)
            .group_by(items.c.state)
        )
        counts = {row.state: row.items for row in connection.execute(counted)}
        values: dict[str, Any] = {
            "status": status,
            "ended_at": now,
            "completed": counts.get("completed", 0),
            "failed": counts.get("failed", 0),
            "output_file_id": self._files.add_results(connection, batch, "completed"),
            "error_file_id": self._files.add_results(connection, batch, "failed"),
            "webhook_due": now if batch.webhook_url else None,
        }
        connection.execute(update(batches).where(batches.c.id == batch.id).values(values))

    def _fail(self, connection: Connection, rows: Sequence[Row], why: str) -> None:
        """Ends items that were not drawn, with a line that says why."""
        code, message = LATE[why]
        for row in rows:
            here = and_(items.c.batch_id == row.batch_id, items.c.line == row.line)
            line = answer_line(
                request_id(row.batch_id, row.line), row.custom_id, error={"code": code, "message": message}
            )
            ended = {"state": "failed", "output": line, "runner": None, "lease_until": None}
            connection.execute(update(items).where(here).values(ended))


def _item(row: Row, batch: Row) -> Item:
    return Item(row.batch_id, row.line, row.custom_id, json.loads(row.body), row.attempts, batch.endpoint, batch.owner)


def request_id(batch_id: str, line: int) -> str:
    """How one request of a batch is called in answers."""
    return f"batch_req_{batch_id.removeprefix('batch_')}_{line}"


def answer_line(
    item_id: str, custom_id: str, *, response: dict[str, Any] | None = None, error: dict[str, Any] | None = None
) -> bytes:
    """A line of an output or of an error file."""
    answer = {"id": item_id, "custom_id": custom_id, "response": response, "error": error}
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"
