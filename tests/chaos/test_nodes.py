"""Two nodes with a sampler each: replicas spread, and a node that dies, or is drained, takes no picture with it.

Has a cluster of its own, so it runs in a process of its own: `make chaos` sees to that.
"""

import secrets
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from pydantic import PydanticDeprecatedSince20
from ray import serve
from ray.cluster_utils import Cluster

from deployments.app import build_app
from deployments.config import APP_NAME
from deployments.host import free_port
from tests.chaos.clients import PATIENCE_S, Load, Sketchbook
from tests.chaos.conftest import tiny_config

STAGE = "tiny.token_sampler"
SAMPLER = {"min_replicas": 2, "max_replicas": 2, "resources": {"sampler": 1}}
# All else stays there: a gateway's death would break connections, and another stage would take a sampler's place.
AT_THE_HEAD = {"resources": {"head": 0.1}}


@pytest.fixture(scope="module")
def two_nodes(own_home: None, tiny_model: Path) -> Iterator[tuple[str, Cluster, list[Any]]]:
    """The service's address, the cluster, and the nodes with room for one sampler each."""
    config = tiny_config(tiny_model)
    (model,) = config.models
    stages = {
        name: stage.model_copy(update=SAMPLER if name == "token_sampler" else AT_THE_HEAD)
        for name, stage in model.stages.items()
    }
    gateway = config.gateway.model_copy(update=AT_THE_HEAD)
    config = config.model_copy(update={"models": [model.model_copy(update=stages)], "gateway": gateway})
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as environment:
        warnings.simplefilter("ignore", PydanticDeprecatedSince20)  # Ray's settings use what pydantic gave up
        warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves pipes of its processes to be closed at exit
        environment.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))  # which only `ray.init` would have made by itself
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "resources": {"head": 1}})
        nodes = [cluster.add_node(num_cpus=1, resources={"sampler": 1}) for _ in range(2)]
        ray.init(address=cluster.address, log_to_driver=False)
        port = free_port()
        serve.start(http_options={"host": "127.0.0.1", "port": port}, proxy_location="HeadOnly")
        serve.run(build_app(config), name=APP_NAME, route_prefix="/", blocking=False)
        yield f"http://127.0.0.1:{port}", cluster, nodes
        serve.shutdown()
        ray.shutdown()
        cluster.shutdown()


def places() -> set[str]:
    """The nodes on which a sampler runs."""
    from ray.serve.context import _get_global_client  # the only one who knows where replicas are

    deployments = _get_global_client().get_serve_details()["applications"][APP_NAME]["deployments"]
    return {replica["node_id"] for replica in deployments[STAGE]["replicas"] if replica["state"] == "RUNNING"}


def wait_for_places(wanted: set[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (found := places()) != wanted:
        assert time.monotonic() < deadline, f"samplers are on {found}, not on {wanted}"
        time.sleep(0.5)  # between looks


def test_a_node_dies(two_nodes: tuple[str, Cluster, list[Any]], note: Callable[..., None]):
    url, cluster, nodes = two_nodes
    assert places() == {node.node_id for node in nodes}
    sketchbook = Sketchbook.draw(url)
    with Load(url) as load:
        load.wait_for_answers(6)
        cluster.remove_node(nodes[0], allow_graceful=False)
        killed = time.monotonic()
        recovered = load.wait_for_answers(1, begun_after=killed) - killed
        load.wait_for_answers(8, begun_after=killed)
    broken = [why for answer in load.answers for why in answer.breaks]
    longest = max(answer.seconds for answer in load.answers)
    assert all(answer.picture == sketchbook[answer.seed] for answer in load.answers)
    new_node = cluster.add_node(num_cpus=1, resources={"sampler": 1})
    added = time.monotonic()
    wait_for_places({nodes[1].node_id, new_node.node_id})
    note(
        requests=len(load.answers),
        broken=broken,
        recovered_s=round(recovered, 1),
        longest_s=round(longest, 1),
        new_node_used_after_s=round(time.monotonic() - added, 1),
    )
    assert broken == []


def test_a_node_is_drained(two_nodes: tuple[str, Cluster, list[Any]], note: Callable[..., None]):
    """As before it is taken away: a sampler elsewhere first, then its own ends what it draws; nobody notices."""
    url, cluster, _ = two_nodes
    before = places()
    leaving = next(node for node in cluster.worker_nodes if node.node_id in before)
    sketchbook = Sketchbook.draw(url)
    new_node = cluster.add_node(num_cpus=1, resources={"sampler": 1})
    drain = [
        Path(sys.executable).with_name("ray"),
        "drain-node",
        "--address",
        cluster.address,
        "--node-id",
        leaving.node_id,
    ]
    drain += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "a test"]
    with Load(url) as load:
        load.wait_for_answers(6)
        drained = time.monotonic()
        subprocess.run([*drain, "--deadline-remaining-seconds", str(int(PATIENCE_S))], check=True, capture_output=True)
        wait_for_places(before - {leaving.node_id} | {new_node.node_id})
        moved_s = time.monotonic() - drained
        cluster.remove_node(leaving)
        load.wait_for_answers(8, begun_after=time.monotonic())
    assert all(answer.picture == sketchbook[answer.seed] for answer in load.answers)
    broken = [why for answer in load.answers for why in answer.breaks]
    longest = max(answer.seconds for answer in load.answers)
    note(requests=len(load.answers), broken=broken, moved_s=round(moved_s, 1), longest_s=round(longest, 1))
    assert broken == []
