"""Which module trains which codec."""

from typing import Any, cast

from model_core.codecs.discrete_vae_config import DiscreteVAEConfig
from model_core.codecs.openai_dvae_config import OpenAIDVAEConfig
from model_core.codecs.vqgan_config import VQGANConfig
from model_core.errors import UnsupportedConfig
from model_core.training.codecs import discrete_vae, gumbel, openai_dvae, vqgan
from model_core.training.codecs.reconstruction import Kind

KINDS: dict[str, Any] = {"vqgan": vqgan, "gumbel": gumbel, "discrete_vae": discrete_vae, "openai_dvae": openai_dvae}
_OF_CONFIGS = {DiscreteVAEConfig: "discrete_vae", OpenAIDVAEConfig: "openai_dvae"}
_OF_LOOKUPS = {"nearest": "vqgan", "gumbel": "gumbel"}


def name_of(config: object) -> str:
    """The name in `KINDS` of a codec's kind, by its configuration.

    Raises:
      UnsupportedConfig: codecs of that kind are not trained here.
    """
    found = _OF_LOOKUPS.get(config.lookup) if isinstance(config, VQGANConfig) else _OF_CONFIGS.get(type(config))
    if found is None:
        kind = f"VQGAN with lookup {config.lookup}" if isinstance(config, VQGANConfig) else type(config).__name__
        raise UnsupportedConfig(
            f"the run started from a model with a codec that is not trained here, a {kind}. There are VQGANs with "
            f"lookup {' or '.join(_OF_LOOKUPS)}, DALLE-pytorch's DiscreteVAE and OpenAI's dVAE. What draws the codes "
            "of any is: `dalle-serve train sampler`."
        )
    return found


def kind_of(config: object) -> Kind:
    """How a codec is trained, by its configuration. Raises as `name_of`."""
    return cast(Kind, KINDS[name_of(config)])
