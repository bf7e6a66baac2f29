"""Batches as callers see them: made of an uploaded file, looked at, cancelled."""

import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, select, update

from deployments.batches.database import ID, Database, batches, items
from deployments.batches.files import REQUESTS, Files, behind
from deployments.config import BatchesConfig
from deployments.errors import NotFound, Overloaded
from model_core.errors import InvalidValue

WINDOW, WINDOW_S = "24h", 86400
OPEN = ("validating", "in_progress", "cancelling")
RETRY_AFTER_S = 60

Json = dict[str, Any]


class Registry:
    """The batches of all callers, each found by its owner only."""

    def __init__(self, database: Database, files: Files, config: BatchesConfig):
        self._database = database
        self._files = files
        self._config = config

    def create(
        self,
        owner: str,
        input_file_id: str,
        endpoint: str,
        *,
        metadata: dict[str, str] | None = None,
        output_seconds: int | None = None,
        webhook_url: str | None = None,
    ) -> Json:
        """Makes a batch of a file that its owner has uploaded; a gateway will look at its lines, and draw them.

        Args:
          output_seconds: how long its files are kept; None as long as files are.
          webhook_url: who is told of its end.

        Raises:
          NotFound: there is no such file.
          InvalidValue: it has another purpose, or too much is kept for this owner already.
          Overloaded: so many batches of this owner are open.
        """
        now = self._database.clock()
        with self._database.writing() as connection:
            file = self._files.find(connection, owner, input_file_id)
            if file.purpose != REQUESTS:
                raise InvalidValue(
                    f"{input_file_id} has the purpose {file.purpose}; the requests of a batch have {REQUESTS}.",
                    "input_file_id",
                )
            self._files.check_room(connection, owner)
            unfinished = and_(batches.c.owner == owner, batches.c.status.in_(OPEN))
            open_batches = connection.scalar(select(func.count()).select_from(batches).where(unfinished)) or 0
            if open_batches >= self._config.max_open_batches:
                raise Overloaded(
                    f"{open_batches} batches of this key are open, and at most {self._config.max_open_batches} may be. "
                    "Try again when one is done.",
                    RETRY_AFTER_S,
                )
            row = {
                "id": f"batch_{secrets.token_hex(12)}",
                "owner": owner,
                "status": "validating",
                "endpoint": endpoint,
                "input_file_id": input_file_id,
                "completion_window": WINDOW,
                "metadata": metadata,
                "created": now,
                "expires": now + WINDOW_S,
                "output_seconds": output_seconds,
                "webhook_url": webhook_url,
            }
            connection.execute(insert(batches).values(row))
            return self._find(connection, owner, row["id"])

    def get(self, owner: str, batch_id: str) -> Json:
        """Describes a batch as OpenAI's API does.

        Raises:
          NotFound: there is none, or it is not theirs.
        """
        with self._database.reading() as connection:
            return self._find(connection, owner, batch_id)

    def page(self, owner: str, *, limit: int, after: str) -> tuple[list[Json], bool]:
        """Describes an owner's batches, newest first, from behind `after`; says whether there are more."""
        with self._database.reading() as connection:
            found = select(batches).where(batches.c.owner == owner)
            order = (batches.c.created, batches.c.id)
            if after:
                last = self._row(connection, owner, after)
                found = found.where(behind(order, (last.created, last.id), True))
            rows = connection.execute(found.order_by(*(each.desc() for each in order)).limit(limit + 1)).all()
            return self._shown(connection, rows[:limit]), len(rows) > limit

    def cancel(self, owner: str, batch_id: str) -> Json:
        """Ends a batch before its time: what is drawn stays. Once it is cancelled, that changes nothing.

        Raises:
          NotFound: there is none, or it is not theirs.
          InvalidValue: it has ended by itself.
        """
        with self._database.writing() as connection:
            row = self._row(connection, owner, batch_id)
            if row.status not in (*OPEN, "cancelled"):
                raise InvalidValue(f"{batch_id} is {row.status}: there is nothing to cancel.", "batch_id")
            if row.status in ("validating", "in_progress"):
                changed = {"status": "cancelling", "cancelling_at": self._database.clock()}
                connection.execute(update(batches).where(batches.c.id == batch_id).values(changed))
            return self._find(connection, owner, batch_id)

    def _row(self, connection: Connection, owner: str, batch_id: str) -> Row:
        mine = and_(batches.c.id == batch_id, batches.c.owner == owner)
        row = connection.execute(select(batches).where(mine)).one_or_none() if ID.fullmatch(batch_id) else None
        if row is None:
            raise NotFound(f"There is no batch {batch_id[:60]!a}.")
        return row

    def _find(self, connection: Connection, owner: str, batch_id: str) -> Json:
        return self._shown(connection, [self._row(connection, owner, batch_id)])[0]

    def _shown(self, connection: Connection, rows: Sequence[Row]) -> list[Json]:
        unfinished = [row.id for row in rows if row.status in OPEN]
        counted = select(items.c.batch_id, items.c.state, func.count()).where(items.c.batch_id.in_(unfinished))
        ended = {(row.id, state): getattr(row, state) for row in rows for state in ("completed", "failed")}
        for batch_id, state, count in connection.execute(counted.group_by(items.c.batch_id, items.c.state)):
            ended[batch_id, state] = count
        return [_described(row, ended[row.id, "completed"], ended[row.id, "failed"]) for row in rows]


def _described(row: Row, completed: int, failed: int) -> Json:
    def at(status: str) -> int | None:
        return int(row.ended_at) if row.status == status else None

    def whole(seconds: float | None) -> int | None:
        return None if seconds is None else int(seconds)

    return {
        "id": row.id,
        "object": "batch",
        "endpoint": row.endpoint,
        "errors": None if row.errors is None else {"object": "list", "data": row.errors},
        "input_file_id": row.input_file_id,
        "completion_window": row.completion_window,
        "status": row.status,
        "output_file_id": row.output_file_id,
        "error_file_id": row.error_file_id,
        "created_at": int(row.created),
        "in_progress_at": whole(row.in_progress_at),
        "expires_at": int(row.expires),
        "finalizing_at": at("completed"),
        "completed_at": at("completed"),
        "failed_at": at("failed"),
        "expired_at": at("expired"),
        "cancelling_at": whole(row.cancelling_at),
        "cancelled_at": at("cancelled"),
        "request_counts": {"total": row.total, "completed": completed, "failed": failed},
        "metadata": row.metadata,
        "webhook_url": row.webhook_url,
    }
