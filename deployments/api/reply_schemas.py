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
    background: Literal["opaque", "transparent"]
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


class Loading(Exact):
    """An event: the model is not there yet, and the drawing begins once it is."""

    type: Literal["image_generation.loading", "image_edit.loading"]
    model: str
    stages: list[str] = Field(description="Those of its stages that are still to come.")
    created_at: int


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


class ModerationDetails(Exact):
    """What refused: the setting, and whether it looked at the prompt or at the images."""

    categories: list[str]
    moderation_stage: Literal["input", "output"]


class ErrorDetails(Exact):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None
    moderation_details: ModerationDetails | None = Field(default=None, description="Of a content policy's refusal.")


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
    backgrounds: list[Literal["opaque", "transparent"]] = Field(description="What a request may ask for.")
    has_card: bool = Field(description="Whether /cards/{id} tells more.")
    grid: tuple[int, int] = Field(description="Rows and columns of image codes; an edit redraws whole fields of it.")
    can_be_guided: bool
    example_prompts: list[str]
    known_things: list[str] = Field(description="What it knows by name; empty where its card says nothing of it.")
    known_ways: list[str] = Field(description="How that may be asked for, such as '{} on a red background'.")
    has_known_pictures: bool = Field(description="Whether /known/{id} shows the known things, 16 in a row, as a WebP.")
    sampling: dict[str, float]
    ranges: dict[str, tuple[float, float]] = Field(description="By setting, the values that it draws well with.")
    refines: str | None = Field(description="The model whose pictures it refines; null where it is one that draws.")
    max_n: int
    max_best_of: int


class ModelList(Exact):
    """All models."""

    object: Literal["list"]
    data: list[Model]


class Counts(Exact):
    """What a key has had."""

    requests: int = Field(description="That were answered with images.")
    images_drawn: int = Field(description="Those that best_of dropped among them.")
    images_returned: int
    images_not_drawn_again: int = Field(description="Returned from what was kept, or was being drawn already.")
    input_tokens: int
    output_tokens: int = Field(description="Codes drawn.")


class RateLimit(Exact):
    """How many images a key may have drawn."""

    images_per_minute: int
    remaining: int = Field(description="That it may have drawn now.")
    full_in_s: int = Field(description="Seconds until it may have a whole minute's drawn.")


class KeyUsage(Counts):
    """What the caller's key has had of all gateways."""

    object: Literal["usage"]
    key: str | None = Field(description="Its name; null without keys.")
    since: int = Field(description="When the counting began, in seconds since 1970.")
    models: dict[str, Counts]
    rate_limit: RateLimit | None = Field(description="null where there is none.")


class Health(Exact):
    """The gateway answers."""

    status: Literal["ok"]


class Readiness(Exact):
    """How far the default model's stages are."""

    ready: bool
    model: str
    stages: dict[str, str]
    pending_images: int
    seconds_an_image: float = Field(description="The pace of late: times the images that wait, it is the wait.")
    warnings: list[str] = Field(default=[], description="What it does without, such as image URLs, and why.")


class DemoReply(Exact):
    """What the demo's front ends read."""

    images: list[str]
    version: str


class DemoVersion(Exact):
    """The same, without pictures."""

    version: str


class File(Exact):
    """OpenAI's FileObject."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: Literal["batch", "vision", "user_data", "batch_output"]
    status: Literal["processed"]


class Page(Exact):
    """A part of a list; `after` is the `last_id` of the part before."""

    object: Literal["list"]
    has_more: bool
    first_id: str | None
    last_id: str | None


class FileList(Page):
    """Files of the caller's key."""

    data: list[File]


class FileDeleted(Exact):
    """OpenAI's FileDeleted."""

    id: str
    object: Literal["file"]
    deleted: Literal[True]


class BatchProblem(Exact):
    """What is wrong with a batch's file."""

    code: str
    message: str
    line: int | None = Field(description="From 1; null where it is no single one.")
    param: str | None


class BatchProblems(Exact):
    """All of it, up to a hundred."""

    object: Literal["list"]
    data: list[BatchProblem]


class BatchCounts(Exact):
    """Requests of a batch."""

    total: int
    completed: int
    failed: int


class Batch(Exact):
    """OpenAI's Batch, and who is told of its end."""

    id: str
    object: Literal["batch"]
    endpoint: str
    errors: BatchProblems | None
    input_file_id: str
    completion_window: Literal["24h"]
    status: Literal["validating", "failed", "in_progress", "completed", "expired", "cancelling", "cancelled"]
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: BatchCounts
    metadata: dict[str, str] | None
    webhook_url: str | None


class BatchList(Page):
    """Batches of the caller's key, newest first."""

    data: list[Batch]
