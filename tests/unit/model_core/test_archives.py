"""An archive of weights from a server of this machine."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from model_core import archives
from model_core.errors import CorruptCheckpoint, ModelNotFound

MEMBERS = ("config.yaml", "tokenizer/vocab.json")


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


GOOD = tar({"1.3B/config.yaml": b"a: 1", "1.3B/tokenizer/vocab.json": b"{}", "../../evil": b"x", "1.3B/other": b"y"})


class Server:
    """Gives `content`, from where a `Range` says; breaks off after `breaks_at` bytes."""

    def __init__(self, content: bytes):
        self.content, self.breaks_at, self.ranges = content, len(content), []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.headers.get("Range")
                server.ranges.append(asked)
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
                if start >= len(server.content):
                    return self.send_error(416)
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(server.content) - start))
                self.end_headers()
                self.wfile.write(server.content[start : server.breaks_at])
                return None

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}/x.tar.gz"

    def close(self) -> None:
        if not self._thread.is_alive():
            return
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[bytes], Server]]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def serve(content: bytes) -> Server:
        servers.append(Server(content))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def written(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_only_the_named_files_are_unpacked_and_only_once(serving, tmp_path):
    server, seen = serving(GOOD), []
    folder = archives.fetch("x", server.url, md5(GOOD), MEMBERS, lambda *progress: seen.append(progress))
    assert written(tmp_path) == {f"dalle-serve/models/x/{name}" for name in MEMBERS}
    assert (folder / "config.yaml").read_bytes() == b"a: 1"
    assert seen[-1] == (len(GOOD), len(GOOD))
    assert archives.fetch("x", server.url, md5(GOOD), MEMBERS) == folder
    assert len(server.ranges) == 1


def test_a_download_that_broke_off_goes_on(serving):
    server = serving(GOOD)
    server.breaks_at = 100
    with pytest.raises(ModelNotFound, match="could not be downloaded"):
        archives.fetch("x", server.url, md5(GOOD), MEMBERS)
    server.breaks_at = len(GOOD)
    assert written(archives.fetch("x", server.url, md5(GOOD), MEMBERS)) == set(MEMBERS)
    assert server.ranges == [None, "bytes=100-"]


def test_all_of_it_may_be_there_already(serving, tmp_path):
    (tmp_path / "dalle-serve/models").mkdir(parents=True)
    (tmp_path / "dalle-serve/models/x.unfinished").write_bytes(GOOD)
    assert archives.fetch("x", serving(GOOD).url, md5(GOOD), MEMBERS).is_dir()


@pytest.mark.parametrize(
    ("content", "sum_of", "words"),
    [
        (GOOD, b"another", "it is another file"),
        (tar({"1.3B/config.yaml": b"a: 1"}), None, r"lacks tokenizer/vocab\.json"),
        (b"no archive at all", None, "cannot be unpacked"),
        (GOOD[:-50], None, "cannot be unpacked|lacks"),
    ],
)
def test_what_is_no_such_archive_leaves_no_folder(serving, tmp_path, content, sum_of, words):
    with pytest.raises(CorruptCheckpoint, match=words):
        archives.fetch("x", serving(content).url, md5(sum_of or content), MEMBERS)
    assert not (tmp_path / "dalle-serve/models/x").exists()


def test_a_server_that_is_not_there_is_named(serving):
    server = serving(GOOD)
    server.close()
    with pytest.raises(ModelNotFound, match=r"127\.0\.0\.1"):
        archives.fetch("x", server.url, md5(GOOD), MEMBERS)
