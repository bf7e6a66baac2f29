"""Settings of the service: what a Serve YAML's `args:` is checked against.

Every class refuses keys it does not know. The defaults suit a laptop with two cores: all `num_cpus` together are at
most 2. `app.py` hands `deployment_options()` on to Ray.
"""

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

APP_NAME = "dalle-serve"
ON_DEMAND = "on_demand"  # in place of a model's id, where several share a stage

ModelId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
DType = Literal["float32", "bfloat16", "float16"]
Window = Literal["auto"] | Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """A group of settings: fixed once read, and an unknown key is an error that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# A caller that found all replicas full looks again after a while, twice as long each time up to this. Serve's own half
# second is long beside an image: a replica that draws 15 a second is through with what it had waiting by then.
ROUTER_BACKOFF_S = 0.05
BATCH_IMAGES_A_SLOT = 3  # two may be drawn in one
# Settings that Serve knows by the same names.
SERVE_OPTIONS = {"max_ongoing_requests", "max_queued_requests", "graceful_shutdown_timeout_s", "max_surge_percent"}
SERVE_OPTIONS |= {"max_replicas_per_node", "health_check_period_s", "health_check_timeout_s"}
AUTOSCALING_OPTIONS = {"min_replicas", "max_replicas", "target_ongoing_requests", "look_back_period_s"}
AUTOSCALING_OPTIONS |= {"upscale_delay_s", "downscale_delay_s"}


class DeploymentConfig(Settings):
    """What Ray Serve is told of one deployment: how many replicas, on what, and how much may wait for them."""

    min_replicas: int = Field(default=1, ge=0, description="Replicas kept when idle; 0 lets the stage go away.")
    max_replicas: int = Field(default=1, ge=1, description="Replicas started at most.")
    target_ongoing_requests: float = Field(
        default=2, gt=0, description="Calls in one replica that autoscaling aims at."
    )
    look_back_period_s: float = Field(default=10, gt=0, description="Time over which autoscaling averages the load.")
    upscale_delay_s: float = Field(
        default=10, ge=0, description="How long the load must be high before a replica is added."
    )
    downscale_delay_s: float = Field(default=300, ge=0, description="How long it must be low before one is taken away.")
    max_ongoing_requests: int = Field(default=16, ge=1, description="Calls that one replica accepts at a time.")
    max_queued_requests: int = Field(default=256, ge=-1, description="Calls that wait in one caller; -1 sets no limit.")
    num_cpus: float = Field(default=0.2, ge=0, description="Cores reserved for a replica; a promise, not a cage.")
    num_gpus: float = Field(default=0, ge=0, description="GPUs reserved for a replica.")
    resources: dict[str, float] = Field(default={}, description="Other resources, such as {TPU: 1}.")
    accelerator_type: str | None = Field(default=None, description="Kind of accelerator, such as A100 or TPU-V6E.")
    label_selector: dict[str, str] = Field(
        default={}, description="Labels of the nodes that replicas may be on, such as {ray.io/market-type: on-demand}."
    )
    max_replicas_per_node: int | None = Field(
        default=None, ge=1, le=100, description="Of this deployment on one node; else no limit."
    )
    memory_fraction: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Part of each accelerator's memory that a replica takes; else JAX's default.",
    )
    env_vars: dict[str, str] = Field(default={}, description="Environment of the replica's process.")
    health_check_period_s: float = Field(
        default=3, gt=0, description="How often a replica is asked whether it is well."
    )
    health_check_timeout_s: float = Field(default=30, gt=0, description="How long the answer may take.")
    graceful_shutdown_timeout_s: float = Field(
        default=20, ge=0, description="How long a leaving replica may finish its work."
    )
    max_surge_percent: int = Field(
        default=20,
        ge=0,
        le=100,
        description="Replicas started beside the old ones in an update, rounded up; 0 stops the old first.",
    )

    @model_validator(mode="after")
    def _replica_bounds_fit(self) -> "DeploymentConfig":
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is more than max_replicas {self.max_replicas}")
        return self

    @property
    def environment(self) -> dict[str, str]:
        """What the replica's process gets beside Ray's own."""
        fraction = {} if self.memory_fraction is None else {"XLA_CLIENT_MEM_FRACTION": f"{self.memory_fraction:g}"}
        return fraction | self.env_vars

    def autoscaling_policy(self) -> dict[str, Any]:
        """What says how many replicas there should be."""
        return {"policy_function": "deployments.scaling.autoscaling:ScaleOnCalls"}

    def deployment_options(self) -> dict[str, Any]:
        """The arguments of `Deployment.options`."""
        return {
            **self.model_dump(include=SERVE_OPTIONS),
            "autoscaling_config": {
                **self.model_dump(include=AUTOSCALING_OPTIONS),
                "metrics_interval_s": self.look_back_period_s / 10,
                "policy": self.autoscaling_policy(),
            },
            "request_router_config": {"max_backoff_s": ROUTER_BACKOFF_S},
            "max_constructor_retry_count": 3,  # a checkpoint that does not load will not load the 20th time either
            "ray_actor_options": {
                "num_cpus": self.num_cpus,
                "num_gpus": self.num_gpus,
                "resources": self.resources,
                **({"accelerator_type": self.accelerator_type} if self.accelerator_type else {}),
                **({"label_selector": self.label_selector} if self.label_selector else {}),
                # Only where there is one: a replica with an environment of its own cannot use a waiting process.
                **({"runtime_env": {"env_vars": self.environment}} if self.environment else {}),
            },
        }


class StageConfig(DeploymentConfig):
    """One stage of one model."""

    batch_size: int = Field(default=4, ge=1, description="Computed together, always so many; images on CPUs singly.")
    batch_wait_timeout_s: float = Field(
        default=0.005, ge=0, description="How long a call waits for others to share a batch."
    )
    dtype: DType = Field(default="float32", description="Number format of the weights and of most of the arithmetic.")

    @model_validator(mode="after")
    def _batches_can_fill(self) -> "StageConfig":
        if self.max_ongoing_requests < self.batch_size:
            raise ValueError(
                f"max_ongoing_requests {self.max_ongoing_requests} is less than batch_size {self.batch_size}: "
                "no batch could ever fill"
            )
        return self


NUM_DEVICES = Field(
    default=1, ge=1, description="Devices that one replica cuts the model over; reserve as many for it."
)


class TextEncoderConfig(StageConfig):
    """Prompt → conditions: what the sampler takes in its place."""

    batch_size: int = Field(default=2, ge=1, description="Prompts encoded together; a request has two.")
    batch_wait_timeout_s: float = Field(
        default=0, ge=0, description="How long a call waits for others; not at all, as a request's prompts come in one."
    )
    num_devices: int = NUM_DEVICES


class TokenSamplerConfig(DeploymentConfig):
    """Conditions → image codes: the stage that takes the time."""

    slots: int = Field(
        default=5, ge=1, description="Images under guidance drawn at a time; one without guidance takes half a slot."
    )
    images_per_call: int | None = Field(
        default=None,
        ge=1,
        description="Images of a request that one call has one replica draw: many cost less; else by replicas, slots.",
    )
    codes_per_advance: int = Field(
        default=16, ge=1, description="Codes drawn between two moments at which images come, go and are shown."
    )
    deterministic: bool | None = Field(
        default=None,
        description="Always compute all slots: no bit of an image depends on the batch composition; else on CPUs only.",
    )
    window: Window = Field(
        default="auto",
        description="Codes a step tries to draw; `auto`: as many as pay; if `deterministic`, what model.json says.",
    )
    dtype: DType = Field(default="float32", description="Number format of the weights and of most of the arithmetic.")
    num_devices: int = NUM_DEVICES
    max_stall_s: float = Field(
        default=120, gt=0, description="How long `codes_per_advance` codes may take before the replica is replaced."
    )
    target_ongoing_requests: float = Field(
        default=4, gt=0, description="Busy slots in one replica that autoscaling aims at; about three quarters of them."
    )
    drain_s: float = Field(
        default=30, gt=0, description="Seconds within which autoscaling wants what waits for a slot to be drawn."
    )
    num_cpus: float = Field(default=0.8, ge=0, description="Cores reserved for a replica; a promise, not a cage.")
    # More than `images_in_flight` of one request, so that an image of another finds room, and then the next free slot.
    max_ongoing_requests: int = Field(
        default=16, ge=1, description="Images that one replica accepts at a time, beside 3 a slot of batch work."
    )
    graceful_shutdown_timeout_s: float = Field(
        default=60, ge=0, description="How long a leaving replica may finish its work."
    )

    @model_validator(mode="after")
    def _slots_can_fill(self) -> "TokenSamplerConfig":
        if self.max_ongoing_requests < self.slots:
            raise ValueError(
                f"max_ongoing_requests {self.max_ongoing_requests} is less than slots {self.slots}: "
                "they could never all be used"
            )
        return self

    @property
    def batch_images(self) -> int:
        """Batch images that one replica accepts at a time: enough for all its rows, and for some to wait for them."""
        return BATCH_IMAGES_A_SLOT * self.slots

    def deployment_options(self) -> dict[str, Any]:
        """The arguments of `Deployment.options`; what batch work takes is no other's."""
        options = super().deployment_options()
        return options | {"max_ongoing_requests": self.max_ongoing_requests + self.batch_images}

    def autoscaling_policy(self) -> dict[str, Any]:
        """What says how many replicas there should be."""
        return {
            "policy_function": "deployments.scaling.autoscaling:ScaleOnSlots",
            "policy_kwargs": {"drain_s": self.drain_s},
        }


class ImageDecoderConfig(StageConfig):
    """Image codes → pixels."""


SCORER = Field(
    default=None, description="Folder or hub id of the scorer, or of a model that has one; else the model's own."
)


class ClipScorerConfig(StageConfig):
    """Prompt, pixels → score."""

    source: str | None = SCORER


class RefinerConfig(DeploymentConfig):
    """Prompts, pixels → pixels that fit them better: the stage behind a model's second name, `ID:refine`."""

    sizes: list[Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$")]] = Field(
        default=[],
        description="Sizes, `WxH`, that it refines at beside the model's own; each is compiled at the start.",
    )
    max_steps: int = Field(default=300, ge=1, le=1000, description="Steps that one picture may ask for.")
    max_cutouts: int = Field(default=64, ge=1, le=256, description="Cutouts that one step may look at.")
    max_pending_steps: int = Field(
        default=1200, ge=1, description="Steps asked for and not made yet, of all requests; beyond it come 429s."
    )
    steps_an_image: int = Field(
        default=4, ge=1, description="Steps that count as much as one image drawn, where a key may have so many."
    )
    steps_per_advance: int = Field(
        default=5, ge=1, description="Steps between two moments at which a picture is shown, and could go on elsewhere."
    )
    niceness: int = Field(default=10, ge=0, le=19, description="How far it stands back for others on its cores.")
    source: str | None = SCORER
    dtype: DType = Field(default="float32", description="Number format of the weights and of most of the arithmetic.")
    num_cpus: float = Field(default=0.3, ge=0, description="Cores reserved for a replica; a promise, not a cage.")
    max_ongoing_requests: int = Field(
        default=4, ge=1, description="Pictures that one replica accepts at a time; they take turns."
    )
    target_ongoing_requests: float = Field(
        default=1, gt=0, description="Pictures in one replica that autoscaling aims at."
    )

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Heights and widths of `sizes`."""
        return [(int(height), int(width)) for width, height in (size.split("x") for size in self.sizes)]


class SharedStageConfig(DeploymentConfig):
    """A stage of all models that are there on demand; of how each is computed its own settings tell."""

    max_memory_bytes: int = Field(
        default=4 * 1024**3, ge=1, description="Of the models that one replica has loaded at a time."
    )
    max_ongoing_requests: int = Field(default=64, ge=1, description="Calls that one replica accepts at a time.")


class OnDemandConfig(Settings):
    """The stages that models with `on_demand` share."""

    text_encoder: SharedStageConfig = SharedStageConfig()
    token_sampler: SharedStageConfig = SharedStageConfig(graceful_shutdown_timeout_s=60, num_cpus=0.8)
    image_decoder: SharedStageConfig = SharedStageConfig()
    clip_scorer: SharedStageConfig = SharedStageConfig()


class ModelConfig(Settings):
    """One model that is served, and its stages."""

    id: ModelId = Field(default="emoji", description="Name in requests, and the prefix of the deployments' names.")
    source: str | None = Field(default=None, description="Shipped name, folder or hub id to load; else the id.")
    on_demand: bool = Field(
        default=False, description="Loaded when asked for, into stages that it shares with other such models."
    )
    text_encoder: TextEncoderConfig = TextEncoderConfig()
    token_sampler: TokenSamplerConfig = TokenSamplerConfig()
    image_decoder: ImageDecoderConfig = ImageDecoderConfig()
    clip_scorer: ClipScorerConfig | None = Field(default=ClipScorerConfig(), description="null: images are not ranked.")
    refiner: RefinerConfig | None = Field(default=None, description="null: images cannot be refined; {} has them be.")
    sampling: dict[str, int | float] = Field(
        default={}, description="Defaults of guidance_scale, temperature and the like, in place of model.json's."
    )
    unranked_if_scorer_down: bool = Field(
        default=False, description="While the scorer is down, return images without scores rather than an error."
    )

    @model_validator(mode="after")
    def _shares_only_stages_that_are_shared(self) -> "ModelConfig":
        if self.on_demand and self.refiner is not None:
            raise ValueError(f"{self.id} has a refiner, which cannot be there on demand: leave one of them out")
        return self

    @property
    def location(self) -> str:
        """What `model_core.bundles.resolve` is asked for."""
        return self.source or self.id

    @property
    def stages(self) -> dict[str, DeploymentConfig]:
        """The stages that this model has, by name, in the order of the data."""
        return {name: value for name, value in self if isinstance(value, DeploymentConfig)}

    def deployment_name(self, stage: str) -> str:
        """The name under which a Serve YAML overrides the stage's options."""
        return f"{ON_DEMAND if self.on_demand else self.id}.{stage}"


class Limits(Settings):
    """What one request may ask for."""

    max_body_bytes: int = Field(default=1024 * 1024, ge=1024, description="Size of a request's JSON body.")
    max_prompt_chars: int = Field(
        default=32_000, ge=1, description="Length of a prompt; models read its first tokens only."
    )
    max_n: int = Field(default=10, ge=1, description="Images in one reply.")
    max_best_of: int = Field(default=128, ge=1, description="Images drawn for one reply.")
    max_image_pixels: int = Field(
        default=4 * 1024 * 1024, ge=1, description="Pixels of one image in a reply, width times height."
    )
    max_upload_bytes: int = Field(
        default=50 * 1024 * 1024, ge=1024, description="Size of a request's body with its uploaded pictures."
    )
    max_upload_pixels: int = Field(
        default=16 * 1024 * 1024, ge=1, description="Pixels of one uploaded picture, width times height."
    )


class AccessConfig(Settings):
    """Who may ask."""

    keys_file: str | None = Field(
        default=None,
        description="File of API keys, a line each, with images a minute, class and name; read again when it changes.",
    )
    images_per_minute: int | None = Field(
        default=None, ge=1, description="Images that one key may have drawn in a minute, where its line names no other."
    )
    allow_remote: bool = Field(default=False, description="Without keys, answer other machines than this one too.")
    cors_origins: list[str] = Field(
        default=[], description="Origins whose pages may call the service from a browser; `*` means all."
    )


class SafetyConfig(Settings):
    """What is not drawn, and not shown."""

    prompt_policy_file: str | None = Field(
        default=None, description="Words and `/patterns/` that no prompt may hold, one a line; read again when changed."
    )
    refused_concepts: list[str] = Field(
        default=[], description="Texts that no image may look like; CLIP compares. Empty: images are not checked."
    )
    neutral_concepts: list[str] = Field(
        default=["a picture", "a drawing of an object", "an animal", "a landscape", "food", "a person with clothes on"],
        min_length=1,
        description="Texts that the refused ones compete with.",
    )
    refuse_from: float = Field(
        default=0.5, gt=0, lt=1, description="Probability, of all refused concepts together, that is too much."
    )


class FilesConfig(Settings):
    """Image URLs, and what image files say of themselves."""

    url_folder: str | None = Field(
        default=None,
        description="Folder of the images behind URLs, the same for all gateway replicas; else in the user's cache.",
    )
    url_minutes: float = Field(default=60, gt=0, description="How long an image URL works.")
    url_max_bytes: int = Field(
        default=1024**3, ge=1024**2, description="Size of that folder; beyond it the oldest images go early."
    )
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$",
        description="Where clients reach the service; else the address that each of them called.",
    )
    prompt_in_metadata: bool = Field(default=False, description="Write prompts into the image files.")
    c2pa_certificates: str | None = Field(
        default=None, description="PEM file of the certificate that images are signed with, and those up to the root."
    )
    c2pa_key: str | None = Field(default=None, description="PEM file of its private key, without a password.")
    c2pa_timestamp_url: str | None = Field(
        default=None, description="RFC 3161 authority, asked for the time of each signature; else nobody is."
    )

    @model_validator(mode="after")
    def _can_sign_or_not(self) -> "FilesConfig":
        if (self.c2pa_certificates is None) != (self.c2pa_key is None):
            raise ValueError("c2pa_certificates and c2pa_key go together: one of them is missing")
        if self.c2pa_timestamp_url is not None and self.c2pa_key is None:
            raise ValueError("c2pa_timestamp_url does nothing without c2pa_certificates and c2pa_key")
        return self


class CacheConfig(Settings):
    """What is kept, so that nothing is computed twice."""

    results_max_bytes: int = Field(
        default=128 * 1024**2, ge=0, description="Size of the finished images of seeded requests; 0 keeps none."
    )
    results_minutes: float = Field(default=60, gt=0, description="How long they are kept.")
    results_across_keys: bool = Field(default=False, description="Answer one API key with what another had drawn.")
    prompts_max_bytes: int = Field(
        default=64 * 1024**2, ge=0, description="Size of each model's encoded prompts, in each gateway; 0 keeps none."
    )


Origin = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+$")]


class BatchesConfig(Settings):
    """Work that takes long: `/v1/files` and `/v1/batches`."""

    database: str | None = Field(
        default=None,
        description="Where they are kept, an SQLAlchemy URL: `postgresql+psycopg://HOST/NAME`; else the user's cache.",
    )
    requests_in_flight: int = Field(
        default=4, ge=1, description="Requests of batches that one gateway replica draws at a time."
    )
    max_file_bytes: int = Field(default=100 * 1024 * 1024, ge=1024, description="Size of an uploaded file.")
    max_lines: int = Field(default=50_000, ge=1, description="Requests in one batch.")
    max_open_batches: int = Field(default=100, ge=1, description="Batches of one key that have not ended.")
    max_stored_bytes: int = Field(
        default=10 * 1024**3, ge=1024, description="Size of all files of one key, answers included, for another batch."
    )
    keep_days: float = Field(default=30, gt=0, le=365, description="How long files, and batches that ended, are kept.")
    webhook_origins: list[Origin] = Field(
        default=[],
        description="Origins, such as `https://hooks.example.com`, that callers may have told of a batch's end.",
    )
    webhook_secret_file: str | None = Field(
        default=None, description="File with the secret that signs it, `whsec_` and base64; needed with origins."
    )

    @model_validator(mode="after")
    def _webhooks_are_signed(self) -> "BatchesConfig":
        if self.webhook_origins and not self.webhook_secret_file:
            raise ValueError("webhook_origins needs webhook_secret_file: what is sent is signed")
        return self


class GatewayConfig(DeploymentConfig):
    """The ingress: HTTP, and the way of each request through the stages."""

    num_cpus: float = Field(default=0.1, ge=0, description="Cores reserved for a replica; a promise, not a cage.")
    # Far above what `max_pending_images` lets in, so that it is the gateway, with its error envelope, that refuses.
    max_ongoing_requests: int = Field(
        default=1000, ge=1, description="Requests that one replica accepts, refusals included."
    )
    max_queued_requests: int = Field(
        default=-1, ge=-1, description="Requests that wait in one proxy; -1 sets no limit."
    )
    target_ongoing_requests: float = Field(
        default=32, gt=0, description="Requests in one replica that autoscaling aims at."
    )
    max_pending_images: int = Field(
        default=256, ge=1, description="Images asked for and not drawn yet; beyond it come 429s."
    )
    max_pending_batch_images: int = Field(
        default=128, ge=1, description="The same of batch work, beside the others; at least `max_best_of`."
    )
    images_in_flight: int = Field(
        default=10, ge=1, description="Images of one request that are in the stages at a time."
    )
    request_timeout_s: float = Field(default=300, gt=0, description="How long one request may take.")
    translator: str | None = Field(
        default=None, description="`module:function` that turns each prompt into words the model knows."
    )
    translator_timeout_s: float = Field(default=5, gt=0, description="How long that may take for one request.")


class AppConfig(Settings):
    """The whole service."""

    models: list[ModelConfig] = Field(default=[ModelConfig()], min_length=1, description="What is served.")
    default_model: str | None = Field(
        default=None, description="Id of the model for requests that name none; else the first."
    )
    default_model_aliases: list[str] = Field(
        default=["dall-e-*", "gpt-image-*", "chatgpt-image-*"],
        description="Other names of the default model; `*` stands for any letters.",
    )
    on_demand: OnDemandConfig = OnDemandConfig()
    strict_models: bool = Field(default=False, description="Take models by their ids alone, by no other name.")
    gateway: GatewayConfig = GatewayConfig()
    limits: Limits = Limits()
    access: AccessConfig = AccessConfig()
    safety: SafetyConfig = SafetyConfig()
    files: FilesConfig = FilesConfig()
    cache: CacheConfig = CacheConfig()
    batches: BatchesConfig = BatchesConfig()

    @model_validator(mode="after")
    def _names_and_limits_fit(self) -> "AppConfig":
        ids = [model.id for model in self.models]
        twice = [model_id for model_id, count in Counter(ids).items() if count > 1]
        if twice:
            raise ValueError(f"two models have the id {twice[0]!r}")
        if ON_DEMAND in ids and any(model.on_demand for model in self.models):
            raise ValueError(f"a model has the id {ON_DEMAND!r}, which is that of the stages that models share")
        if self.default_model is not None and self.default_model not in ids:
            raise ValueError(f"default_model {self.default_model!r} is none of the models: {', '.join(ids)}")
        if self.limits.max_best_of > self.gateway.max_pending_images:
            raise ValueError(
                f"limits.max_best_of {self.limits.max_best_of} is more than gateway.max_pending_images "
                f"{self.gateway.max_pending_images}: such a request could never be accepted"
            )
        if self.safety.refused_concepts and any(model.clip_scorer is None for model in self.models):
            raise ValueError("safety.refused_concepts needs a clip_scorer in every model: it is what looks at images")
        return self

    @property
    def needs_commons(self) -> bool:
        """Whether something is shared by gateways, or to outlive one: results, or the budgets and counts of keys."""
        return self.gateway.max_replicas > 1 or self.access.keys_file is not None

    @property
    def default_model_id(self) -> str:
        """The model for requests that name none."""
        return self.default_model or self.models[0].id
