"""The rows that the engine draws, on the device: sequences take rows, all rows go on together, sequences leave.

Shapes come from short lists, all compiled by `warm_up`: how many rows are computed, how many positions of their state
are read, and how many codes a step tries to draw (`window.py`). Where results must not depend on the batch composition,
each list has one entry.
One thread at a time may use it.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from functools import partial
from itertools import permutations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from model_core.errors import InvalidValue, NotFinite
from model_core.families.conditions import FREE, Condition
from model_core.families.protocol import Config, Family
from model_core.sampler.compile_counter import CompileCounter
from model_core.sampler.decode_loop import NOT_FINITE, Drawing, Images, Model, take_turn, unpack
from model_core.sampler.sampling import stacked
from model_core.sampler.sequence import Sampling, Sequence, Slot
from model_core.sampler.window import WINDOWS, Windows
from model_core.weights.sharding import mesh_of, place_rows

PARTS = 4  # of an image: where not all of a row's state has to be read, so many parts of it may be
PLAIN = Sampling()
TIMINGS = 3  # of each step, of which the shortest counts
USUAL = Sampling(top_k=50)  # how images are drawn by which steps are timed


class Turn(NamedTuple):
    """A turn that was begun: what it gives, how, and of whom, each with its row."""

    packed: Int[Array, "R P"]
    steps: int
    window: int
    rows: list[tuple[Sequence, int]]


class Rows:
    """Up to `max_rows` rows of one model. A sequence under guidance takes two, any other one.

    Attributes:
      runs_ahead: whether the next turn is to be begun before the last one is read.
      compiles: counts programs that `advance` had to compile, or to load: none, where `warm_up` did its work.
      num_near_ties: so far.
      num_steps: so far, those of each image counted.
      num_tried: places that those steps drew codes for, right or not.
    """

    def __init__(
        self,
        family: Family,
        config: Config,
        weights: Any,
        *,
        max_rows: int,
        deterministic: bool,
        num_codes: int | None = None,
        as_loop: bool | None = None,
        window: int | None = 1,
    ):
        """Nothing is compiled yet.

        Args:
          weights: of the family's `step_weights`.
          max_rows: at least 2.
          deterministic: always compute `max_rows` rows and all positions, so that no bit of a sequence depends on
            others. Takes a `window`.
          num_codes: ids from here on are never drawn; None takes the family's codebook.
          as_loop: a turn is one program; None: where the weights are not on a CPU.
          window: so many codes a step tries to draw; None: as many as pay, found out on the way.
        """
        self.grid, self.max_rows, self.is_deterministic = config.grid, max_rows, deterministic
        self._length = self.grid.num_codes
        num_codes = self.grid.codebook if num_codes is None else num_codes
        if not 1 <= num_codes <= self.grid.codebook:
            allowed = f"from 1 to {self.grid.codebook}"
            raise InvalidValue(f"num_codes is {num_codes}; it must be {allowed}.", "num_codes")
        self._model = Model(family, config, num_codes)
        self._weights = weights
        if as_loop is None:
            as_loop = next(iter(jax.tree.leaves(weights)[0].devices())).platform != "cpu"
        self._as_loop = self.runs_ahead = bool(as_loop)
        self._mesh = mesh_of(weights)
        size = -(-self._length // PARTS)
        parts = [min(end, self._length) for end in range(size, self._length + size, size)]
        self._prefixes = [0, *parts]  # lengths that are read at once
        least = 1 if self._as_loop else 0  # an accelerator takes as long for one row as for two
        powers = (2**power for power in range(least, max_rows.bit_length()) if 2**power < max_rows)
        self._counts = [max_rows] if deterministic else [*powers, max_rows]
        self._reaches = [self._length] if deterministic else parts
        self._parts = len(self._reaches)
        if window is None and deterministic:
            raise InvalidValue("window has to be a number where no bit may depend on other images, not auto.", "window")
        if window is not None and window < 1:
            raise InvalidValue(f"window is {window}; it must be 1 or more.", "window")
        wanted = WINDOWS if window is None else [window]
        self._windows = Windows(sorted({min(each, self._length) for each in wanted}))
        self.compiles = CompileCounter()
        self.num_near_ties = self.num_steps = self.num_tried = 0
        self._running: list[Sequence] = []
        self._turns: deque[Turn] = deque()
        self._texts: OrderedDict[bytes, Any] = OrderedDict()  # the most recently used last
        self._drawing = self._blank(self._counts[0])
        self._images: Images = self._images_of(self._counts[0])
        self._pictured: Any = None  # what `_images` tells of

    def check(self, sequence: Sequence) -> None:
        """Makes a sequence ready to join; touches no device, so any thread may call it. Raises as `Sequence.check`."""
        sequence.check(self._model.config.condition_shape, self._model.num_codes, self._length)

    def has_room(self, sequence: Sequence) -> bool:
        """Whether the sequence can join now."""
        return self.num_taken + len(sequence.conditions) <= self.max_rows

    @property
    def num_taken(self) -> int:
        """Rows that sequences hold."""
        return sum(len(sequence.conditions) for sequence in self._running)

    @property
    def num_turns(self) -> int:
        """Turns that were begun and not yet read."""
        return len(self._turns)

    def join(self, sequence: Sequence) -> None:
        """Takes a sequence in, to be drawn from the next turn on; there must be room, and it must be checked."""
        assert self.has_room(sequence)
        sequence.slot = Slot(sequence.position, sequence.position)
        self._running.append(sequence)

    def leave(self, sequence: Sequence) -> None:
        """Frees the rows of a sequence that has any, whether it is drawn to its end or not."""
        if sequence.slot is not None:
            self._running.remove(sequence)
            sequence.slot = None

    def park(self, sequence: Sequence) -> None:
        """Takes a sequence off its rows in the middle of it; when it joins again, it goes on. No turn may be unread.

        Where no bit may depend on others, its rows are kept for it, in the host's memory. Else they are made again of
        its codes, as they would be of codes that are given.
        """
        assert not self._turns
        if self.is_deterministic:
            sequence.parked = [self._on_host(self._drawing, row) for row in _slot(sequence).rows]
        self.leave(sequence)

    @property
    def window(self) -> int:
        """So many codes the steps of the last turn tried to draw."""
        return self._windows.window

    def advance(self, codes: int) -> None:
        """Begins to draw about so many codes of every sequence, or what is left of the longest: exactly so many where a
        step draws one.

        Sequences that come to their end for certain give their rows back at once, others when that is read.
        """
        codes = min(codes, max(self._length - _slot(sequence).position for sequence in self._running))
        count = next(known for known in self._counts if known >= self.num_taken)
        window, steps = self._windows.plan(count, codes)
        with self.compiles.watch():
            self._fit(count)
            for sequence in self._running:
                slot = _slot(sequence)
                slot.position, slot.furthest = slot.position + steps, slot.furthest + steps * window
            furthest = max(_slot(sequence).furthest for sequence in self._running)
            reach = next(known for known in self._reaches_of(window) if known >= min(furthest, self._length))
            self._drawing, packed = self._begin(self._drawing, self._images, steps, reach, window)
        rows = [(sequence, _slot(sequence).rows[0]) for sequence in self._running]
        self._turns.append(Turn(packed, steps, window, rows))
        for sequence, _ in rows:
            if _slot(sequence).position >= self._length:
                self.leave(sequence)

    def read(self) -> int:
        """Waits for the oldest turn that was begun, and tells its sequences their codes.

        Returns:
          How many codes were drawn, all sequences together.

        Raises:
          NotFinite: the logits of one are NaN or infinite.
        """
        turn = self._turns.popleft()
        codes, near_ties, positions = unpack(turn.packed)
        drawn = 0
        for sequence, row in turn.rows:
            before, position = sequence.position, int(positions[row])
            if (codes[row, before:position] == NOT_FINITE).any():
                raise NotFinite("The token sampler computed logits that are not finite (NaN or infinite).")
            was_free = bool((sequence.codes[before:position] == FREE).all())
            sequence.codes, sequence.near_ties, sequence.position = codes[row], near_ties[row], position
            self.num_near_ties += int(near_ties[row, before:position].sum())
            drawn += position - before
            if position < self._length and was_free:  # what was fixed, and steps of rows at their end, tell nothing
                self._windows.learn(turn.window, turn.steps, position - before)
            if before < self._length:
                self.num_steps, self.num_tried = self.num_steps + turn.steps, self.num_tried + turn.steps * turn.window
            if sequence.slot is not None:
                sequence.slot.position += position - before - turn.steps
                sequence.slot.furthest += position - before - turn.steps * turn.window
                if position == self._length:
                    self.leave(sequence)
        return drawn

    def warm_up(self) -> None:
        """Compiles all that `advance` can run, and times it; sequences that are here stay as they are."""
        shape = self._model.config.condition_shape
        kind = np.float32 if len(shape) > 1 else np.int32  # states, or ids
        text = self._read_text(Condition(np.zeros(shape, kind), np.ones(shape[:1], np.int32)))
        codes = np.zeros(self._length, np.int32)
        rows = [self._row(text, codes, length) for length in self._prefixes]
        timings = TIMINGS if len(self._windows.windows) > 1 else 0
        for count in self._counts:
            images = self._images_of(count, usual=USUAL)
            for window in self._windows.windows:
                for reach in self._reaches_of(window):
                    drawing = _put(self._blank(count), np.int32(0), rows[0])
                    seconds = []
                    for _ in range(1 + timings):
                        began = time.perf_counter()
                        drawing, packed = self._begin(drawing, images, 1, reach, window)
                        packed.block_until_ready()
                        seconds.append(time.perf_counter() - began)
                    self._windows.set_price(count, window, min(seconds))  # in the end, that of all positions
            if self.is_deterministic:
                _put(drawing, np.int32(0), self._back_on_device(self._on_host(drawing, 0)))
        for before, after in permutations(self._counts, 2):
            _take(self._blank(before), np.zeros(after, np.int32))

    def _reaches_of(self, window: int) -> list[int]:
        """Where there is a choice of windows, wider ones read all positions: fewer programs."""
        return self._reaches if window == self._windows.windows[0] else self._reaches[-1:]

    def _begin(self, drawing: Drawing, images: Images, steps: int, reach: int, window: int) -> Any:
        return take_turn(self._model, self._weights, drawing, images, steps, reach, window, as_loop=self._as_loop)

    def _fit(self, count: int) -> None:
        """Brings sequences that have joined onto the device, in so many rows."""
        if count != self._drawing.position.size:
            self._resize(count)
        taken = {row for sequence in self._running for row in _slot(sequence).rows}
        free = iter(sorted(set(range(count)) - taken))
        for sequence in self._running:
            slot = _slot(sequence)
            if not slot.rows:
                slot.rows = tuple(next(free) for _ in sequence.conditions)
                for row, one in zip(slot.rows, self._rows_of(sequence), strict=True):
                    self._drawing = _put(self._drawing, np.int32(row), one)
                sequence.parked = []
        pictured = count, [(sequence, _slot(sequence).rows) for sequence in self._running]
        if pictured != self._pictured:
            self._images, self._pictured = self._images_of(count, self._running), pictured

    def _rows_of(self, sequence: Sequence) -> Iterator[Drawing]:
        """What goes into the rows of one that has joined: what they were when it gave way, or made of its codes."""
        for one in sequence.parked:
            yield self._back_on_device(one)
        if not sequence.parked:
            for condition in sequence.conditions:
                yield self._row(self._text(condition), sequence.codes, sequence.position)

    def _on_host(self, drawing: Drawing, row: int) -> list[np.ndarray]:
        """The arrays of one row."""
        return [np.asarray(leaf) for leaf in jax.tree.leaves(_take(drawing, np.array([row], np.int32)))]

    def _back_on_device(self, parked: list[np.ndarray]) -> Drawing:
        one = jax.tree.unflatten(jax.tree.structure(self._drawing), _to_device(parked))
        return place_rows(self._mesh, one)

    def _resize(self, count: int) -> None:
        """Makes the rows that sequences have the first of `count`."""
        kept = [row for sequence in self._running for row in _slot(sequence).rows]
        places = iter(range(count))
        for sequence in self._running:
            slot = _slot(sequence)
            slot.rows = tuple(next(places) for _ in slot.rows)
        which = np.array(kept + [0] * (count - len(kept)), np.int32)
        self._drawing = place_rows(self._mesh, _take(self._drawing, which))

    def _images_of(self, count: int, sequences: list[Sequence] | None = None, usual: Sampling = PLAIN) -> Images:
        """Which of so many rows make up which images; the other ones are drawn as `usual`."""
        sequences = sequences or []
        missing = count - len(sequences)
        rows = [_slot(sequence).rows for sequence in sequences] + [(0,)] * missing
        of_row = np.zeros(count, np.int32)
        for image, sequence in enumerate(sequences):
            of_row[list(_slot(sequence).rows)] = image
        noise = None
        if any(sequence.noise is not None for sequence in sequences):
            nothing = np.zeros((self._length, self._model.num_codes), np.float32)
            noise = np.stack([nothing if one.noise is None else one.noise for one in sequences] + [nothing] * missing)
        arrays = {
            # Where no bit may depend on the batch composition, all are drawn, always.
            "count": None if self.is_deterministic else np.int32(len(sequences)),
            "row": np.array([of_image[0] for of_image in rows], np.int32),
            "uncond": np.array([of_image[-1] for of_image in rows], np.int32),
            "settings": stacked([*(sequence.sampling for sequence in sequences), *[usual] * missing]),
            "seed": np.array([sequence.seed for sequence in sequences] + [0] * missing, np.uint32),
            "noise": noise,
            "of_row": of_row,
        }
        return place_rows(self._mesh, Images(**_to_device(arrays)))

    def _text(self, condition: Condition) -> Any:
        """What the layers look at of a condition, made once while it is in use."""
        text = self._texts.pop(condition.key, None)
        self._texts[condition.key] = self._read_text(condition) if text is None else text
        while len(self._texts) > self.max_rows // 2 + 1:  # as many requests as there can be images, and no text at all
            self._texts.popitem(last=False)
        return self._texts[condition.key]

    def _read_text(self, condition: Condition) -> Any:
        made = _read_text(self._model, self._weights, condition.values[None], condition.mask[None])
        return place_rows(self._mesh, made)

    def _row(self, text: Any, codes: Int[np.ndarray, " N"], position: int) -> Drawing:
        """One row, whose codes before `position` are there; those that come later do not matter to its state."""
        length = next(known for known in self._prefixes if known >= position)
        given = np.maximum(codes[None, :length], 0)
        state = place_rows(self._mesh, _prefill(self._model, self._weights, text, given, self._parts))
        nothing = np.full((1, self._length), FREE, np.int32)
        return Drawing(state, np.array([position], np.int32), codes[None], nothing, np.zeros(nothing.shape, bool))

    def _blank(self, count: int) -> Drawing:
        """Rows that nobody has: at their end."""
        state = self._model.family.empty(self._model.config, self._weights, count, self._parts)
        codes = jnp.zeros((count, self._length), jnp.int32)
        position = jnp.full(count, self._length, jnp.int32)
        return place_rows(self._mesh, Drawing(state, position, codes, codes + FREE, jnp.zeros(codes.shape, bool)))


def draw_all(rows: Rows, sequences: list[Sequence]) -> Iterator[list[tuple[int, Sequence]]]:
    """Draws sequences row of codes by row of codes, without an engine; those that have to wait join as others leave.

    Yields:
      After each turn those that were drawn in it, with their places in the list. Left early, it gives all rows back.

    Raises:
      InvalidValue: a sequence cannot be drawn.
    """
    for sequence in sequences:
        rows.check(sequence)
    waiting = deque((place, one) for place, one in enumerate(sequences) if (one.codes == FREE).any())
    running: list[tuple[int, Sequence]] = []
    try:
        while waiting or running:
            while waiting and rows.has_room(waiting[0][1]):
                running.append(waiting.popleft())
                rows.join(running[-1][1])
            rows.advance(rows.grid.columns)
            rows.read()
            drawn, running = running, [each for each in running if each[1].slot is not None]
            yield drawn
    finally:
        for _, sequence in running:
            rows.leave(sequence)


def _slot(sequence: Sequence) -> Slot:
    assert sequence.slot is not None
    return sequence.slot


_to_device = jax.jit(lambda tree: tree)  # takes a fifth of the time that jnp.asarray takes for each leaf


_take_leaf = jax.jit(lambda leaf, which: leaf[which])


def _take(tree: Any, which: Int[np.ndarray, " count"]) -> Any:
    """Leaf by leaf: leaves of one shape share a program."""
    return jax.tree.map(lambda leaf: _take_leaf(leaf, which), tree)


@partial(jax.jit, static_argnums=0)
def _read_text(model, weights, values, mask):
    return model.family.read_text(model.config, weights, values, mask)


@partial(jax.jit, static_argnums=(0, 4))
def _prefill(model, weights, text, codes, parts):
    return model.family.prefill(model.config, weights, text, codes, parts)


@partial(jax.jit, donate_argnums=0)
def _put(drawing, row, one):
    return jax.tree.map(lambda all, new: jax.lax.dynamic_update_slice_in_dim(all, new, row, 0), drawing, one)
