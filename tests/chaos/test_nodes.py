"""Two nodes with a sampler each: replicas spread, and a node that dies takes no picture with it.

Has a cluster of its own, so it runs in a process of its own: `make chaos` sees to that.
"""

import secrets
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
# A whole core, which is all that a node has: where the gateway ran there too, its death would break connections.
SAMPLER = {"min_replicas": 2, "max_replicas": 2, "resources": {"sampler": 1}, "num_cpus": 1}


@pytest.fixture(scope="module")
def two_nodes(own_home: None, tiny_model: Path) -> Iterator[tuple[str, Cluster, list[Any]]]:
    """The service's address, the cluster, and the nodes with room for one sampler each."""
    config = tiny_config(tiny_model)
    model = config.models[0]
    sampler = model.token_sampler.model_copy(update=SAMPLER)
    config = config.model_copy(update={"models": [model.model_copy(update={"token_sampler": sampler})]})
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as environment:
        warnings.simplefilter("ignore", PydanticDeprecatedSince20)  # Ray's settings use what pydantic gave up
        warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves pipes of its processes to be closed at exit
        environment.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))  # which only `ray.init` would have made by itself
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4})
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
    added, deadline = time.monotonic(), time.monotonic() + PATIENCE_S
    while places() != {nodes[1].node_id, new_node.node_id}:
        assert time.monotonic() < deadline, "no sampler on the new node"
        time.sleep(0.5)
    note(
        requests=len(load.answers),
        broken=broken,
        recovered_s=round(recovered, 1),
        longest_s=round(longest, 1),
        new_node_used_after_s=round(time.monotonic() - added, 1),
    )
    assert broken == []
