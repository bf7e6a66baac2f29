"""What the service answers, as the OpenAPI document describes it and the tests check it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Exact(BaseModel):
    """A reply whose every field is named here."""

    model_config = ConfigDict(extra="forbid")


class TokenDetails(Exact):
    """Tokens by kind."""

    text_tokens: int
    image_tokens: int


class InputDetails(TokenDetails):
    """The same of what was read."""

    unread_text_tokens: int | None = Field(
        default=None, description="Beyond what the model reads, where there are any."
    )


class Usage(Exact):
    """Tokens that were read, and codes that were drawn: those of images that best_of dropped are among them."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: TokenDetails
    total_tokens: int


class Drawn(Exact):
    """What is said of one image, beside the image."""

    seed: int = Field(description="With n = 1 it draws this image again.")
    clip_score: float | None = Field(description="How well it shows the prompt; null where images are not ranked.")
    revised_prompt: str = Field(description="The prompt as the model reads it, and no further.")


class ImageEntry(Drawn):
    """One image."""

    b64_json: str | None = None
    url: str | None = Field(default=None, description="Works for an hour, and without a key.")


class Effective(Exact):
    """What was done; of the quality, what was asked for, for there is but one."""

    output_format: Literal["png", "jpeg", "webp"]
    size: str
    background: Literal["opaque"]
    quality: Literal["low", "medium", "high", "xhigh", "max", "standard", "hd"]


class Told(Effective):
    """What is told of a whole request."""

    usage: Usage
    model: str
    native_size: str = Field(description="The size the model draws, before scaling.")
    ignored_images: int | None = Field(default=None, description="Uploads beyond the first.")
    safety_identifier: str | None = None
    warning: str | None = Field(
        default=None, description="What was done without, such as ranking, or asked for in vain."
    )


class ImagesReply(Told):
    """OpenAI's ImagesResponse, and a little more."""

    created: int
    data: list[ImageEntry]


class PartialImage(Effective):
    """An event: a picture that is still being drawn."""

    type: Literal["image_generation.partial_image", "image_edit.partial_image"]
    b64_json: str
    partial_image_index: int
    image_index: int
    seed: int
    progress: float = Field(description="Share of its codes that are drawn.")
    created_at: int


class Completed(Drawn, Told):
    """An event: a finished image."""

    type: Literal["image_generation.completed", "image_edit.completed"]
    b64_json: str
    image_index: int = Field(description="Its place in the reply, best first.")
    created_at: int


class ErrorDetails(Exact):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(Exact):
    """OpenAI's error envelope."""

    error: ErrorDetails


class Model(Exact):
    """OpenAI's Model, and a little more."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    size: str
    licence: str
    description: str
    ranks_images: bool
    can_be_guided: bool
    example_prompts: list[str]
    sampling: dict[str, float]
    max_n: int
    max_best_of: int


class ModelList(Exact):
    """All models."""

    object: Literal["list"]
    data: list[Model]


class Health(Exact):
    """The gateway answers."""

    status: Literal["ok"]


class Readiness(Exact):
    """How far the default model's stages are."""

    ready: bool
    model: str
    stages: dict[str, str]
    pending_images: int
    warnings: list[str] = Field(default=[], description="What it does without, such as image URLs, and why.")


class DemoReply(Exact):
    """What the demo's front ends read."""

    images: list[str]
    version: str


class DemoVersion(Exact):
    """The same, without pictures."""

    version: str
