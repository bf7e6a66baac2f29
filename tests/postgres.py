"""A PostgreSQL server of the tests' own, on a socket in a folder of its own, gone with them."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 60.0
SETTINGS = {"listen_addresses": "", "fsync": "off", "full_page_writes": "off", "max_connections": "40"}


class Server:
    """A server that runs.

    Attributes:
      url: of its database, as SQLAlchemy has it.
    """

    def __init__(self, folder: Path, who: dict[str, Any]):
        self._folder = folder
        self._who = who
        self._process: subprocess.Popen | None = None
        self.url = f"postgresql+psycopg://tests@/postgres?host={folder}"

    def start(self) -> None:
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [_program("postgres"), "-D", str(self._folder / "data"), "-k", str(self._folder), *options]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._who)
        deadline = time.monotonic() + PATIENCE_S
        while not (self._folder / ".s.PGSQL.5432").exists():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL does not start"
            time.sleep(0.02)

    def kill(self) -> None:
        """Ends it as a crash does: its connections break, and what was not committed is gone."""
        assert self._process
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(PATIENCE_S)


@contextmanager
def postgres() -> Iterator[Server]:
    """Starts a server; skips the test where PostgreSQL is not installed."""
    if not _program("initdb") or not _program("postgres"):
        pytest.skip("initdb and postgres are not installed (Debian: apt-get install postgresql)")
    who: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="dalle-serve-postgres-"))
    if os.getuid() == 0:  # it refuses to run as root
        names = {entry.pw_name: entry for entry in pwd.getpwall()}
        user = names.get("postgres") or names["nobody"]
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chown(folder, user.pw_uid, user.pw_gid)
    server = Server(folder, who)
    try:
        command = [_program("initdb"), "-D", str(folder / "data"), "-A", "trust", "-U", "tests", "--no-sync"]
        subprocess.run([*command, "-E", "UTF8", "--locale=C"], check=True, capture_output=True, cwd=folder, **who)
        server.start()
        yield server
        server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> str:
    found = shutil.which(name) or next(map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)
    return found or ""
