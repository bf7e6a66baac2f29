"""The stage that draws image codes: a shim over `model_core.sampler.engine.Engine`, which draws many images at once.

Knows nothing of the other stages or of HTTP. The models are imported when a replica starts, not with this module.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass

import numpy as np

from deployments.config import TokenSamplerConfig
from deployments.errors import DeadlineExceeded
from deployments.scaling.autoscaling import SamplerLoad
from deployments.stages.text_encoder import EncodedPrompt
from deployments.telemetry.metrics import SamplerMetrics, SlotCounts
from model_core.errors import CheckpointMismatch, EngineFailed

REFUSAL_S = 1.0  # a replica that refused at once, having failed, would look idle, and draw the others' calls to itself

ROWS_OF_SLOT = 2  # of the decoder: an image under guidance takes both, any other one of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the codes of an image are drawn; the fields of the request, none missing."""

    guidance_scale: float
    temperature: float
    top_k: int
    top_p: float


class TokenSamplerDeployment:
    """Draws the codes of images, each as soon as there is room, whoever else is being drawn."""

    def __init__(self, model: str, config: TokenSamplerConfig):
        from model_core import stages
        from model_core.sampler.engine import Engine
        from model_core.weights import bundles
        from model_core.weights.checkpoint import read_vqgan_config

        bundle = bundles.resolve(model)
        vqgan = read_vqgan_config(bundle.vqgan)
        stage = stages.TokenSampler(
            bundle.dalle_bart,
            dtype=config.dtype,
            batch_size=config.slots,
            num_codes=vqgan.n_embed,
            deterministic=config.deterministic,
            num_devices=config.num_devices,
        )
        drawn, decoded = stage.config.image_length, vqgan.grid**2
        if drawn != decoded:
            raise CheckpointMismatch(f"{model}: DalleBart draws {drawn} codes an image, the VQGAN takes {decoded}.")
        self._new_job = stages.SamplerJob
        self._row_length = vqgan.grid
        self._is_deterministic = stage.rows.is_deterministic
        self._metrics = SamplerMetrics()
        self._load = SamplerLoad(codes_per_image=drawn)
        self._engine = Engine(stage.rows, codes_per_advance=config.codes_per_advance, max_stall_s=config.max_stall_s)
        self._engine.start()

    async def sample(
        self,
        prompt: EncodedPrompt,
        negative: EncodedPrompt | None,
        seed: int,
        sampling: Sampling,
        *,
        fixed_codes: np.ndarray | None = None,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> np.ndarray:
        """Draws the codes of one image, int32 [N].

        Args:
          prompt: what to draw, as the text encoder returned it.
          negative: what guidance leads away from: the empty prompt where nothing else was asked for, None at scale 1.
          seed: of this image, below 2^32; the same seed gives the same codes whatever else is drawn.
          sampling: how to draw.
          fixed_codes: int32 [N], what the image has to have; -1 where codes are drawn.
          request_id: images of one request share its turns, so that a large one leaves room for others.
          timeout_s: how long it may take from now on.

        Raises:
          InvalidValue: the image cannot be drawn.
          DeadlineExceeded: it took longer than `timeout_s`.
          EngineFailed: the replica is about to be replaced; another can draw the image.
        """
        drawing = self.sample_rows(
            prompt,
            negative,
            seed,
            sampling,
            rows=(1,),  # so that the time to the first row is measured
            fixed_codes=fixed_codes,
            request_id=request_id,
            timeout_s=timeout_s,
        )
        async with aclosing(drawing):
            return [codes async for codes in drawing][-1]

    async def sample_rows(
        self,
        prompt: EncodedPrompt,
        negative: EncodedPrompt | None,
        seed: int,
        sampling: Sampling,
        *,
        rows: tuple[int, ...],
        shown: np.ndarray | None = None,
        fixed_codes: np.ndarray | None = None,
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> AsyncGenerator[np.ndarray, None]:
        """Draws one image as `sample` does, and raises what it raises; shows the codes on the way.

        Args:
          rows: after how many rows of codes; where the engine passes several at once, it shows the last of them.
          shown: the last that another replica yielded of this image. Nothing of it is yielded again. It is taken as it
            is; or, where a seed means the same bits, drawn again, so that what follows is the same as well.

        Yields:
          Codes int32 [N], -1 for those to come. At the end, always, those of the whole image.
        """
        num_shown = 0 if shown is None else int((shown < 0).argmax())
        if shown is not None and not self._is_deterministic:
            fixed_codes = shown
        job = self._new_job(
            states=prompt[0],
            mask=prompt[1],
            uncond_states=negative and negative[0],
            uncond_mask=negative and negative[1],
            seed=seed,
            fixed_codes=fixed_codes,
            **asdict(sampling),
        )
        stops = tuple(row * self._row_length for row in rows if row * self._row_length > num_shown)
        with self._metrics.image() as first_row:
            drawing = self._engine.stream(job, request_id=request_id, timeout_s=timeout_s, stops=stops)
            is_first = True
            try:
                async with aclosing(drawing):
                    async for codes in drawing:
                        if is_first:
                            first_row()
                        is_first = False
                        yield codes
            except TimeoutError as error:
                raise DeadlineExceeded("The image took longer than it may, and was given up.") from error
            except EngineFailed:
                await asyncio.sleep(REFUSAL_S)
                raise

    async def wake(self) -> None:
        """Does nothing; being called brings the stage back where it has scaled to zero."""

    def check_health(self) -> None:
        """Called by Serve, which replaces the replica where this raises `EngineFailed`."""
        self._engine.check_health()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve about once a second: how full the replica is, for the autoscaler and for metrics."""
        stats = self._engine.stats()
        counts = SlotCounts(
            slots=stats.rows / ROWS_OF_SLOT,
            active=stats.rows_taken / ROWS_OF_SLOT,
            waiting=stats.waiting,
            codes_drawn=stats.codes_drawn,
            near_ties=stats.near_ties,
        )
        self._metrics.publish(counts)
        return self._load.stats(counts)

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)  # the constructor may have failed
        if engine:
            engine.close()
