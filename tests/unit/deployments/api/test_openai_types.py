"""Our fields beside those of the installed `openai` package: docs/api.md has to name each difference."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import openai.types as theirs
import pytest
from openai.types import image_create_variation_params, image_edit_params, image_generate_params
from packaging.version import Version
from pydantic import BaseModel

from deployments.api import reply_schemas as ours
from deployments.requests.schemas import EditRequest, GenerationRequest, JsonEditRequest, VariationRequest

DOC = (Path(__file__).parents[4] / "docs/api.md").read_text()
FILES = {"e": {"image", "mask"}, "v": {"image"}}  # of a form, beside its texts
OPENAIS: dict[str, dict[str, Any]] = {
    "g": get_type_hints(image_generate_params.ImageGenerateParamsNonStreaming),
    "e": get_type_hints(image_edit_params.ImageEditParamsNonStreaming),
    "v": get_type_hints(image_create_variation_params.ImageCreateVariationParams),
}
OURS: dict[str, type[BaseModel]] = {"g": GenerationRequest, "e": EditRequest, "v": VariationRequest}
# Of OpenAI's values those that are refused here, by field. The table names each.
REFUSED = {"output_format": {"gif", "svg"}}


def documented() -> dict[str, tuple[set[str], set[str], str]]:
    """Field → where OpenAI has it, where this server takes it, and what the table says of it."""
    rows = re.findall(r"^\| (`[^|]+) \| ([gev –]+) \| ([gev –]+) \| (.*) \|$", DOC, re.MULTILINE)
    found = {}
    for names, openai_has, taken, words in rows:
        for name in re.findall(r"`(\w+)`", names):
            assert name not in found, name
            found[name] = set(openai_has) - set(" –"), set(taken) - set(" –"), words
    return found


def values(annotation: Any) -> set[str]:
    """All literals in a type."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return set().union(*map(values, get_args(annotation)))


@pytest.mark.parametrize("kind", "gev")
def test_the_table_has_every_field_of_theirs_and_of_ours(kind: str):
    table = documented()
    assert {name for name, (has, _, _) in table.items() if kind in has} == OPENAIS[kind].keys()
    taken = OURS[kind].model_fields.keys() | FILES.get(kind, set())
    assert {name for name, (_, takes, _) in table.items() if kind in takes} == taken


@pytest.mark.parametrize("kind", "ge")
def test_their_values_are_taken_or_named(kind: str):
    for name, annotation in OPENAIS[kind].items():
        field = OURS[kind].model_fields.get(name)
        if field is None or name in ("size", "model", "stream"):
            continue
        refused = values(annotation) - values(field.annotation)
        assert refused == REFUSED.get(name, set()), name
        assert all(f"`{value}`" in documented()[name][2] for value in values(annotation)), name


def test_edits_in_json_have_the_fields_of_the_form_and_pictures():
    assert JsonEditRequest.model_fields.keys() == EditRequest.model_fields.keys() | {"images", "mask"}


REPLIES = [  # theirs, ours, what only OpenAI has, what only this server has
    (theirs.ImagesResponse, ours.ImagesReply, {"svg_usage"}, {"model", "native_size", "ignored_images", "warning"}),
    (theirs.Image, ours.ImageEntry, set(), {"seed", "clip_score"}),
    (theirs.ImageGenPartialImageEvent, ours.PartialImage, set(), {"image_index", "seed", "progress"}),
    (theirs.ImageEditPartialImageEvent, ours.PartialImage, set(), {"image_index", "seed", "progress"}),
    (theirs.Model, ours.Model, {"shutdown_date"},
     {"size", "licence", "description", "ranks_images", "backgrounds", "has_card", "grid", "can_be_guided",
      "example_prompts", "known_things", "known_ways", "has_known_pictures", "sampling", "ranges", "refines", "max_n",
      "max_best_of"}),
    *[(event, ours.Completed, set(), {"seed", "clip_score", "revised_prompt", "model", "native_size", "ignored_images",
                                      "warning", "image_index"})
      for event in (theirs.ImageGenCompletedEvent, theirs.ImageEditCompletedEvent)],
]  # fmt: skip


@pytest.mark.parametrize(
    ("their", "our", "left_out", "added"), REPLIES, ids=lambda value: getattr(value, "__name__", "")
)
def test_replies_differ_where_it_is_known(their: Any, our: type[BaseModel], left_out: set[str], added: set[str]):
    assert their.model_fields.keys() - our.model_fields.keys() == left_out
    assert our.model_fields.keys() - their.model_fields.keys() == added
    needed = {name for name, field in their.model_fields.items() if field.is_required()}
    assert needed <= {name for name, field in our.model_fields.items() if field.is_required()}


def test_the_version_that_was_compared_is_the_stated_one_or_newer():
    (stated,) = re.findall(r"package `openai` ([\d.]+)", DOC)
    assert Version(version("openai")) >= Version(stated)
