"""What prompts can wish for, and whether pictures made by hand fulfil it."""

from pathlib import Path

import numpy as np
import pytest

from model_core.shipped.concepts import Concept, prompts_of, read_concepts
from model_core.shipped.evaluation.prompts import Question
from model_core.shipped.evaluation.wishes import Wish, _is_whole, _judge, wishes_of
from model_core.training.data import Dataset, Item
from tests.unit.model_core.shipped.evaluation.pictures_made_here import picture, rgb

CAT, DOG = (Concept(hexcode=code, name=name, synonyms=()) for code, name in (("1", "cat"), ("2", "dog")))
QUESTIONS = [Question("1", "cat"), Question("2", "dog"), Question("3", "owl")]


def item(concept: Concept, style: str, background: str = "", split: str = "train") -> Item:
    prompts = prompts_of(concept, style, background)
    return Item(image="", prompts=prompts, concept=concept.hexcode, style=style, split=split)


def test_a_thing_is_wished_for_on_a_colour_it_was_seen_on_on_another_and_in_every_style():
    items = [item(CAT, "flat"), item(CAT, "flat", "red"), item(CAT, "noto"), item(DOG, "flat")]
    kept_back = item(DOG, "noto", split="validation")
    wishes = list(wishes_of(Dataset(Path(), (*items, kept_back)), QUESTIONS))
    assert [(wish.prompt, wish.kind, wish.is_seen) for wish in wishes] == [
        ("cat", "name", True),
        ("cat on a red background", "background", True),
        ("cat on an orange background", "background", False),
        ("cat, flat style", "style", True),
        ("cat, noto style", "style", True),
        ("dog", "name", True),
        ("dog, flat style", "style", True),
        ("dog, noto style", "style", False),
    ]


def test_a_thing_of_the_list_is_asked_for_by_its_first_synonym():
    ship = next(concept for concept in read_concepts() if concept.name == "rocket")
    _, wish = wishes_of(Dataset(Path(), (item(ship, "flat"),)), [Question(ship.hexcode, "rocket")])
    assert (wish.kind, wish.prompt, wish.is_seen) == ("synonym", ship.synonyms[0], True)


def test_where_one_style_on_white_was_learned_there_are_only_names_to_wish_for():
    wishes = wishes_of(Dataset(Path(), (item(CAT, "flat"), item(DOG, "flat"))), QUESTIONS)
    assert [wish.prompt for wish in wishes] == ["cat", "dog"]


def test_the_nearest_real_picture_says_what_is_shown_and_in_which_style():
    white = np.full(3, 255, np.uint8)
    pictures = {
        ("1", "flat", "1.png"): picture(white, rgb("red")),
        ("1", "noto", "2.png"): picture(white, rgb("pink")),
        ("1", "noto", "2-mirrored.png"): picture(white, rgb("yellow")),
        ("2", "flat", "3.png"): picture(white, rgb("green")),
    }
    real = {key: image[::2, ::2].astype(np.float32).ravel() for key, image in pictures.items()}

    def judged(kind: str, value: str, image: np.ndarray) -> tuple[bool, bool]:
        return _judge(Wish(kind=kind, value=value, prompt="", concept="1", is_seen=True), image, real)

    assert judged("synonym", "", picture(white, rgb("red"))) == (True, True)
    assert judged("synonym", "", picture(white, rgb("green"))) == (False, False)
    assert judged("style", "noto", picture(white, rgb("pink"))) == (True, True)
    assert judged("style", "noto", picture(white, rgb("yellow"))) == (True, True)
    assert judged("style", "flat", picture(white, rgb("pink"))) == (False, True)
    assert judged("background", "blue", picture(rgb("blue"), rgb("red"))) == (True, True)
    assert judged("background", "gray", picture(rgb("blue"), rgb("red"))) == (False, True)
    assert judged("background", "blue", picture(rgb("blue"), rgb("green"))) == (True, False)


@pytest.mark.parametrize("color", ["white", "blue"])
def test_a_picture_is_whole_if_some_real_one_of_its_prompt_is_nearly_the_same(color: str):
    ground = np.full(3, 255, np.uint8) if color == "white" else rgb(color)
    other = picture(ground, rgb("green"))
    real = np.stack([other, picture(ground, rgb("red"))])
    soft = (real[1] * 0.95).astype(np.uint8)
    headless = real[1].copy()
    headless[16:24] = ground
    assert _is_whole(real[1], real) and _is_whole(soft, real)
    assert not _is_whole(headless, real)
    assert not _is_whole(real[1], real[:1])
