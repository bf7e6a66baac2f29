"""The list of concepts, and the prompts made for each."""

from pathlib import Path

import pytest

from model_core.errors import InvalidValue
from model_core.shipped.concepts import Concept, pair_prompts, prompts_of, read_concepts, with_own_tags


def test_half_of_the_prompts_name_the_style():
    concept = Concept(hexcode="1f697", name="red car", synonyms=("car", "automobile"))
    prompts = dict(prompts_of(concept, "noto"))
    assert sum(prompts.values()) == pytest.approx(1)
    assert sum(weight for prompt, weight in prompts.items() if prompt.endswith(", noto style")) == pytest.approx(0.5)
    assert {"red car", "a red car", "a picture of a red car", "car", "automobile"} <= prompts.keys()


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("avocado", "an avocado"),
        ("unicorn", "a unicorn"),
        ("umbrella", "an umbrella"),
        ("hourglass", "an hourglass"),
        ("octopus", "an octopus"),
        ("french fries", "french fries"),
        ("popcorn", "popcorn"),
        ("face with heart eyes", "a face with heart eyes"),
    ],
)
def test_a_name_takes_its_article(name: str, phrase: str):
    prompts = prompts_of(Concept(hexcode="0", name=name, synonyms=()), "flat")
    assert f"a picture of {phrase}" in dict(prompts)


def test_the_list_of_concepts_is_in_order():
    concepts = read_concepts()
    names = [concept.name for concept in concepts]
    assert len(names) >= 240
    assert {"avocado", "red apple", "green apple", "octopus", "rocket", "pizza", "cat", "dragon"} <= set(names[:240])
    for concept in concepts:
        for text in (concept.name, *concept.synonyms):
            assert text == " ".join(text.lower().replace("-", " ").split()), text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("1f951\tavocado\nhello", "line 2: expected hexcode"),
        ("1f951\tavocado\n1f34e\tapple\tavocado", "'avocado' is already in line 1"),
        ("1f951\tavocado\n1f951\tapple", "'1f951' is already in line 1"),
    ],
)
def test_a_list_with_a_mistake_is_refused(tmp_path: Path, lines: str, message: str):
    (tmp_path / "concepts.txt").write_text(lines)
    with pytest.raises(InvalidValue, match=message):
        read_concepts(tmp_path / "concepts.txt")


def test_a_background_is_named_in_every_prompt():
    concept = Concept(hexcode="1f697", name="red car", synonyms=("car",))
    prompts = dict(prompts_of(concept, "noto", "orange"))
    assert sum(prompts.values()) == pytest.approx(1)
    assert all(" on an orange background" in prompt for prompt in prompts)
    assert "a red car on an orange background, noto style" in prompts


def test_a_pair_is_named_with_both_its_things():
    left, right = (Concept(hexcode=name, name=name, synonyms=()) for name in ("cat", "octopus"))
    prompts = dict(pair_prompts(left, right, "flat"))
    assert sum(prompts.values()) == pytest.approx(1)
    assert {"a cat and an octopus", "a cat next to an octopus, flat style"} <= prompts.keys()


def test_a_tag_is_kept_where_it_names_one_thing_only():
    concepts = [Concept(hexcode="1", name="cat", synonyms=("kitten",)), Concept(hexcode="2", name="dog", synonyms=())]
    tagged = with_own_tags(concepts, {"1": ["pet", "mouser", "kitten"], "2": ["pet", "puppy"], "3": ["puppy"]})
    assert [concept.tags for concept in tagged] == [("mouser",), ("puppy",)]
