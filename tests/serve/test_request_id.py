"""One request through all stages: its id in every log, and one trace of its way."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.local import LocalService

STAGES = ("tiny.text_encoder", "tiny.token_sampler", "tiny.image_decoder", "tiny.clip_scorer")
DEPLOYMENTS = {"gateway", *STAGES}
ID = "x-request-id"
TRACED, UNTRACED = "within-a-trace", "by-itself"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def logs(service: LocalService) -> Path:
    """Serve's logs, after a request with an id of the caller's, within a trace of the caller's, and one without."""
    for headers in ({ID: TRACED, "traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}, {ID: UNTRACED}):
        url = f"{service.url}/v1/images/generations"
        headers = headers | {"cache-control": "no-store"}  # a prompt that is known asks no encoder
        reply = httpx.post(url, json={"prompt": "an avocado"}, headers=headers, timeout=PATIENCE_S)
        assert reply.status_code == 200
    return service.logs / "serve"


def log_lines(folder: Path) -> Iterator[dict[str, Any]]:
    for file in folder.glob("replica_*.log"):
        for line in file.read_text().splitlines():
            if line.startswith("{"):  # what a replica says before its logging is set up is plain text
                yield json.loads(line)


def spans(folder: Path) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    for file in (folder / "spans").iterdir():
        text = file.read_text().strip()
        while text:
            try:
                span, end = decoder.raw_decode(text)
            except json.JSONDecodeError:  # it is being written
                break
            yield span
            text = text[end:].lstrip()


def wait_for(found: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Asks until every deployment is among what was found: each writes when it is done."""
    deadline = time.monotonic() + PATIENCE_S
    while (seen := found()).keys() != DEPLOYMENTS:
        assert time.monotonic() < deadline, f"only {sorted(seen)}"
        time.sleep(0.2)  # between looks, until the deadline
    return seen


@pytest.mark.parametrize("request_id", [TRACED, UNTRACED])
def test_every_stage_logs_the_requests_id_as_json(logs: Path, request_id: str):
    def found() -> dict[str, str]:
        ours = [line for line in log_lines(logs) if line.get("request_id") == request_id]
        calls = [line for line in ours if line["message"].endswith("ms")]
        return {line["deployment"].removeprefix("dalle-serve_"): line["message"] for line in calls}

    calls = wait_for(found)
    assert calls["gateway"].startswith("POST /v1/images/generations 200")
    assert all(calls[stage].startswith("CALL ") and " OK " in calls[stage] for stage in STAGES)


@pytest.mark.parametrize("request_id", [TRACED, UNTRACED])
def test_one_trace_goes_through_all_stages(logs: Path, request_id: str):
    def found() -> dict[str, dict[str, Any]]:
        handled = [span for span in spans(logs) if span["name"].startswith("replica_handle_request")]
        ours = [span for span in handled if span["attributes"]["request_id"] == request_id]
        return {span["attributes"]["deployment"]: span for span in ours}

    handled = wait_for(found)
    (trace,) = {span["context"]["trace_id"] for span in handled.values()}
    assert (trace == f"0x{TRACE_ID}") == (request_id == TRACED)
    names = {span["context"]["span_id"]: span["name"] for span in spans(logs)}
    for stage in STAGES:
        assert names[handled[stage]["parent_id"]].startswith(f"route_to_replica {stage}")  # the gateway's call
