"""The stage that reads prompts: a shim over `model_core.stages.TextEncoder`."""

from deployments.config import TextEncoderConfig
from deployments.stages.batching import batched
from deployments.stages.health import Health
from deployments.telemetry import energy
from model_core.families.conditions import EncodedPrompt


class TextEncoderDeployment:
    """Encodes prompts."""

    def __init__(self, model: str, config: TextEncoderConfig):
        from model_core import bundles, stages

        self._stage = stages.TextEncoder(
            bundles.resolve(model).text,
            dtype=config.dtype,
            batch_size=config.batch_size,
            num_devices=config.num_devices,
        )
        self._stage.warm_up()
        energy.report()
        pairs = (config.batch_size + 1) // 2
        self._health = Health()
        self._encode_batched = batched(self._health.watched(self._encode), pairs, config.batch_wait_timeout_s)

    async def encode(self, prompt: str, negative_prompt: str | None) -> EncodedPrompt:
        """Reads a request's text: what the sampler needs of it, its words, and how many tokens they are.

        Args:
          negative_prompt: what guidance leads away from; "" is no text at all, None where there is no guidance.
        """
        return await self._encode_batched((prompt, negative_prompt))

    def check_health(self) -> None:
        """Called by Serve, which replaces the replica where this raises `NotFinite`."""
        self._health.check()

    def _encode(self, pairs: list[tuple[str, str | None]]) -> list[EncodedPrompt]:
        encoded = self._stage.encode(pairs)
        for text in encoded:
            for condition in filter(None, (text.condition, text.uncondition)):
                _ = condition.key  # made here, once, and travels along
        return encoded
