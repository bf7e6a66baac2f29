"""The things, and their forms."""

from pathlib import Path

import pytest

from model_core.errors import InvalidValue
from model_core.shipped.world.vocabulary import all_things, article_for, plural_of, read_things


def test_there_are_many_things_and_most_can_have_a_colour():
    things = all_things().values()
    assert len(things) >= 150
    assert sum(thing.can_be_colored for thing in things) > 0.7 * len(things)


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("cat", "cats"),
        ("mouse", "mice"),
        ("cherry blossom", "cherry blossoms"),
        ("pony", "ponies"),
        ("monkey", "monkeys"),
        ("fox", "foxes"),
        ("ufo", "ufos"),
        ("tomato", "tomatoes"),
        ("slice of pizza", "slices of pizza"),
        ("christmas tree", "christmas trees"),
        ("maple leaf", "maple leaves"),
    ],
)
def test_plurals(one: str, many: str):
    assert plural_of(one) == many


@pytest.mark.parametrize(
    ("words", "article"), [("owl", "an"), ("cat", "a"), ("ufo", "a"), ("unicorn", "a"), ("umbrella", "an")]
)
def test_articles(words: str, article: str):
    assert article_for(words) == article


def test_flags_say_what_a_thing_can_be(tmp_path: Path):
    path = tmp_path / "things.txt"
    path.write_text("1f35e\tbread\tloaf, toast\tmass\n23f0\tclock\t\town signs\n", encoding="utf-8")
    bread, clock = read_things(path)
    assert bread.synonyms == ("loaf", "toast")
    assert (bread.can_be_colored, bread.can_be_counted, bread.can_be_mirrored) == (True, False, True)
    assert (clock.can_be_colored, clock.can_be_counted, clock.can_be_mirrored) == (False, True, False)


@pytest.mark.parametrize("line", ["1f35e", "bread\tx", "1f35e\tbread\t\tfluffy"])
def test_a_bad_line_is_named(tmp_path: Path, line: str):
    (tmp_path / "things.txt").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(InvalidValue, match="line 1"):
        read_things(tmp_path / "things.txt")


def test_a_word_belongs_to_one_thing(tmp_path: Path):
    (tmp_path / "things.txt").write_text("1\tcat\tkitty\n2\tkitty\n", encoding="utf-8")
    with pytest.raises(InvalidValue, match="'kitty' is already in line 1"):
        read_things(tmp_path / "things.txt")
