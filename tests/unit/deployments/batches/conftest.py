"""A database of each kind, its clock in the tests' hands."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine

from deployments.batches.database import Database, tables
from tests.postgres import Server, postgres

ENDPOINT = "/v1/images/generations"


class Clock:
    """Seconds since 1970 that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with postgres() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path}/private/batches.sqlite"
    if request.param == "postgresql":
        url = request.getfixturevalue("server").url
    found = Database(url, clock)
    yield found
    found.close()
    if request.param == "postgresql":
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            tables.drop_all(connection)


def jsonl(*bodies: dict[str, Any] | str, first: int = 1, url: str = ENDPOINT) -> bytes:
    """A line for each body, or prompt, with the custom ids `one-1`, `one-2` and so on."""
    lines = [
        {"custom_id": f"one-{number}", "method": "POST", "url": url}
        | {"body": {"prompt": body} if isinstance(body, str) else body}
        for number, body in enumerate(bodies, first)
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
