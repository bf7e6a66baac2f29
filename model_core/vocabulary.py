"""What to tell who asks for what a model does not know: words that it was never taught, and scores that are low.

Words alone miss known ones in senses that were never taught, and scores alone miss errors that look right. Imports no
JAX.
"""

import difflib
import re
from collections.abc import Iterable, Sequence

# Words that ask for a picture or join others, which no model has to know as things.
_COMMON_TEXT = """
    a an and any as at be big by can could create depict depicting depiction draw drawing drawn emoji emojis for from
    generate give got has have having her him his i icon illustration image in into is it its kindly large let like
    little looking make me my nice of on one or our paint painting photo photograph photography picture please portrait
    render showing shows simple sketch small some style that the their them there these they this to up us very want was
    we with you your
"""
_COMMON = frozenset(_COMMON_TEXT.split())
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_NAMED = 5  # of each kind of words
_NEAR = 0.8  # of difflib's ratio: "elefant" is near "elephant", "tower" is near nothing


class Vocabulary:
    """The words of the phrases that a model was taught.

    Args:
      phrases: names of things, and ways to ask for them, in the language of the prompts. None at all: nothing is known
        of what the model knows, so no word is called unknown.
    """

    def __init__(self, phrases: Iterable[str]):
        self._phrases = tuple(dict.fromkeys(phrases))
        self._words = frozenset(form for phrase in self._phrases for word in _words(phrase) for form in _forms(word))

    def unknown(self, prompt: str) -> list[str]:
        """The words of a prompt that no phrase has, in lower case, in the prompt's order, each once."""
        if not self._words:
            return []
        words = dict.fromkeys(_words(prompt))
        return [word for word in words if word not in _COMMON and self._words.isdisjoint(_forms(word))]

    def warning(self, prompt: str) -> str | None:
        """What to tell who asked for words that no phrase has; None where there is none."""
        unknown = self.unknown(prompt)
        if not unknown:
            return None
        quoted = ", ".join(repr(word) for word in unknown[:_NAMED]) + (" and more" if len(unknown) > _NAMED else "")
        near = ", ".join(self._near(unknown))
        hint = f"try {near}" if near else f"try, for example, {self._phrases[0]}"
        return f"This model was not taught the words {quoted}, so it may draw something else; {hint}."

    def _near(self, words: Sequence[str]) -> list[str]:
        """Known words that are spelled like some of `words`."""
        found = (difflib.get_close_matches(word, self._words - _COMMON, 1, _NEAR) for word in words)
        return list(dict.fromkeys(near for matches in found for near in matches))[:_NAMED]


def low_score_warning(scores: Iterable[float | None], low_score: float | None) -> str | None:
    """What to tell where the best of `scores` is lower than those of known prompts hardly ever are; else None."""
    known = [score for score in scores if score is not None]
    if low_score is None or not known or max(known) >= low_score:
        return None
    return (
        f"The best image has a score of {max(known):.1f}, and one of a prompt that this model knows hardly ever has "
        f"less than {low_score:.1f}: it may not show what was asked for."
    )


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold().replace("’", "'"))


def _forms(word: str) -> set[str]:
    """The word and what may be its singular: "foxes" is known where "fox" is, and the other way round."""
    word = word.removesuffix("'s")
    forms = {word}
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        forms.add(word[:-1])
        if word.endswith("ies"):
            forms.add(word[:-3] + "y")
        elif word.endswith("ves"):
            forms |= {word[:-3] + "f", word[:-3] + "fe"}
        elif word.endswith("es"):
            forms.add(word[:-2])
    return forms
