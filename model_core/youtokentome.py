"""Files of youtokentome (github.com/VKCOM/YouTokenToMe) → texts as ids, without that library.

Format, a text of lines: `n m`; n lines `code point, id` of single characters; m lines `x y z`, rules by which the ids x
and y become z, the most wanted first; `unk pad bos eos`.
"""

import heapq
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from model_core.errors import CorruptCheckpoint

_START = "\u2581"  # of a word
_BETWEEN_WORDS = re.compile(f"[\t-\r {_START}]+")


@dataclass(frozen=True, slots=True)
class Youtokentome:
    """Byte-pair encoding of words, each apart.

    Attributes:
      characters: code point → id.
      rules: (x, y) → (which rule it is, z).
      size: every id is below it.
    """

    characters: dict[int, int]
    rules: dict[tuple[int, int], tuple[int, int]]
    unknown: int
    begin: int
    end: int
    size: int

    def __call__(self, text: str) -> list[int]:
        """The ids of a text, without begin and end; characters that it does not know are one unknown in a row."""
        words = (word for word in _BETWEEN_WORDS.split(text) if word)
        return [symbol for word in words for symbol in self._merged(self._symbols(_START + word))]

    def _symbols(self, word: str) -> list[int]:
        ids = [self.characters.get(ord(character), self.unknown) for character in word]
        return ids[:1] + [after for before, after in pairwise(ids) if not before == after == self.unknown]

    def _merged(self, symbols: list[int]) -> list[int]:
        """Applies, again and again, the rule that comes first among those that fit, where it fits first."""
        size = len(symbols)
        after, before = [*range(1, size + 1)], [*range(-1, size - 1)]
        waiting: list[tuple[int, int, int, int]] = []

        def propose(left: int) -> None:
            right = after[left] if left >= 0 else size
            if right < size and (rule := self.rules.get((symbols[left], symbols[right]))):
                heapq.heappush(waiting, (rule[0], left, symbols[left], symbols[right]))

        for place in range(size):
            propose(place)
        is_gone = [False] * size
        while waiting:
            _, left, *pair = heapq.heappop(waiting)
            right = after[left]
            if is_gone[left] or right == size or [symbols[left], symbols[right]] != pair:
                continue  # one of the two has become part of another
            symbols[left] = self.rules[pair[0], pair[1]][1]
            is_gone[right], after[left] = True, after[right]
            if after[left] < size:
                before[after[left]] = left
            propose(before[left])
            propose(left)
        return [symbol for symbol, gone in zip(symbols, is_gone, strict=True) if not gone]


def read_youtokentome(path: Path) -> Youtokentome:
    """Reads a file of youtokentome's.

    Raises:
      CorruptCheckpoint: it is missing, or not in the format.
    """
    try:
        lines = [[int(number) for number in line.split()] for line in path.read_text("ascii").splitlines()]
        (num_characters, num_rules), rest = lines[0], lines[1:]
        characters, rules = rest[:num_characters], rest[num_characters:-1]
        unknown, _, begin, end = rest[-1]
        known = {one[0]: one[1] for one in characters}
        table = {(x, y): (place, z) for place, (x, y, z) in enumerate(rules)}
        ids = [*known.values(), *(number for rule in rules for number in rule), *rest[-1]]
        size = num_characters + num_rules + len(set(rest[-1]) - {-1})
        if (len(known), len(table)) != (num_characters, num_rules) or not all(-1 <= number < size for number in ids):
            raise ValueError("its numbers do not fit together")
    except (OSError, ValueError, IndexError, TypeError) as error:
        raise CorruptCheckpoint(f"{path} is no tokenizer of youtokentome ({error}). Copy it again.") from error
    return Youtokentome(known, table, unknown, begin, end, size)
