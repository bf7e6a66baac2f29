import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from loadtest.bulk import Bulk

ANSWERS = {
    "/v1/files": {"id": "file-1"},
    "/v1/batches": {"id": "batch_1"},
    "/v1/batches/batch_1": {"request_counts": {"completed": 3}},
    "/v1/batches/batch_1/cancel": {},
}
sent: dict[str, bytes] = {}  # bodies, by path


class Service(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        sent[self.path] = self.rfile.read(int(self.headers["content-length"]))
        self._answer()

    def _answer(self) -> None:
        body = json.dumps(ANSWERS[self.path]).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_batch_is_sent_as_a_file_of_lines_watched_and_given_up(url: str):
    bulk = Bulk(url, ["a fox", "an owl"], 3)
    assert bulk.answered() == 3
    bulk.cancel()
    assert b'name="purpose"\r\n\r\nbatch\r\n' in sent["/v1/files"]
    lines = [json.loads(line) for line in sent["/v1/files"].splitlines() if line.startswith(b"{")]
    assert [line["body"] for line in lines] == [
        {"prompt": prompt, "seed": seed} for seed, prompt in enumerate(["a fox", "an owl", "a fox"])
    ]
    assert len({line["custom_id"] for line in lines}) == 3
    assert json.loads(sent["/v1/batches"])["input_file_id"] == "file-1"
    assert "/v1/batches/batch_1/cancel" in sent
