"""The tables behind files and batches, and transactions on them: in SQLite on one machine, in PostgreSQL on a cluster.

Every change is one transaction, so that whatever dies leaves what was there before or what is there after. Times are
seconds since 1970, by the clocks of the machines that write them.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Double,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import SQLAlchemyError

from deployments.errors import BatchesUnavailable
from deployments.telemetry import degraded
from model_core.errors import DalleServeError

BY_PRODUCT = "batches"  # their name where the database fails
VERSION = 1  # of the tables
LOCK_WAIT_S = 30
CREATING = 0x0DA11E  # the lock that one process holds while it makes the tables

ID = re.compile(r"(file-|batch_)[0-9a-f]{24}", re.ASCII)

tables = MetaData()

versions = Table("dalle_serve_version", tables, Column("version", Integer, primary_key=True))

files = Table(
    "dalle_serve_files",
    tables,
    Column("id", String(40), primary_key=True),
    Column("owner", String(64), nullable=False, index=True),  # the key's SHA-256; "" where there are no keys
    Column("filename", Text, nullable=False),
    Column("purpose", String(20), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double, nullable=False, index=True),
    Column("batch_id", String(40)),  # of results: they are the lines of the items that ended in this state
    Column("state", String(10)),
)

chunks = Table(  # of files that were uploaded
    "dalle_serve_chunks",
    tables,
    Column("file_id", String(40), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

batches = Table(
    "dalle_serve_batches",
    tables,
    Column("id", String(40), primary_key=True),
    Column("owner", String(64), nullable=False, index=True),
    Column("status", String(12), nullable=False, index=True),
    Column("endpoint", String(60), nullable=False),
    Column("input_file_id", String(40), nullable=False),
    Column("completion_window", String(10), nullable=False),
    Column("metadata", JSON),
    Column("created", Double, nullable=False),
    Column("expires", Double, nullable=False),
    Column("in_progress_at", Double),
    Column("cancelling_at", Double),
    Column("ended_at", Double),
    Column("output_seconds", Integer),  # how long its files are kept, where the caller said so
    Column("output_file_id", String(40)),
    Column("error_file_id", String(40)),
    Column("errors", JSON),
    Column("total", Integer, nullable=False, default=0),
    Column("completed", Integer, nullable=False, default=0),  # both as of its end; until then the items are counted
    Column("failed", Integer, nullable=False, default=0),
    Column("served", Double, nullable=False, default=0.0),  # when an item of it was taken last
    Column("webhook_url", Text),
    Column("webhook_due", Double, index=True),  # None: there is nothing to send
    Column("webhook_attempts", Integer, nullable=False, default=0),
)

items = Table(
    "dalle_serve_items",
    tables,
    Column("batch_id", String(40), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("custom_id", Text, nullable=False),
    Column("body", Text, nullable=False),  # JSON
    Column("state", String(10), nullable=False),  # waiting, running, completed, failed
    Column("attempts", Integer, nullable=False, default=0),
    Column("runner", String(40)),  # who draws it
    Column("lease_until", Double),  # by then it must have said again that it does
    Column("output", LargeBinary),  # its line of the output or of the error file
    Index("dalle_serve_items_by_state", "batch_id", "state", "line"),
)


class Database:
    """A database, opened when it is first asked for something.

    Args:
      url: as SQLAlchemy has it: `sqlite:////folder/file`, `postgresql+psycopg://host/name`.
      clock: replaced in tests.

    Raises:
      DalleServeError: `url` is none, or names a database that nothing installed here speaks to.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.time):
        try:
            self._url = make_url(url)
            self._url.get_dialect().import_dbapi()
        except (SQLAlchemyError, ImportError) as error:
            raise DalleServeError(
                "batches.database must be an SQLAlchemy URL, sqlite:////folder/file or postgresql+psycopg://host/name, "
                f"with its driver installed (dalle-serve[postgres]): {error}."
            ) from None
        self._opened: Engine | None = None
        self._opening = threading.Lock()
        self.clock = clock

    @property
    def is_shared(self) -> bool:
        """Whether other machines can reach it."""
        return self._url.get_backend_name() != "sqlite"

    @property
    def exists(self) -> bool:
        """False where there can be nothing in it yet."""
        return self.is_shared or (self._url.database is not None and Path(self._url.database).exists())

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that changes nothing.

        Raises:
          BatchesUnavailable: the database does not answer.
        """
        with self._transaction(self._engine().execution_options(reads=True)) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction, of which all is done or nothing; raises as `reading` does."""
        with self._transaction(self._engine()) as connection:
            yield connection

    def close(self) -> None:
        """Closes its connections; it may be used again."""
        with self._opening:
            if self._opened:
                self._opened.dispose()
            self._opened = None

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            why = f"their database does not answer ({type(error).__name__})"
            degraded.failed(BY_PRODUCT, why, str(error))
            raise BatchesUnavailable(f"Files and batches cannot be had for the moment: {why}. Try again.") from error
        degraded.works(BY_PRODUCT)

    def _engine(self) -> Engine:
        with self._opening:
            if self._opened is None:
                engine = create_engine(self._url, pool_pre_ping=True) if self.is_shared else self._sqlite()
                try:
                    with self._transaction(engine) as connection:
                        self._make_tables(connection)
                except BaseException:
                    engine.dispose()
                    raise
                self._opened = engine
            return self._opened

    def _make_tables(self, connection: Connection) -> None:
        if self.is_shared:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": CREATING})
        tables.create_all(connection)
        found = connection.scalar(select(versions.c.version))
        if found is None:
            connection.execute(insert(versions).values(version=VERSION))
        elif found != VERSION:
            raise BatchesUnavailable(
                f"The database of batches is of version {found}, and this service knows version {VERSION}: give it "
                "another (batches.database)."
            )

    def _sqlite(self) -> Engine:
        """A file for this user only; who writes waits for who writes before him."""
        path = Path(self._url.database or "")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise BatchesUnavailable(f"Files and batches cannot be kept here ({error.strerror}).") from error
        engine = create_engine(self._url, connect_args={"timeout": LOCK_WAIT_S})

        @event.listens_for(engine, "connect")
        def _(connection, _record) -> None:
            connection.isolation_level = None  # else Python begins transactions, and later than it should
            connection.execute("PRAGMA journal_mode=WAL")  # so that who reads waits for nobody

        @event.listens_for(engine, "begin")
        def _(connection: Connection) -> None:
            reads = connection.get_execution_options().get("reads")
            connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

        return engine
