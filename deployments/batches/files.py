"""Files as callers see them: what they have uploaded, and what batches have answered.

An uploaded file is kept in pieces. A file of results is the lines of its batch's items, which are kept once.
"""

import secrets
from collections.abc import Iterator
from typing import Any, BinaryIO

from sqlalchemy import Connection, Row, and_, delete, func, insert, or_, select, update

from deployments.batches.database import ID, Database, chunks, files, items
from deployments.config import BatchesConfig
from deployments.errors import NotFound
from model_core.errors import InvalidValue

CHUNK_BYTES = 2**20
LINES_AT_A_TIME = 32  # each may hold ten pictures
REQUESTS, RESULTS = "batch", "batch_output"  # the purposes of files
UPLOADED = (REQUESTS, "vision", "user_data")  # a picture has either of the last two

Json = dict[str, Any]


class Files:
    """The files of all callers, each found by its owner only."""

    def __init__(self, database: Database, config: BatchesConfig):
        self._database = database
        self._config = config

    def add(
        self, owner: str, filename: str, source: BinaryIO, seconds: float | None = None, *, purpose: str = REQUESTS
    ) -> Json:
        """Keeps an upload.

        Args:
          owner: "" where callers have no keys.
          seconds: how long; None as long as files are kept.

        Raises:
          InvalidValue: it is empty, or too much is kept for this owner already.
        """
        source.seek(0, 2)
        size = source.tell()
        source.seek(0)
        if not size:
            raise InvalidValue("The file is empty.", "file")
        with self._database.writing() as connection:
            self.check_room(connection, owner, size)
            row = self._row(owner, filename, purpose, size, seconds)
            connection.execute(insert(files).values(row))
            number = 0
            while data := source.read(CHUNK_BYTES):
                connection.execute(insert(chunks).values(file_id=row["id"], number=number, data=data))
                number += 1
            return _shown(connection.execute(select(files).where(files.c.id == row["id"])).one())

    def check_room(self, connection: Connection, owner: str, size: int = 0) -> None:
        """Sees to it that so many bytes more may be kept for an owner.

        Raises:
          InvalidValue: they may not; says what to do.
        """
        kept = connection.scalar(select(func.sum(files.c.bytes)).where(files.c.owner == owner)) or 0
        if kept + size > self._config.max_stored_bytes:
            raise InvalidValue(
                f"Files of {kept} bytes are kept for this key, and at most {self._config.max_stored_bytes} may be: "
                "delete some (DELETE /v1/files/{id}).",
                "file",
            )

    def add_results(self, connection: Connection, batch: Row, state: str) -> str | None:
        """Makes a file of the items of a batch that ended as `completed` or `failed`; None where none has."""
        mine = and_(items.c.batch_id == batch.id, items.c.state == state)
        size = connection.scalar(select(func.sum(func.length(items.c.output))).where(mine))
        if not size:
            return None
        name = f"{batch.id}_{'output' if state == 'completed' else 'error'}.jsonl"
        row = self._row(batch.owner, name, RESULTS, int(size), batch.output_seconds)
        connection.execute(insert(files).values(row | {"batch_id": batch.id, "state": state}))
        return row["id"]

    def get(self, owner: str, file_id: str) -> Json:
        """Describes a file as OpenAI's API does.

        Raises:
          NotFound: there is none, or it is not theirs, or its time is up.
        """
        with self._database.reading() as connection:
            return _shown(self.find(connection, owner, file_id))

    def page(self, owner: str, *, purpose: str, limit: int, after: str, newest_first: bool) -> tuple[list[Json], bool]:
        """Describes an owner's files from behind `after` ("" from the beginning); says whether there are more."""
        order = (files.c.created, files.c.id)
        with self._database.reading() as connection:
            found = select(files).where(files.c.owner == owner, files.c.expires > self._database.clock())
            if purpose:
                found = found.where(files.c.purpose == purpose)
            if after:
                last = self.find(connection, owner, after)
                found = found.where(behind(order, (last.created, last.id), newest_first))
            found = found.order_by(*(column.desc() if newest_first else column for column in order)).limit(limit + 1)
            rows = connection.execute(found).all()
        return [_shown(row) for row in rows[:limit]], len(rows) > limit

    def delete(self, owner: str, file_id: str) -> None:
        """Deletes a file; a batch that was made of it goes on. Raises as `get` does."""
        with self._database.writing() as connection:
            self._remove(connection, self.find(connection, owner, file_id))

    def content(self, owner: str, file_id: str) -> tuple[Json, Iterator[bytes]]:
        """A file, and its bytes in pieces; raises as `get` does."""
        with self._database.reading() as connection:
            row = self.find(connection, owner, file_id)
        return _shown(row), (self._lines(row) if row.batch_id else self._chunks(row.id))

    def read(self, owner: str, file_id: str, max_bytes: int) -> bytes:
        """All of a file.

        Raises:
          NotFound: there is none, or it is not theirs.
          InvalidValue: it is longer.
        """
        about, pieces = self.content(owner, file_id)
        if about["bytes"] > max_bytes:
            raise InvalidValue(f"the file has {about['bytes']} bytes, where {max_bytes} may be read.")
        return b"".join(pieces)

    def sweep(self) -> None:
        """Removes what has expired."""
        with self._database.writing() as connection:
            for row in connection.execute(select(files).where(files.c.expires <= self._database.clock())).all():
                self._remove(connection, row)

    def _row(self, owner: str, filename: str, purpose: str, size: int, seconds: float | None) -> Json:
        now = self._database.clock()
        expires = now + (86400 * self._config.keep_days if seconds is None else seconds)
        about = {"owner": owner, "filename": filename, "purpose": purpose, "bytes": size}
        return {"id": f"file-{secrets.token_hex(12)}", "created": now, "expires": expires} | about

    def find(self, connection: Connection, owner: str, file_id: str) -> Row:
        """A file's row; raises as `get` does."""
        mine = and_(files.c.id == file_id, files.c.owner == owner, files.c.expires > self._database.clock())
        row = connection.execute(select(files).where(mine)).one_or_none() if ID.fullmatch(file_id) else None
        if row is None:
            raise NotFound(f"There is no file {file_id[:60]!a}.")
        return row

    def _chunks(self, file_id: str) -> Iterator[bytes]:
        number = 0
        while True:
            with self._database.reading() as connection:
                mine = and_(chunks.c.file_id == file_id, chunks.c.number == number)
                data = connection.scalar(select(chunks.c.data).where(mine))
            if data is None:
                return
            yield data
            number += 1

    def _lines(self, row: Row) -> Iterator[bytes]:
        last = 0
        while True:
            with self._database.reading() as connection:
                mine = and_(items.c.batch_id == row.batch_id, items.c.state == row.state, items.c.line > last)
                page = select(items.c.line, items.c.output).where(mine).order_by(items.c.line).limit(LINES_AT_A_TIME)
                found = connection.execute(page).all()
            if not found:
                return
            yield b"".join(each.output for each in found if each.output)
            last = found[-1].line

    def _remove(self, connection: Connection, row: Row) -> None:
        connection.execute(delete(files).where(files.c.id == row.id))
        connection.execute(delete(chunks).where(chunks.c.file_id == row.id))
        if row.batch_id:
            mine = and_(items.c.batch_id == row.batch_id, items.c.state == row.state)
            connection.execute(update(items).where(mine).values(output=None))


def behind(columns: tuple[Any, Any], last: tuple[Any, Any], newest_first: bool) -> Any:
    """What comes behind the row with the values `last` in the order of two columns."""
    first, second = columns
    if newest_first:
        return or_(first < last[0], and_(first == last[0], second < last[1]))
    return or_(first > last[0], and_(first == last[0], second > last[1]))


def _shown(row: Row) -> Json:
    return {
        "id": row.id,
        "object": "file",
        "bytes": row.bytes,
        "created_at": int(row.created),
        "expires_at": int(row.expires),
        "filename": row.filename,
        "purpose": row.purpose,
        "status": "processed",
    }
