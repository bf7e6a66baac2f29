import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.api.schemas import GenerationRequest, check_size, parse_request, wire_reply
from deployments.config import Limits
from deployments.errors import MissingParameter, UnknownParameter
from model_core.errors import InvalidValue

LIMITS = Limits()


def parse(**fields: Any) -> GenerationRequest:
    return parse_request({"prompt": "an avocado"} | fields, LIMITS)


def test_only_a_prompt_is_needed():
    request = parse()
    assert (request.n, request.num_drawn, request.size, request.seed) == (1, 1, "auto", None)


def test_null_means_not_given():
    nothing = dict.fromkeys(set(GenerationRequest.model_fields) - {"prompt"})
    assert parse(**nothing) == parse()


def test_openai_fields_that_cannot_matter_are_taken():
    assert parse(quality="standard", style="vivid", user="u", background="auto", moderation="auto", response_format="")


def test_one_image_is_drawn_for_each_kept_unless_more_are_asked_for():
    assert parse(n=3).num_drawn == 3
    assert parse(n=3, best_of=9).num_drawn == 9


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": "\ud800"}, "prompt"),
        ({"prompt": "x" * (LIMITS.max_prompt_chars + 1)}, "prompt"),
        ({"negative_prompt": "x" * (LIMITS.max_prompt_chars + 1)}, "negative_prompt"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"n": True}, "n"),
        ({"n": "2"}, "n"),
        ({"n": 1.5}, "n"),
        ({"n": 10**5000}, "n"),
        ({"n": 4, "best_of": 3}, "best_of"),
        ({"best_of": 65}, "best_of"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"guidance_scale": 10**400}, "guidance_scale"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 2.0}, "top_k"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_p": False}, "top_p"),
        ({"response_format": "url"}, "response_format"),
        ({"output_format": "jpeg"}, "output_format"),
        ({"background": "transparent"}, "background"),
        ({"quality": "superb"}, "quality"),
        ({"moderation": "low"}, "moderation"),
        ({"size": 256}, "size"),
        ({"model": ["emoji"]}, "model"),
    ],
)
def test_a_wrong_value_is_refused_by_name(fields: dict[str, Any], param: str):
    with pytest.raises(InvalidValue) as raised:
        parse(**fields)
    assert raised.value.param == param
    assert param in str(raised.value)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("name", ["steps", "stream", "Prompt", "\ud800", "x" * 10_000])
def test_an_unknown_field_is_named(name: str):
    with pytest.raises(UnknownParameter) as raised:
        parse(**{name: 1})
    assert raised.value.param and len(raised.value.param) < 100
    assert raised.value.param in str(raised.value).encode("utf-8").decode()  # both can be sent


def test_the_prompt_must_be_there():
    for fields in ({}, {"prompt": None}):
        with pytest.raises(MissingParameter) as raised:
            parse_request(fields, LIMITS)
        assert raised.value.param == "prompt"


@pytest.mark.parametrize("fields", [None, [], "prompt", 3])
def test_what_is_no_object_is_refused(fields: object):
    with pytest.raises(InvalidValue, match="must be an object"):
        parse_request(fields, LIMITS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(GenerationRequest.model_fields)) | st.text(), json_values))
def test_any_object_is_a_request_or_a_clear_error(fields: dict[str, Any]):
    try:
        assert parse_request(fields, LIMITS).prompt
    except InvalidValue as error:
        str(error).encode("utf-8")


def test_only_the_native_size_is_drawn():
    check_size("auto", "256x256")
    check_size("256x256", "256x256")
    with pytest.raises(InvalidValue, match="'auto' or '256x256'"):
        check_size("512x512", "256x256")


def test_images_go_over_the_wire_as_base64():
    reply = {"created": 1, "data": [{"image": b"\x89PNG", "seed": 3, "clip_score": None}]}
    wire = wire_reply(reply)
    assert wire["data"] == [{"b64_json": base64.b64encode(b"\x89PNG").decode(), "seed": 3, "clip_score": None}]
    assert reply["data"][0]["image"] == b"\x89PNG"  # the callers' own is untouched
