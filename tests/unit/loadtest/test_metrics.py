import json
from pathlib import Path

from loadtest.metrics import Snapshot, parse, snapshot, targets

HEAD = """\
# TYPE ray_serve_deployment_replica_healthy gauge
ray_serve_deployment_replica_healthy{deployment="emoji.token_sampler",replica="a"} 1.0
ray_serve_deployment_replica_healthy{deployment="emoji.token_sampler",replica="b"} 1.0
ray_serve_deployment_replica_healthy{deployment="gateway",replica="c"} 0.0
# TYPE ray_dalle_serve_pending_images gauge
ray_dalle_serve_pending_images{replica="c"} 7.0
"""
WORKER = """\
# TYPE ray_dalle_serve_sampler_waiting_images gauge
ray_dalle_serve_sampler_waiting_images{replica="a"} 2.0
ray_dalle_serve_sampler_waiting_images{replica="b"} 1.0
"""


def test_nodes_and_replicas_are_added_up():
    assert parse([HEAD, WORKER]) == Snapshot({"emoji.token_sampler": 2, "gateway": 0}, 7.0, 3.0)


def test_a_node_that_does_not_answer_has_nothing_to_say(tmp_path: Path):
    listing = tmp_path / "nodes.json"
    listing.write_text(json.dumps([{"labels": {"job": "ray"}, "targets": ["127.0.0.1:1"]}]))
    assert snapshot(targets(listing)) == Snapshot({}, 0.0, 0.0)
