"""Watches a picture being drawn with OpenAI's own client: three previews, each with more rows, then the picture.

python examples/streaming_client.py [URL]
"""

import base64
import sys
from pathlib import Path

from openai import DefaultHttpxClient, OpenAI

url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
direct = DefaultHttpxClient(trust_env="127.0.0.1" not in url)  # not through a proxy that the environment names
client = OpenAI(base_url=f"{url}/v1", api_key="not needed", http_client=direct)

events = client.images.generate(prompt="an avocado", stream=True, partial_images=3, extra_body={"seed": 7})
for event in events:
    if event.type == "image_generation.partial_image":
        file = Path(f"avocado-preview-{event.partial_image_index + 1}.png")
    else:  # image_generation.completed
        file = Path("avocado.png")
    file.write_bytes(base64.b64decode(event.b64_json))
    print(file)
