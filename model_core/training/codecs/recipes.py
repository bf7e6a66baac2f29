"""The recipes of codecs: what all have, and what each kind has besides. Each value may be changed by `--set`."""

from dataclasses import dataclass

from model_core.errors import InvalidValue

SCHEDULES = ("cosine", "exponential")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecRecipe:
    """What the training of every codec has."""

    steps: int = 4000
    batch_size: int = 16
    crop: int = 64  # pixels a side
    whole_fraction: float = 0.25  # of the steps, at the end, on whole pictures (a quarter of the batch each)
    learning_rate: float = 2e-3
    warm_up_steps: int = 100
    perceptual_weight: float = 0.0  # of the distance as a CLIP sees it; 0: none looks
    perceptual_scorer: str = ""  # whose CLIP: a scorer's folder or a model's name; "": the run's own
    adversarial_weight: float = 0.0  # of what fools a discriminator; 0: there is none
    adversarial_from: int = 2000  # the step at which it begins to learn, and to be listened to
    adversary_learning_rate: float = 2e-4
    adversary_width: int = 64  # channels of its first layer
    adversary_layers: int = 3  # that halve: how large the patches are that it judges
    decoder_steps: int = 1500  # afterwards, with the codes fixed
    decoder_batch_size: int = 4
    decoder_learning_rate: float = 1e-3
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VQGANRecipe(CodecRecipe):
    """Of a VQGAN that takes the nearest code."""

    continuous_fraction: float = 0.1  # of the steps, at the start, without quantising
    commitment: float = 0.25
    edges: float = 0.5
    codebook_decay: float = 0.99
    restart_below: float = 0.03  # expected uses of a code in a batch


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaxedRecipe(CodecRecipe):
    """Of codecs that draw a code from logits, which training relaxes. These are the values of DALL·E's dVAE."""

    learning_rate: float = 1e-4
    temperature: float = 1.0  # of the relaxation, at the start …
    final_temperature: float = 1 / 16  # … and from the end of its schedule on
    temperature_schedule: str = "cosine"  # or "exponential"
    temperature_fraction: float = 0.05  # of the steps: 150 000 of 3 000 000
    straight_through: bool = False  # decode the one code that was drawn, with the gradient of the mixture
    kl_weight: float = 6.6  # of the KL from a uniform choice, in nats a value of a pixel …
    kl_fraction: float = 1 / 600  # … which it has after this share of the steps: 5000 of 3 000 000


@dataclass(frozen=True, slots=True, kw_only=True)
class GumbelRecipe(RelaxedRecipe):
    """Of a VQGAN that draws its codes: taming-transformers' GumbelVQ."""

    learning_rate: float = 2e-3
    temperature: float = 0.9
    temperature_fraction: float = 1.0
    straight_through: bool = True
    kl_weight: float = 0.1  # 0.0005 a code of 8 × 8 pixels, its quantiser's default; a published one has next to none
    kl_fraction: float = 0.0
    edges: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscreteVAERecipe(RelaxedRecipe):
    """Of DALLE-pytorch's DiscreteVAE."""

    learning_rate: float = 1e-3
    final_temperature: float = 0.5
    temperature_schedule: str = "exponential"
    temperature_fraction: float = 1.0
    kl_weight: float = 0.0
    loss: str = "mse"  # or "smooth_l1"


def check(recipe: CodecRecipe, side: int, code_side: int) -> None:
    """Checks a recipe against the codec and its pictures.

    Args:
      side: pixels of a picture's side.
      code_side: pixels of the side of what one code stands for.

    Raises:
      InvalidValue: a value makes no sense; says which would.
    """
    if recipe.crop > side or recipe.crop < 1 or recipe.crop % code_side:
        raise InvalidValue(
            f"crop is {recipe.crop}; it must be a multiple of {code_side} pixels, which a code has, and at most "
            f"{side}, which a picture has.",
            "crop",
        )
    if isinstance(recipe, RelaxedRecipe):
        if recipe.temperature_schedule not in SCHEDULES:
            raise InvalidValue(
                f"temperature_schedule is {recipe.temperature_schedule!r}; there are {', '.join(SCHEDULES)}.",
                "temperature_schedule",
            )
        if min(recipe.temperature, recipe.final_temperature) <= 0:
            raise InvalidValue(
                f"temperatures must be above 0; got {recipe.temperature} and {recipe.final_temperature}.", "temperature"
            )
