"""The recipe that the training of every family has, whatever it has besides. Each value may be changed by `--set`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceRecipe:
    """Everything that decides how what draws codes is trained, but for what one family has alone."""

    steps: int = 10_000
    batch_size: int = 16
    batch_growth: str = ""  # "1000000:2,8000000:4": from so many samples on, so many times the batch
    optimizer: str = "adamw"  # or "adafactor", DALL·E mini's; "muon"; "shampoo", DALL·E mega's
    learning_rate: float = 2e-3
    warm_up_steps: int = 200
    schedule: str = "linear"  # after the warm-up: "linear" or "exponential" decay, "constant", or "plateau"
    schedule_from: int = 0  # the step at which warm-up and decay begin; of a run that goes on with another rate
    final_share: float = 0.01  # of the learning rate, at the last step of a decay
    plateau_factor: float = 0.5  # the rate is multiplied by it …
    plateau_patience: int = 10  # … after so many windows without a lower loss …
    plateau_window: int = 100  # … of so many steps, over which the loss is averaged
    beta1: float = 0.9
    beta2: float = 0.98
    weight_decay: float = 0.01
    clip_norm: float = 1.0  # of the gradient; 0 clips nothing
    ema_decay: float = 0.998  # of the averaged parameters; 0: they are the last ones
    pictures_per_prompt: int = 1  # so many that a prompt describes are in a batch together, where it describes so many
    prompt_dropout: float = 0.1  # of the prompts become empty
    dropout: float = 0.0  # of what attention and feed-forward add
    activation_dropout: float = 0.0  # of what is inside of a feed-forward, in front of its last product
    accumulation: int = 1  # pieces that a batch is cut into, one after another
    remat: bool = False  # compute the activations of each layer again rather than keep them
    model_parallel: int = 1  # devices that each copy of the model lies on; all others take rows of the batch
    validate_every: int = 0  # steps between validations; 0: none
    save_every_s: float = 300.0  # seconds between states
    dtype: str = "auto"  # bfloat16 on accelerators, float32 on CPUs; parameters and optimizer are float32
    seed: int = 0
