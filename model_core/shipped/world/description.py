"""What a scene shows, in words and numbers: the truth that captions tell and measurements are held against."""

from dataclasses import dataclass

WHITE = "white"  # the ground that nobody mentions
FRAME = "frame"  # the thing that is drawn around another one
INSIDE = "inside"
BESIDE = ("next to", "left of", "right of")
STACKED = ("above", "below")
TOUCHING = ("in front of", "on top of", INSIDE)
RELATIONS = (*BESIDE, *STACKED, *TOUCHING)
SIZES = ("small", "large")
MAX_COUNT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A thing, or several of one kind.

    Attributes:
      name: what it is called in the list of things.
      color: one of the ten named colours; empty for its own.
      size: "small" or "large", as against what is usual; empty where nothing is said.
      count: how many there are, 1…4.
    """

    name: str
    color: str = ""
    size: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a scene shows.

    Attributes:
      subjects: one or two.
      relation: where the first is, seen from the second; empty for one subject.
      ground: what is behind: "white", a colour or a place.
      style: who drew the things.
    """

    subjects: tuple[Subject, ...]
    relation: str = ""
    ground: str = WHITE
    style: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Where one drawing is, in pixels from the top left; the right and bottom edges are just outside of it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def center(self) -> tuple[float, float]:
        """Across, down."""
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def moved(self, across: int, down: int) -> "Box":
        """The same box elsewhere."""
        return Box(left=self.left + across, top=self.top + down, right=self.right + across, bottom=self.bottom + down)


def around(boxes: tuple[Box, ...]) -> Box:
    """The smallest box with all of these in it."""
    return Box(
        left=min(box.left for box in boxes),
        top=min(box.top for box in boxes),
        right=max(box.right for box in boxes),
        bottom=max(box.bottom for box in boxes),
    )
