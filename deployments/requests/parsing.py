"""Checks the fields of a request, and says in words what is wrong with the first that does not fit.

`api/body.py` and `api/uploads.py` make fields of bodies.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from deployments.config import Limits
from deployments.errors import MissingParameter, UnknownParameter
from deployments.requests.schemas import DrawingRequest, RefinableRequest, WeightedPrompt
from model_core.errors import InvalidValue

SHOWN_CHARS = 60  # of a wrong value in a message
MIN_SIDE, MAX_ASPECT = 16, 3

Request = TypeVar("Request", bound=DrawingRequest)
Fields = TypeVar("Fields", bound=BaseModel)


def parse(kind: type[Request], fields: Any, limits: Limits, *, as_text: bool = False) -> Request:
    """Checks the fields of a request.

    Args:
      as_text: numbers and booleans come as text, as in a form.

    Raises:
      MissingParameter: there is no prompt where there must be one.
      UnknownParameter: a field that `kind` does not have.
      InvalidValue: a value of the wrong type or out of range; names the field.
    """
    request = checked(kind, fields, limits, as_text=as_text)
    _check_numbers(request, limits)
    _check_texts(request, limits)
    _check_stream(request)
    if request.output_compression < 100 and request.file_format == "png":
        raise InvalidValue("output_compression below 100 goes with output_format jpeg or webp.", "output_compression")
    if request.background == "transparent" and request.file_format == "jpeg":
        raise InvalidValue("background transparent goes with output_format png or webp.", "background")
    return request


def checked(kind: type[Fields], fields: Any, limits: Limits, *, as_text: bool = False) -> Fields:
    """Checks each field by itself; raises as `parse` does."""
    if not isinstance(fields, Mapping):
        raise InvalidValue(f"The request must be an object with named fields, got {shown(fields)}.")
    given = {name: value for name, value in fields.items() if value is not None}
    unknown = [plain(name) for name in given if name not in kind.model_fields]
    if unknown:
        known = ", ".join(kind.model_fields)
        raise UnknownParameter(f"Unknown parameter: {', '.join(unknown[:5])}. Known are: {known}.", unknown[0])
    if as_text:
        given = {name: _read_text(kind, name, text) for name, text in given.items()}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _explained(error, kind, limits) from None


def json_object(data: bytes, what: str = "The body") -> dict[str, Any]:
    """Reads bytes as a JSON object.

    Args:
      what: the bytes in messages.

    Raises:
      InvalidValue: they are not UTF-8, not JSON, or not an object.
    """

    def refuse_constant(name: str) -> None:
        raise InvalidValue(f"{what} is not JSON: {name} is no number there.")

    try:
        fields = json.loads(data.decode("utf-8-sig"), parse_constant=refuse_constant)
    except UnicodeDecodeError as error:
        raise InvalidValue(f"{what} must be UTF-8; byte {error.start} is not.") from None
    except InvalidValue:
        raise
    except RecursionError:
        raise InvalidValue(f"{what} is nested too deeply.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise InvalidValue(f"{what} is not JSON: {error.msg.lower()} at {where}.") from None
    except ValueError:  # an integer of more digits than Python reads
        raise InvalidValue(f"{what} holds a number with too many digits.") from None
    if not isinstance(fields, dict):
        raise InvalidValue(f"{what} must be a JSON object, got a {type(fields).__name__}.")
    return fields


def parse_size(size: str, native: int, limits: Limits) -> tuple[int, int]:
    """Turns `auto` or `WxH` into (width, height); the model's own size is always allowed.

    Raises:
      InvalidValue: too small, too large, or too narrow.
    """
    if size in ("", "auto", f"{native}x{native}"):
        return native, native
    width, height = (int(side) for side in size.split("x"))
    if (
        min(width, height) < MIN_SIDE
        or width * height > limits.max_image_pixels
        or max(width, height) > MAX_ASPECT * min(width, height)
    ):
        raise InvalidValue(
            f"size must be 'auto' or WxH with sides from {MIN_SIDE}, at most {limits.max_image_pixels} pixels, and no "
            f"side more than {MAX_ASPECT} times the other; got {shown(size)}.",
            "size",
        )
    return width, height


def _read_text(kind: type[BaseModel], name: str, text: str) -> Any:
    """What a form's text says: numbers and lists as in JSON, `true` and `false`; what it does not say stays text."""
    annotation = kind.model_fields[name].annotation
    if _holds(annotation, WeightedPrompt):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return text
        return value if isinstance(value, list) else text
    if _holds(annotation, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    if _holds(annotation, int) or _holds(annotation, float):
        try:
            value = json.loads(text, parse_constant=lambda _: text)
        except (ValueError, RecursionError):
            return text
        return value if isinstance(value, int | float) and not isinstance(value, bool) else text
    return text


def _holds(annotation: Any, kind: type) -> bool:
    return annotation is kind or any(_holds(each, kind) for each in get_args(annotation))


def _check_numbers(request: DrawingRequest, limits: Limits) -> None:
    if request.n > limits.max_n:
        raise InvalidValue(f"n {_range(type(request), 'n', limits)}, got {shown(request.n)}.", "n")
    if not request.n <= request.num_drawn <= limits.max_best_of:
        allowed = _range(type(request), "best_of", limits, lowest=f"n ({request.n})")
        raise InvalidValue(f"best_of {allowed}, got {shown(request.num_drawn)}.", "best_of")


def _check_texts(request: DrawingRequest, limits: Limits) -> None:
    texts = [("prompt", request.prompt), ("negative_prompt", request.negative_prompt)]
    if isinstance(request, RefinableRequest):
        texts += [("prompts", prompt.text) for prompt in request.prompts or ()]
    for name, text in texts:
        if len(text) > limits.max_prompt_chars:
            raise InvalidValue(f"{name} must have at most {limits.max_prompt_chars} characters.", name)
    if type(request).model_fields["prompt"].is_required() and not request.prompt.strip():
        raise InvalidValue("prompt must not be empty: say what to draw.", "prompt")


def _check_stream(request: DrawingRequest) -> None:
    if not request.stream:
        if request.partial_images:
            raise InvalidValue("partial_images goes with stream: true only.", "partial_images")
        return
    if request.n > 1 and not request.stream_multiple:
        raise InvalidValue(
            "Streaming is only supported with n=1; stream_multiple: true lets more images stream here.", "n"
        )
    if request.response_format == "url":
        raise InvalidValue("A stream carries images as b64_json: leave response_format out.", "response_format")


def _range(kind: type[BaseModel], name: str, limits: Limits, lowest: str = "") -> str:
    """What a number of a request may be, in the same words whether it is too small or too large; "" for no number."""
    field = kind.model_json_schema()["properties"][name]
    bounds = {bound: value for each in (field, *field.get("anyOf", ())) for bound, value in each.items()}
    bounds |= {"n": {"maximum": limits.max_n}, "best_of": {"maximum": limits.max_best_of}}.get(name, {})
    if _holds(kind.model_fields[name].annotation, int) and "exclusiveMaximum" in bounds:
        bounds["maximum"] = bounds.pop("exclusiveMaximum") - 1
    if {"minimum", "maximum"} <= bounds.keys():
        return f"must be between {lowest or bounds['minimum']} and {bounds['maximum']}"
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    said = [f"{words} {bounds[bound]}" for bound, words in words.items() if bound in bounds]
    return f"must be {' and '.join(said)}" if said else ""


def _explained(error: ValidationError, kind: type[BaseModel], limits: Limits) -> InvalidValue:
    """The first thing wrong, in words."""
    problem = error.errors(include_url=False, include_context=False)[0]
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"])
    name = plain("".join(parts).removeprefix("."))
    if problem["type"] == "missing":
        return MissingParameter(f"Missing required parameter: '{name}'.", name)
    message = problem["msg"].replace("Input should", "must", 1).replace("String should", "must", 1)
    message = message.replace("List should", "must", 1).replace(" after validation", "", 1)
    if problem["type"].startswith(("greater_than", "less_than")) and name in kind.model_fields:
        message = _range(kind, name, limits)
    if name == "size":
        message = "must be 'auto' or WxH, such as 512x512"
    if name == "seed" and problem["type"] == "greater_than_equal":
        message += " (leave it out for a random one)"
    separator = " " if message.startswith("must") else ": "
    return InvalidValue(f"{name}{separator}{message}, got {shown(problem.get('input'))}.", name)


def shown(value: object) -> str:
    """A wrong value for a message: ASCII, short, and containers only by their kind."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    try:
        return _cut(ascii(value))
    except ValueError:  # an int of more digits than Python prints
        return "a huge number"


def plain(name: object) -> str:
    """A field's name for a message: ASCII and short, without quotes."""
    return _cut(str(name).encode("ascii", "backslashreplace").decode("ascii"))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"
