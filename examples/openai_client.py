"""Draws with OpenAI's own client, from the service on this machine (`make serve`).

python examples/openai_client.py [URL]
"""

import base64
import sys
from pathlib import Path

from openai import DefaultHttpxClient, OpenAI

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
direct = DefaultHttpxClient(trust_env="127.0.0.1" not in url)  # not through a proxy that the environment names
client = OpenAI(base_url=f"{url}/v1", api_key="not needed", http_client=direct)

result = client.images.generate(
    prompt="an avocado",
    n=2,
    response_format="b64_json",
    extra_body={"seed": 7, "best_of": 4},  # what OpenAI's own service does not have goes here
)
for rank, image in enumerate(result.data or [], start=1):
    file = Path(f"avocado-{rank}.png")
    file.write_bytes(base64.b64decode(image.b64_json or ""))
    print(file, image.model_extra)
