"""A batch of the service's own, `/v1/batches`: work for which nobody waits, to fill what a load leaves free."""

import json
from collections.abc import Sequence
from typing import Any

from loadtest.http import fetch, post

ROUTE = "/v1/images/generations"
TIMEOUT_S = 10.0
BOUNDARY = "of-the-lines-of-a-batch"


class Bulk:
    """A batch that was sent to a service.

    Args:
      prompts: drawn in turn, each with a seed of its own.
      count: how many requests there are.

    Raises:
      OSError: the service takes none.
    """

    def __init__(self, url: str, prompts: Sequence[str], count: int):
        bodies = ({"prompt": prompts[seed % len(prompts)], "seed": seed} for seed in range(count))
        lines = [
            json.dumps({"custom_id": f"{place}", "method": "POST", "url": ROUTE, "body": body})
            for place, body in enumerate(bodies)
        ]
        file = self._ask(url, "/v1/files", _form("\n".join(lines)), f"multipart/form-data; boundary={BOUNDARY}")
        fields = {"input_file_id": file["id"], "endpoint": ROUTE, "completion_window": "24h"}
        batch = self._ask(url, "/v1/batches", json.dumps(fields).encode(), "application/json")
        self._url, self._route = url, f"/v1/batches/{batch['id']}"

    def answered(self) -> int:
        """Requests that are done."""
        batch = json.loads(fetch(self._url + self._route, TIMEOUT_S))
        return (batch.get("request_counts") or {}).get("completed", 0)

    def cancel(self) -> None:
        """Gives up what is not drawn yet."""
        self._ask(self._url, f"{self._route}/cancel", b"", "application/json")

    @staticmethod
    def _ask(url: str, route: str, body: bytes, content_type: str) -> dict[str, Any]:
        return json.loads(post(url + route, body, content_type, TIMEOUT_S))


def _form(lines: str) -> bytes:
    """A file of lines as a form sends it."""
    field = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    file = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="lines.jsonl"\r\n\r\n{lines}\r\n'
    return f"{field}{file}--{BOUNDARY}--\r\n".encode()
