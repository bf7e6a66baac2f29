"""Many draws of every prompt, kept on disk, so that a stopped evaluation goes on where it was.

Draws are kept under a fingerprint of the model's files: those of another model are never taken for this one's.
"""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32

from model_core.bundles import Bundle
from model_core.errors import InvalidValue
from model_core.files import write_atomically
from model_core.pipeline import MAX_IMAGES, Pipeline


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Draw j of every prompt has the seed j.

    Attributes:
      codes: of P prompts, M draws each.
      scores: the scorer's, by which the best are chosen.
    """

    codes: Int32[np.ndarray, "P M N"]
    scores: Float32[np.ndarray, "P M"]


def draw_all(
    pipeline: Pipeline,
    prompts: Sequence[str],
    num_draws: int,
    folder: Path,
    on_prompt: Callable[[], None] = lambda: None,
    guidance_scale: float | None = None,
) -> Draws:
    """Draws what is not yet in `folder`; calls `on_prompt` after each prompt.

    Args:
      folder: of these draws alone: other settings need another, for which `fingerprint` has a name.
      guidance_scale: None is the model's own.

    Raises:
      InvalidValue: more draws than a pipeline gives at once, or the model has no scorer to choose by.
    """
    if not 1 <= num_draws <= MAX_IMAGES:
        raise InvalidValue(f"draws must be 1 to {MAX_IMAGES}; got {num_draws}.", "draws")
    if pipeline.scorer is None:
        raise InvalidValue(f"{pipeline.bundle.id} has no scorer: there is nothing to choose the best draws by.")
    found = []
    for prompt in prompts:
        file = folder / f"{hashlib.sha256(prompt.encode()).hexdigest()[:16]}.npz"
        found.append(_drawn(pipeline, prompt, num_draws, file, guidance_scale))
        on_prompt()
    codes, scores = zip(*found, strict=True)
    return Draws(np.stack(codes), np.stack(scores))


def fingerprint(bundle: Bundle, **settings: float) -> str:
    """Sixteen hex digits that change with any file of the model's networks, and with what it is sampled by."""
    digest = hashlib.sha256(json.dumps(bundle.sampling | settings, sort_keys=True).encode())
    for part in bundle.parts.values():
        for file in sorted(path for path in part.iterdir() if path.is_file()):
            digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _drawn(
    pipeline: Pipeline, prompt: str, num_draws: int, file: Path, guidance_scale: float | None
) -> tuple[Int32[np.ndarray, "M N"], Float32[np.ndarray, " M"]]:
    """The first `num_draws` draws of a prompt, from the file as far as it goes."""
    length = pipeline.token_sampler.config.image_length
    codes, scores = np.zeros((0, length), np.int32), np.zeros(0, np.float32)
    if file.exists():
        with np.load(file) as kept:
            codes, scores = kept["codes"].astype(np.int32), kept["scores"]
    if missing := max(0, num_draws - len(codes)):
        images = pipeline.generate(prompt, n=missing, seed=len(codes), guidance_scale=guidance_scale)
        images.sort(key=lambda image: image.seed)
        codes = np.concatenate([codes, np.stack([image.codes for image in images])])
        scores = np.append(scores, np.array([image.score for image in images], np.float32))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, codes=codes.astype(np.uint16), scores=scores)
        write_atomically(file, buffer.getvalue())
    return codes[:num_draws], scores[:num_draws]
