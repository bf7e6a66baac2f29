"""The refiner on Ray: it starts when it is first asked for, streams its steps, and a seed means the same picture."""

import base64
import json
from typing import Any

import httpx

REFINE = {"prompt": "an avocado", "model": "tiny:refine", "start": "noise", "steps": 8, "cutouts": 4, "seed": 3}


def test_noise_is_refined_in_a_stream_and_the_result_refined_again(http: httpx.Client):
    body = REFINE | {"stream": True, "partial_images": 3}
    with http.stream("POST", "/v1/images/generations", json=body) as reply:
        assert reply.status_code == 200, reply.read()
        events: list[Any] = [json.loads(line[6:]) for line in reply.iter_lines() if line.startswith("data: {")]
    *shown, completed = events
    assert [event["type"].rpartition(".")[2] for event in events] == ["partial_image"] * len(shown) + ["completed"]
    assert shown and [event["progress"] for event in shown] == sorted(event["progress"] for event in shown)
    again = http.post("/v1/images/generations", json=REFINE, headers={"cache-control": "no-store"}).json()
    assert again["data"][0]["b64_json"] == completed["b64_json"]
    assert again["model"] == "tiny:refine"

    files = {"image": base64.b64decode(completed["b64_json"])}
    texts = {"prompt": "an avocado", "model": "tiny:refine", "steps": "2", "prompts": '[{"text": "x", "weight": -1}]'}
    reply = http.post("/v1/images/edits", data=texts, files=files)
    assert reply.status_code == 200, reply.text
    assert [model["refines"] for model in http.get("/v1/models").json()["data"]] == [None, "tiny"]
