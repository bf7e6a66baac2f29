"""The requests as they come over the wire: OpenAI's names, and ours beside them.

Python callers of the handle give the same fields. `parsing.py` checks what depends on the
service's limits or on several fields together.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from model_core.refine.values import CUTOUTS, INIT_WEIGHT, MAX_TEXTS, STEPS
from model_core.sampler.sequence import SEEDS
from model_core.scorers.ranking import DIVERSITY

Scale = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=1e-6, le=1000, allow_inf_nan=False)]
Size = Annotated[str, StringConstraints(pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})?$")]
Name = Annotated[str, StringConstraints(max_length=512)]
MetadataName = Annotated[str, StringConstraints(min_length=1, max_length=64)]

MAX_PARTIAL_IMAGES = 3
MAX_IMAGES = 16  # uploads of an edit
REFINE = ":refine"  # after a model's id: its refiner


class DrawingRequest(BaseModel):
    """What every request for images may say. `null` means "not given"; so does "" where a text is expected."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompt: str = Field(default="", description="What to draw.")
    model: Name | None = Field(default=None, description="Id of a model, see GET /v1/models; else the default model.")
    n: int = Field(default=1, ge=1, description="Images in the reply.")
    size: Size = Field(
        default="auto",
        description="`auto` is the size the model draws; others are scaled from it, what stays free is filled.",
    )
    response_format: Literal["url", "b64_json", ""] = Field(
        default="", description="Images as URLs, as base64, or, if not given, both."
    )
    output_format: Literal["png", "jpeg", "webp", ""] = Field(default="png", description="File format of the images.")
    output_compression: int = Field(
        default=100, ge=0, le=100, description="Quality of JPEG and WebP: 0 is smallest, 100 best."
    )
    stream: bool = Field(default=False, description="Answer with server-sent events.")
    partial_images: int = Field(
        default=0, ge=0, le=MAX_PARTIAL_IMAGES, description="Previews of each image, where the answer is a stream."
    )
    stream_multiple: bool = Field(
        default=False, description="Let `stream` go with n > 1; events then have an `image_index`."
    )

    seed: int | None = Field(
        default=None, ge=0, lt=SEEDS, description="Seed of image 0, i more for image i; else drawn."
    )
    best_of: int | None = Field(
        default=None, ge=1, description="Draw this many and return the best n; else n are drawn."
    )
    diversity: float = Field(
        default=DIVERSITY,
        ge=0,
        le=1,
        description="Leave near copies out of what best_of draws: colours differ by less than this; 0: none.",
    )
    negative_prompt: str = Field(default="", description="What to keep away from.")
    guidance_scale: Scale | None = Field(default=None, description="How hard to follow the prompt; 1 is not at all.")
    temperature: Temperature | None = Field(default=None, description="Below 1 safer, above 1 wilder.")
    top_k: int | None = Field(
        default=None, ge=0, lt=2**31, description="Draw each code from the k likeliest; 0 from all."
    )
    top_p: float | None = Field(
        default=None, gt=0, le=1, description="Draw from the likeliest of this share; 1 from all."
    )
    guided_codes: int | None = Field(
        default=None, ge=0, lt=2**31, description="Guide the first so many codes of an image alone; 0 all."
    )

    priority: Literal["interactive", "batch"] | None = Field(
        default=None, description="`batch` is drawn where nobody waits for the room; else as the API key says."
    )

    background: Literal["auto", "opaque", "transparent", ""] = Field(
        default="auto",
        description="`transparent` clears the ground, in PNG and WebP, of models whose `backgrounds` say so.",
    )

    # Of OpenAI's fields those that change no image here: there is one quality.
    quality: Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd", ""] = Field(
        default="auto", description="Comes back in the reply; there is one quality."
    )
    complexity: Literal["low", "medium", "high"] | None = Field(default=None, description="Accepted; changes nothing.")
    safety_identifier: Name | None = Field(default=None, description="Who asks; comes back in the reply.")
    user: Name | None = Field(default=None, description="The older name of safety_identifier.")

    @property
    def num_drawn(self) -> int:
        """How many images are drawn to return the best `n`."""
        return self.best_of if self.best_of is not None else self.n

    @property
    def file_format(self) -> str:
        """`png`, `jpeg` or `webp`."""
        return self.output_format or "png"


Moderation = Annotated[
    Literal["auto", "low", ""], Field(description="Accepted; what is refused is the operator's to say.")
]


class WeightedPrompt(BaseModel):
    """A prompt beside the first one, whose weight is 1."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: Annotated[str, StringConstraints(min_length=1)] = Field(description="What to lead a picture towards.")
    weight: float = Field(
        default=1, ge=-100, le=100, allow_inf_nan=False, description="How strongly; below 0 away from it."
    )


class RefinableRequest(DrawingRequest):
    """What goes with a model that refines, `ID:refine`, and with no other."""

    steps: int | None = Field(default=None, ge=1, description=f"Of `ID:refine`: steps of descent; else {STEPS}.")
    init_weight: Scale | None = Field(
        default=None, description=f"Of `ID:refine`: how hard it is held to its start; else {INIT_WEIGHT:g}, of noise 0."
    )
    cutouts: int | None = Field(
        default=None, ge=1, description=f"Of `ID:refine`: parts of the picture looked at in a step; else {CUTOUTS}."
    )
    prompts: list[WeightedPrompt] | None = Field(
        default=None, max_length=MAX_TEXTS - 1, description="Of `ID:refine`: prompts beside the first, with weights."
    )


class GenerationRequest(RefinableRequest):
    """The body of `POST /v1/images/generations`."""

    prompt: Annotated[str, StringConstraints(min_length=1)] = Field(description="What to draw.")
    start: Literal["draw", "noise"] | None = Field(
        default=None, description="Of `ID:refine`: begin with what the model draws, or with noise; else with a drawing."
    )
    style: Literal["vivid", "natural", ""] | None = Field(default=None, description="Accepted; changes nothing.")
    moderation: Moderation = "auto"


class EditRequest(RefinableRequest):
    """The fields of `POST /v1/images/edits` beside its files."""

    prompt: Annotated[str, StringConstraints(min_length=1)] = Field(description="What to draw.")
    input_fidelity: Literal["low", "high"] = Field(
        default="low", description="`high` puts the upload's own pixels back where it is kept."
    )
    keep: float = Field(
        default=0.5, ge=0, lt=1, description="Without a mask: the share of the picture, from the top, that stays."
    )
    moderation: Moderation = "auto"


class PictureReference(BaseModel):
    """A picture in a JSON body."""

    model_config = ConfigDict(extra="forbid", strict=True)

    image_url: str | None = Field(
        default=None, description="`data:image/png;base64,…`: PNG, JPEG or WebP. No other URL is taken."
    )
    file_id: Name | None = Field(
        default=None, description="A picture uploaded to `/v1/files`, with purpose `vision` or `user_data`."
    )


class JsonEditRequest(EditRequest):
    """The same as JSON, with its pictures."""

    images: list[PictureReference] = Field(
        min_length=1, max_length=MAX_IMAGES, description="The first is drawn on; the others are only checked."
    )
    mask: PictureReference | None = Field(
        default=None, description="A picture of the image's size; alpha 0 marks what to repaint."
    )


class VariationRequest(DrawingRequest):
    """The fields of `POST /v1/images/variations` beside its file."""

    prompt: str = Field(default="", description="What to draw; without it, what the scorer takes the picture for.")
    keep: float = Field(default=0.5, ge=0, lt=1, description="The share of the picture, from the top, that stays.")


REFINING = {"start", *RefinableRequest.model_fields} - DrawingRequest.model_fields.keys()


class ExpiresAfter(BaseModel):
    """How long a file is kept."""

    model_config = ConfigDict(extra="forbid", strict=True)

    anchor: Literal["created_at"] = Field(description="From when on.")
    seconds: int = Field(ge=3600, le=2592000, description="An hour to thirty days.")


class BatchRequest(BaseModel):
    """The body of `POST /v1/batches`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input_file_id: str = Field(description="A file of requests, uploaded with purpose `batch`.")
    endpoint: Literal["/v1/images/generations", "/v1/images/edits"] = Field(
        description="Where each of them would go by itself."
    )
    completion_window: Literal["24h"] = Field(description="What is not drawn by then is an error.")
    metadata: dict[MetadataName, Name] | None = Field(
        default=None, max_length=16, description="Texts of your own, which come back."
    )
    output_expires_after: ExpiresAfter | None = Field(default=None, description="How long its answers are kept.")
    webhook_url: str | None = Field(default=None, description="Who is told of its end, where the operator allows it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """The files of a request, as they came; and the names of those without a byte, which count as not given."""

    images: list[bytes]
    mask: bytes | None = None
    empty: tuple[str, ...] = ()
