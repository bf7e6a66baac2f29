import json
from pathlib import Path

from loadtest.metrics import MEMORY_S, Snapshot, Watcher, targets

HEAD = """\
# TYPE ray_serve_autoscaling_target_replicas gauge
ray_serve_autoscaling_target_replicas{deployment="emoji.token_sampler"} 3.0
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
# TYPE ray_dalle_serve_sampler_active_slots gauge
ray_dalle_serve_sampler_active_slots{replica="a"} 4.0
# TYPE ray_dalle_serve_sampler_codes_total counter
ray_dalle_serve_sampler_codes_total{replica="a"} 512.0
# TYPE ray_tasks gauge
ray_tasks{State="FINISHED"} 99.0
"""


def test_nodes_and_replicas_are_added_up():
    found = Watcher().take([HEAD, WORKER])
    assert found.replicas == {"emoji.token_sampler": 2, "gateway": 0}
    assert found.targets == {"emoji.token_sampler": 3}
    assert (found.pending_images, found.active_slots, found.waiting_images, found.codes_drawn) == (7.0, 4.0, 3.0, 512.0)


def test_what_is_missing_from_an_answer_is_remembered_for_a_while():
    now = 0.0
    watcher = Watcher(clock=lambda: now)
    watcher.take([HEAD, WORKER])
    now = MEMORY_S
    assert watcher.take([WORKER.replace("512.0", "600.0")]).replicas == {"emoji.token_sampler": 2, "gateway": 0}
    now = MEMORY_S + 1
    found = watcher.take([])
    assert (found.replicas, found.codes_drawn) == ({}, 600.0)


def test_a_node_that_does_not_answer_has_nothing_to_say(tmp_path: Path):
    listing = tmp_path / "nodes.json"
    listing.write_text(json.dumps([{"labels": {"job": "ray"}, "targets": ["127.0.0.1:1"]}]))
    assert Watcher().look(targets(listing)) == Snapshot()
