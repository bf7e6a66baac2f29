"""Prompts that the operator does not want drawn: a file of words and patterns.

One a line: a word or phrase, matched whole and whatever its case, or a regular expression between slashes. Empty lines
and lines that start with `#` are skipped. Compatibility forms (full-width letters, ligatures) and accents do not hide a
word.
"""

import re
import unicodedata

from deployments.errors import ContentRefused
from deployments.gateway.watched_file import WatchedFile
from model_core.errors import DalleServeError


class PromptPolicy:
    """Refuses prompts.

    Args:
      path: of the file; None refuses nothing.

    Raises:
      DalleServeError: the file cannot be read, or a pattern is no regular expression.
    """

    def __init__(self, path: str | None):
        self._rules = None if path is None else WatchedFile(path, read_rules)

    def check(self, prompt: str) -> None:
        """Passes, or refuses without saying which rule it was.

        Raises:
          ContentRefused: the prompt holds what it must not.
        """
        if self._rules is None:
            return
        folded = fold(prompt)
        if any(rule.search(folded) for rule in self._rules.content):
            raise ContentRefused("The prompt was refused by this service's content policy.", "prompt")


def read_rules(text: str) -> list[re.Pattern[str]]:
    """Makes one pattern of all words, and one of each line between slashes.

    Raises:
      DalleServeError: a pattern is no regular expression; names the line.
    """
    words, rules = [], []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if len(line) > 2 and line.startswith("/") and line.endswith("/"):
            try:
                rules.append(re.compile(line[1:-1], re.IGNORECASE))
            except re.error as error:
                raise DalleServeError(f"line {number} is no regular expression: {error}.") from error
        else:
            words.append(r"\s+".join(re.escape(word) for word in fold(line).split()))
    if words:
        rules.append(re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)"))
    return rules


def fold(text: str) -> str:
    """Lower case, compatibility forms resolved, without accents and invisible characters."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in decomposed if unicodedata.category(letter) not in ("Mn", "Cf"))
