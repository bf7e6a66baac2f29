"""The request as it comes over the wire, and the reply as it goes back: OpenAI's names, and ours beside them.

Knows nothing of HTTP; Python callers of the handle give the same fields.
"""

import base64
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from deployments.config import Limits
from deployments.errors import MissingParameter, UnknownParameter
from deployments.pipeline import SEEDS, RankedImage
from model_core.errors import InvalidValue

SHOWN_CHARS = 60  # of a wrong value in a message

Scale = Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=1e-6, le=1000, allow_inf_nan=False)]


class GenerationRequest(BaseModel):
    """The body of `POST /v1/images/generations`. `null` means "not given"."""

    model_config = ConfigDict(extra="forbid", strict=True, title="GenerationRequest")

    prompt: Annotated[str, StringConstraints(min_length=1)] = Field(description="What to draw.")
    model: str | None = Field(default=None, description="Id of a model, see GET /v1/models; else the default model.")
    n: int = Field(default=1, ge=1, description="Images in the reply.")
    size: str = Field(default="auto", description="`auto`, or the size the model draws, such as `256x256`.")
    response_format: Literal["b64_json", ""] = Field(
        default="b64_json", description="Images come in the reply, as base64."
    )
    output_format: Literal["png"] = Field(default="png", description="File format of the images.")

    seed: int | None = Field(
        default=None, ge=0, lt=SEEDS, description="Seed of image 0, i more for image i; else drawn."
    )
    best_of: int | None = Field(
        default=None, ge=1, description="Draw this many and return the best n; else n are drawn."
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

    # Of OpenAI's fields those that cannot matter here: there is one quality and one style, and nothing is transparent.
    quality: Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"] = "auto"
    style: Literal["vivid", "natural"] | None = None
    background: Literal["auto", "opaque"] = "auto"
    moderation: Literal["auto"] = "auto"
    user: str | None = None

    @property
    def num_drawn(self) -> int:
        """How many images are drawn to return the best `n`."""
        return self.best_of if self.best_of is not None else self.n


def parse_request(fields: Any, limits: Limits) -> GenerationRequest:
    """Checks the fields of a request.

    Raises:
      MissingParameter: there is no prompt.
      UnknownParameter: a field that is not in `GenerationRequest`.
      InvalidValue: a value of the wrong type or out of range; names the field.
    """
    if not isinstance(fields, dict):
        raise InvalidValue(f"The request must be an object with named fields, got {_shown(fields)}.")
    given = {name: value for name, value in fields.items() if value is not None}
    unknown = [_plain(name) for name in given if name not in GenerationRequest.model_fields]
    if unknown:
        known = ", ".join(GenerationRequest.model_fields)
        raise UnknownParameter(f"Unknown parameter: {', '.join(unknown[:5])}. Known are: {known}.", unknown[0])
    try:
        request = GenerationRequest.model_validate(given)
    except ValidationError as error:
        raise _explained(error) from None
    if request.n > limits.max_n:
        raise InvalidValue(f"n must be between 1 and {limits.max_n}, got {_shown(request.n)}.", "n")
    if not request.n <= request.num_drawn <= limits.max_best_of:
        raise InvalidValue(
            f"best_of must be between n ({request.n}) and {limits.max_best_of}, got {_shown(request.num_drawn)}.",
            "best_of",
        )
    for name in ("prompt", "negative_prompt"):
        if len(getattr(request, name)) > limits.max_prompt_chars:
            raise InvalidValue(f"{name} must have at most {limits.max_prompt_chars} characters.", name)
    if not request.prompt.strip():
        raise InvalidValue("prompt must not be empty: say what to draw.", "prompt")
    return request


def check_size(size: str, native: str) -> None:
    """Refuses every size but the model's own.

    Raises:
      InvalidValue: always, but for `auto` and `native`.
    """
    if size not in ("auto", native):
        raise InvalidValue(f"size must be 'auto' or '{native}', the size this model draws, got {_shown(size)}.", "size")


def image_fields(drawn: RankedImage, png: bytes) -> dict[str, Any]:
    """One entry of a reply's `data`, as a Python caller gets it."""
    return {"image": png, "seed": drawn.seed, "clip_score": drawn.score}


def wire_reply(reply: dict[str, Any]) -> dict[str, Any]:
    """A reply as HTTP callers get it: `b64_json` in place of `image`."""
    data = [
        {"b64_json": base64.b64encode(entry["image"]).decode("ascii")}
        | {name: value for name, value in entry.items() if name != "image"}
        for entry in reply["data"]
    ]
    return reply | {"data": data}


def _explained(error: ValidationError) -> InvalidValue:
    """The first thing wrong, in words."""
    problem = error.errors(include_url=False, include_context=False)[0]
    name = str(problem["loc"][0])
    if problem["type"] == "missing":
        return MissingParameter(f"Missing required parameter: '{name}'.", name)
    if name == "response_format" and problem.get("input") == "url":
        return InvalidValue("response_format 'url' is not offered here: leave it out or ask for 'b64_json'.", name)
    message = problem["msg"].replace("Input should", "must", 1).replace("String should", "must", 1)
    separator = " " if message.startswith("must") else ": "
    return InvalidValue(f"{name}{separator}{message}, got {_shown(problem.get('input'))}.", name)


def _shown(value: object) -> str:
    """A wrong value for a message: ASCII, short, and containers only by their kind."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    try:
        return _cut(ascii(value))
    except ValueError:  # an int of more digits than Python prints
        return "a huge number"


def _plain(name: object) -> str:
    """A field's name for a message: ASCII and short, without quotes."""
    return _cut(str(name).encode("ascii", "backslashreplace").decode("ascii"))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"
