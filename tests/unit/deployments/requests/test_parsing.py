from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.config import Limits
from deployments.errors import MissingParameter, UnknownParameter
from deployments.requests.parsing import parse, parse_size
from deployments.requests.schemas import EditRequest, GenerationRequest, VariationRequest
from model_core.errors import InvalidValue
from model_core.sampler import sampling
from model_core.sampler.sequence import Sampling

LIMITS = Limits()


def parsed(**fields: Any) -> GenerationRequest:
    return parse(GenerationRequest, {"prompt": "an avocado"} | fields, LIMITS)


def test_only_a_prompt_is_needed():
    request = parsed()
    assert (request.n, request.num_drawn, request.size, request.seed) == (1, 1, "auto", None)
    assert parse(VariationRequest, {}, LIMITS).prompt == ""


def test_null_means_not_given():
    nothing = dict.fromkeys(set(GenerationRequest.model_fields) - {"prompt"})
    assert parsed(**nothing) == parsed()


def test_openai_fields_that_cannot_matter_are_taken():
    assert parsed(quality="standard", style="vivid", user="u", background="auto", moderation="low", response_format="")
    assert parsed(complexity="high", safety_identifier="someone", size="", model="", output_format="")


def test_one_image_is_drawn_for_each_kept_unless_more_are_asked_for():
    assert parsed(n=3).num_drawn == 3
    assert parsed(n=3, best_of=9).num_drawn == 9


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
        ({"best_of": 129}, "best_of"),
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
        ({"response_format": "file"}, "response_format"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_format": "svg"}, "output_format"),
        ({"output_compression": 101}, "output_compression"),
        ({"output_compression": 50}, "output_compression"),  # of a PNG
        ({"background": "transparent", "output_format": "jpeg"}, "background"),
        ({"background": "green"}, "background"),
        ({"quality": "superb"}, "quality"),
        ({"size": 256}, "size"),
        ({"size": "\uff12x2"}, "size"),
        ({"size": "256"}, "size"),
        ({"model": ["emoji"]}, "model"),
        ({"user": "u" * 513}, "user"),
        ({"stream": 1}, "stream"),
        ({"partial_images": 4, "stream": True}, "partial_images"),
        ({"partial_images": 1}, "partial_images"),
        ({"n": 2, "stream": True}, "n"),
        ({"stream": True, "response_format": "url"}, "response_format"),
    ],
)
def test_a_wrong_value_is_refused_by_name(fields: dict[str, Any], param: str):
    with pytest.raises(InvalidValue) as raised:
        parsed(**fields)
    assert raised.value.param == param
    assert param in str(raised.value)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("name", "values", "allowed"),
    [
        ("n", (-1, 0, 11), "between 1 and 10"),
        ("best_of", (0, 129), "between 1 and 128"),
        ("seed", (-1, 2**32), "between 0 and 4294967295"),
        ("top_k", (-1, 2**31), "between 0 and 2147483647"),
        ("partial_images", (-1, 4), "between 0 and 3"),
        ("output_compression", (-1, 101), "between 0 and 100"),
        ("temperature", (0, 1001), "between 1e-06 and 1000"),
        ("guidance_scale", (-0.5, 1001), "between 0 and 1000"),
        ("top_p", (0, 1.5), "above 0 and at most 1"),
        ("keep", (-0.5, 1), "at least 0 and below 1"),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_too_small_and_too_large_are_told_the_same(name: str, values: tuple[float, ...], allowed: str, as_text: bool):
    for value in values:
        with pytest.raises(InvalidValue) as raised:
            parse(EditRequest, {"prompt": "a", name: repr(value) if as_text else value}, LIMITS, as_text=as_text)
        told, got = str(raised.value).replace(" (leave it out for a random one)", ""), repr(value)
        if name != "best_of" or value < 1:
            assert told == f"{name} must be {allowed}, got {got}."
        else:
            assert told == f"{name} must be between n (1) and 128, got {got}."


@pytest.mark.parametrize("name", ["strength", "svg", "frame_count", "Prompt", "\ud800", "x" * 10_000])
def test_an_unknown_field_is_named(name: str):
    with pytest.raises(UnknownParameter) as raised:
        parsed(**{name: 1})
    assert raised.value.param and len(raised.value.param) < 100
    assert raised.value.param in str(raised.value).encode("utf-8").decode()  # both can be sent


def test_the_prompt_must_be_there():
    for kind in (GenerationRequest, EditRequest):
        for fields in ({}, {"prompt": None}):
            with pytest.raises(MissingParameter) as raised:
                parse(kind, fields, LIMITS)
            assert raised.value.param == "prompt"


@pytest.mark.parametrize("fields", [None, [], "prompt", 3])
def test_what_is_no_object_is_refused(fields: object):
    with pytest.raises(InvalidValue, match="must be an object"):
        parse(GenerationRequest, fields, LIMITS)


def test_forms_say_numbers_in_words():
    texts = {"prompt": "a", "n": "3", "top_p": "0.5", "stream": "true", "stream_multiple": "true", "keep": "0.25"}
    asked = parse(EditRequest, texts, LIMITS, as_text=True)
    assert (asked.n, asked.top_p, asked.stream, asked.keep) == (3, 0.5, True, 0.25)
    for name, text in (
        ("n", "x"),
        ("n", "\uff12"),
        ("n", ""),
        ("n", "9" * 5000),
        ("stream", "perhaps"),
        ("stream", "0"),
        ("keep", "1"),
    ):
        with pytest.raises(InvalidValue) as raised:
            parse(EditRequest, {"prompt": "a", name: text}, LIMITS, as_text=True)
        assert raised.value.param == name


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(GenerationRequest.model_fields)) | st.text(), json_values))
def test_any_object_is_a_request_or_a_clear_error(fields: dict[str, Any]):
    try:
        assert parse(GenerationRequest, fields, LIMITS).prompt
    except InvalidValue as error:
        str(error).encode("utf-8")


def test_sizes_are_the_models_own_or_scaled_within_limits():
    for size in ("auto", "", "32x32"):
        assert parse_size(size, 32, LIMITS) == (32, 32)
    assert parse_size("8x8", 8, LIMITS) == (8, 8)  # smaller than any other may be
    assert parse_size("1792x1024", 32, LIMITS) == (1792, 1024)
    for size in ("8x8", "1024x300", "300x1024", "4096x2048", "99999x99999"):
        with pytest.raises(InvalidValue, match="size must be 'auto' or WxH"):
            parse_size(size, 32, LIMITS)


@pytest.mark.parametrize("spelled", ["1_0", "+5", "05", "0x5", "5.", ".5", "٥", "５", "1e", "", "inf", "nan", "NaN",
                                     "null", "true", '"5"', "[5]", "[" * 100_000, "9" * 5000, "5 5"])  # fmt: skip
@pytest.mark.parametrize("name", ["n", "seed", "top_k", "top_p", "temperature", "guidance_scale", "keep"])
def test_the_numbers_of_a_form_are_spelled_as_in_json(name: str, spelled: str):
    with pytest.raises(InvalidValue) as error:
        parse(EditRequest, {"prompt": "a", name: spelled}, LIMITS, as_text=True)
    assert error.value.param == name
    assert name in str(error.value) and len(str(error.value)) < 250


@pytest.mark.parametrize(
    ("name", "spelled", "value"),
    [("n", "5", 5), ("seed", "0", 0), ("seed", "4294967295", 2**32 - 1), ("top_p", "1e-39", 1e-39), ("top_p", "1", 1.0),
     ("keep", "2.5E-1", 0.25), ("temperature", "0.70", 0.7), ("keep", "-0", 0.0), ("n", " 5\r\n", 5),
     ("stream", "TRUE", True)],
)  # fmt: skip
def test_what_json_allows_is_read_in_a_form(name: str, spelled: str, value: float):
    assert getattr(parse(EditRequest, {"prompt": "a", name: spelled}, LIMITS, as_text=True), name) == value


@pytest.mark.parametrize("as_text", [False, True])
def test_a_form_and_json_agree_on_what_is_an_integer(as_text: bool):
    with pytest.raises(InvalidValue, match="integer"):
        parse(EditRequest, {"prompt": "a", "n": "2.0" if as_text else 2.0}, LIMITS, as_text=as_text)


@pytest.mark.parametrize("as_text", [False, True])
def test_a_seed_below_zero_is_told_how_to_get_a_random_one(as_text: bool):
    with pytest.raises(InvalidValue, match=r"seed must be.*leave it out for a random one.*got -1"):
        parse(EditRequest, {"prompt": "a", "seed": "-1" if as_text else -1}, LIMITS, as_text=as_text)


FEW = 17  # ids
EDGES = [{"top_p": 1e-39}, {"top_p": 5e-324}, {"top_p": 1 - 2**-53}, {"temperature": 1e-6}, {"temperature": 1000},
         {"guidance_scale": 1000}, {"guidance_scale": 5e-324}, {"top_k": 2**31 - 1}, {"top_k": 1}]  # fmt: skip
LIKELIEST = st.fixed_dictionaries(
    {},
    optional={
        "top_p": st.floats(0, 1, exclude_min=True),
        "temperature": st.floats(1e-6, 1000),
        "guidance_scale": st.floats(0, 1000),
        "top_k": st.integers(0, 2**31 - 1),
    },
)


@settings(deadline=None)  # the first compiles
@given(LIKELIEST | st.sampled_from(EDGES), st.booleans())
def test_every_number_that_the_schema_takes_leaves_an_id_to_draw(fields: dict[str, float], as_text: bool):
    """Bounds are checked in double; the sampler uses float32."""
    given_fields = {name: repr(value) for name, value in fields.items()} if as_text else fields
    request = parse(GenerationRequest, {"prompt": "a"} | given_fields, LIMITS, as_text=as_text)
    drawn = sampling.stacked([Sampling(**{name: getattr(request, name) for name in fields})])
    logits = jnp.linspace(-30, 30, FEW)[None]
    moved = sampling.guide(logits, -logits, drawn["guidance_scale"])
    warped = np.asarray(sampling.warp(moved, drawn["temperature"], drawn["top_k"], drawn["top_p"]))
    assert np.isfinite(warped).any() and not np.isnan(warped).any()
    assert warped.argmax() == np.asarray(moved).argmax()


def test_a_form_s_prompts_are_a_list_in_json():
    def read(text: str) -> Any:
        return parse(EditRequest, {"prompt": "a", "prompts": text}, Limits(), as_text=True).prompts

    (prompt,) = read('[{"text": "a face", "weight": -0.5}]') or ()
    assert (prompt.text, prompt.weight) == ("a face", -0.5)
    for wrong in ("null", "a face", '{"text": "a face"}', "["):
        with pytest.raises(InvalidValue, match="prompts must be a valid list"):
            read(wrong)
