"""Draws from another Python program in the same Ray cluster, without HTTP (`make serve` runs such a cluster).

RAY_AUTH_MODE=token python examples/handle_client.py
"""

from pathlib import Path

import ray
from ray import serve

ray.init(address="auto", log_to_driver=False)
handle = serve.get_app_handle("dalle-serve")

reply = handle.generate.remote({"prompt": "an avocado", "n": 2, "best_of": 4, "seed": 7}).result(timeout_s=300)
for rank, image in enumerate(reply["data"], start=1):
    file = Path(f"avocado-{rank}.png")
    file.write_bytes(image["image"])
    print(file, {"seed": image["seed"], "clip_score": image["clip_score"]})
