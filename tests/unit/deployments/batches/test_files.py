import io
import stat
from pathlib import Path

import pytest
from sqlalchemy import update

from deployments.batches import files as files_module
from deployments.batches.database import Database, versions
from deployments.batches.files import Files
from deployments.config import BatchesConfig
from deployments.errors import BatchesUnavailable, NotFound
from model_core.errors import DalleServeError, InvalidValue
from tests.unit.deployments.batches.conftest import Clock


@pytest.fixture
def files(database: Database) -> Files:
    return Files(database, BatchesConfig(max_stored_bytes=5000, keep_days=1))


def content(files: Files, owner: str, file_id: str) -> bytes:
    return b"".join(files.content(owner, file_id)[1])


def test_a_file_comes_back_as_it_was(files: Files, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files_module, "CHUNK_BYTES", 10)
    data = bytes(range(256))
    about = files.add("me", "requests.jsonl", io.BytesIO(data))
    assert about["bytes"] == 256 and about["filename"] == "requests.jsonl" and about["purpose"] == "batch"
    assert about["expires_at"] - about["created_at"] == 86400
    assert files.get("me", about["id"]) == about
    assert content(files, "me", about["id"]) == data


def test_files_are_their_owners_only(files: Files):
    mine = files.add("me", "a", io.BytesIO(b"x"))["id"]
    for owner, name in (("you", mine), ("", mine), ("me", "file-" + "0" * 24), ("me", "file-\0"), ("me", "")):
        for call in (files.get, files.delete, files.content):
            with pytest.raises(NotFound):
                call(owner, name)
    assert files.page("you", purpose="", limit=9, after="", newest_first=True) == ([], False)
    files.delete("me", mine)
    with pytest.raises(NotFound):
        files.get("me", mine)


def test_a_file_is_read_whole_where_it_may_be(files: Files):
    data = bytes(range(200))
    picture = files.add("me", "a.png", io.BytesIO(data), purpose="vision")
    assert picture["purpose"] == "vision" and files.read("me", picture["id"], 200) == data
    with pytest.raises(InvalidValue, match="200 bytes, where 199 may be read"):
        files.read("me", picture["id"], 199)
    with pytest.raises(NotFound):
        files.read("you", picture["id"], 200)


def test_pages(files: Files, clock: Clock):
    ids = []
    for number in range(5):
        clock.now += number % 2  # some come in the same moment
        ids.append(files.add("me", "a", io.BytesIO(b"x"))["id"])
    for newest_first in (True, False):
        seen, after, more = [], "", True
        while more:
            page, more = files.page("me", purpose="batch", limit=2, after=after, newest_first=newest_first)
            after = page[-1]["id"]
            seen += [each["id"] for each in page]
        assert sorted(seen) == sorted(ids) and len(page) == 1
    assert files.page("me", purpose="batch_output", limit=2, after="", newest_first=True) == ([], False)


def test_what_may_be_kept_is_bounded(files: Files):
    with pytest.raises(InvalidValue, match="empty"):
        files.add("me", "a", io.BytesIO())
    files.add("me", "a", io.BytesIO(bytes(3000)))
    with pytest.raises(InvalidValue, match="Files of 3000 bytes are kept for this key, and at most 5000 may be"):
        files.add("me", "a", io.BytesIO(bytes(2001)))
    files.add("you", "a", io.BytesIO(bytes(5000)))


def test_files_go_when_their_time_is_up(files: Files, clock: Clock):
    short, long = (files.add("me", "a", io.BytesIO(b"x"), seconds)["id"] for seconds in (3600, None))
    clock.now += 3600
    with pytest.raises(NotFound):
        files.get("me", short)
    files.sweep()
    clock.now -= 3600
    with pytest.raises(NotFound):
        files.get("me", short)
    assert content(files, "me", long) == b"x"


def test_sqlite_is_for_this_user_only(tmp_path: Path, clock: Clock):
    database = Database(f"sqlite:///{tmp_path}/private/batches.sqlite", clock)
    assert not database.exists
    with database.writing():
        assert database.exists
    paths = [tmp_path / "private", *(tmp_path / "private").iterdir()]
    assert [stat.S_IMODE(path.stat().st_mode) & 0o077 for path in paths] == [0] * len(paths)
    database.close()


def test_a_database_that_cannot_be_had_is_told(database: Database, tmp_path: Path):
    (tmp_path / "file").touch()
    for url in (f"sqlite:///{tmp_path}/file/a.sqlite", f"postgresql+psycopg://a@/b?host={tmp_path}/nowhere"):
        with pytest.raises(BatchesUnavailable), Database(url).reading():
            pass
    for url in ("nonsense", "oracle://a/b", "mysql+nobody://a/b"):
        with pytest.raises(DalleServeError, match=r"batches\.database must be"):
            Database(url)


def test_tables_of_another_version_are_left_alone(database: Database):
    with database.writing() as connection:
        connection.execute(update(versions).values(version=99))
    database.close()
    with pytest.raises(BatchesUnavailable, match="is of version 99"), database.reading():
        pass
