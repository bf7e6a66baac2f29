"""Draws in this process, without a service.

python examples/in_process.py [MODEL]
"""

import sys
from pathlib import Path

from model_core.pictures.images import encode_png
from model_core.pipeline import Pipeline

pipeline = Pipeline.from_model(sys.argv[1] if len(sys.argv) > 1 else "emoji")
for rank, image in enumerate(pipeline.generate("an avocado", n=2, best_of=4, seed=7), start=1):
    file = Path(f"avocado-{rank}.png")
    file.write_bytes(encode_png(image.image))
    print(file, {"seed": image.seed, "clip_score": image.score})
