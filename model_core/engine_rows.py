"""The rows that the engine draws, on the device: jobs take rows, all rows go on together, jobs leave between steps.

Shapes come from a short list, all compiled by `warm_up`: how many rows are computed, and how many positions their
caches hold. Where results must not depend on the company, each list has one entry.
One thread at a time may use it. Knows nothing of threads, queues, deadlines, or who asks.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations, product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32

from model_core.compile_counter import CompileCounter
from model_core.dalle_bart_network import DalleBartConfig
from model_core.decoding import DecoderWeights, DecodeState, empty_cache, read_prefix, text_keys_values
from model_core.drawing import Drawing, Images, draw_next
from model_core.layers import KeysValues
from model_core.sampler_job import CheckedJob, SamplerJob, Text, check_job
from model_core.sampling import sampling_params
from model_core.sharding import mesh_of, place_rows

RowArrays = tuple[DecodeState, Array, Array]  # codes and near ties beside the state: all leaves have the rows first

NUM_LENGTHS = 4  # of caches: a quarter of the positions, a half, …, all


@dataclass(slots=True, eq=False)
class Seat:
    """A job's place.

    Attributes:
      rows: which it has, the conditional one first; none before its first `advance`.
      codes: as they are after the last `advance`.
      position: so many codes are there from the first on.
      near_ties: which of the codes drawn so far won by less than `sampling.NEAR_TIE`.
    """

    job: CheckedJob
    codes: Int32[np.ndarray, " N"]
    position: int
    near_ties: Bool[np.ndarray, " N"]
    rows: tuple[int, ...] = ()


class Rows:
    """Up to `max_rows` rows of one model. A job under guidance takes two, any other one."""

    def __init__(
        self,
        config: DalleBartConfig,
        weights: DecoderWeights,
        *,
        num_codes: int,
        max_rows: int,
        deterministic: bool,
    ):
        """Nothing is compiled yet.

        Args:
          num_codes: ids from here on are never drawn.
          max_rows: at least 2.
          deterministic: always compute `max_rows` rows over all positions, so that no bit of a job depends on others.
        """
        self.config, self.num_codes, self.max_rows = config, num_codes, max_rows
        lengths = sorted({-(-config.image_length * part // NUM_LENGTHS) for part in range(1, NUM_LENGTHS + 1)})
        self._prefix_lengths = lengths
        self._lengths = lengths[-1:] if deterministic else lengths
        counts = [2**power for power in range(1, max_rows.bit_length()) if 2**power < max_rows]
        self._counts = [max_rows] if deterministic else [*counts, max_rows]
        self.is_deterministic = deterministic
        self._weights = weights
        self._mesh = mesh_of(weights)
        self._dtype = weights.shared["lm_head"]["kernel"].dtype
        self._compiles = CompileCounter()
        self.num_near_ties = 0
        self._seats: list[Seat] = []
        self._texts: OrderedDict[bytes, Any] = OrderedDict()  # the most recently used last
        count = self._counts[0]
        self._drawing = _drawing(self._blank(count, self._lengths[0]), self._images(count, []))
        self._wired: Any = None  # what `images` on the device tells of
        self._blank_cache = place_rows(self._mesh, empty_cache(config, 1, config.image_length, self._dtype))

    def check(self, job: SamplerJob) -> CheckedJob:
        """Makes a job ready to join; touches no device, so any thread may call it. Raises as `check_job`."""
        return check_job(job, self.config, self.num_codes)

    def has_room(self, job: CheckedJob) -> bool:
        """Whether the job can join now."""
        return self.num_taken + len(job.texts) <= self.max_rows

    @property
    def num_taken(self) -> int:
        """Rows that jobs hold."""
        return sum(len(seat.job.texts) for seat in self._seats)

    def join(self, job: CheckedJob) -> Seat:
        """Takes a job in, to be drawn from the next `advance` on; there must be room."""
        assert self.has_room(job)
        seat = Seat(job, job.codes, job.prefix_length, np.zeros(job.codes.size, bool))
        self._seats.append(seat)
        return seat

    def leave(self, seat: Seat) -> None:
        """Frees a job's rows, whether it is drawn to its end or not."""
        self._seats.remove(seat)

    def advance(self, steps: int) -> int:
        """Draws the next codes of every job: `steps`, or what is left of the longest; waits for them.

        Returns:
          How many codes were drawn, all jobs together.
        """
        length = self.config.image_length
        steps = min(steps, max(length - seat.position for seat in self._seats))
        with self._compiles.watch():
            self._fit(max(min(seat.position + steps, length) for seat in self._seats))
            for _ in range(steps):
                self._drawing = draw_next(self.config, self._weights, self._drawing)
            codes, near_ties = np.array(self._drawing.codes), np.array(self._drawing.near_ties)
        drawn = 0
        for seat in self._seats:
            before, seat.position = seat.position, min(seat.position + steps, length)
            seat.codes, seat.near_ties = codes[seat.rows[0]], near_ties[seat.rows[0]]
            drawn += seat.position - before
            self.num_near_ties += int(seat.near_ties[before : seat.position].sum())
        return drawn

    @property
    def num_compiles(self) -> int:
        """Programs that `advance` had to compile, or to load; 0 where `warm_up` did its work."""
        return self._compiles.count

    def warm_up(self) -> None:
        """Compiles all that `advance` can run; jobs that are here stay as they are."""
        mask = np.ones(self.config.max_text_length, np.int32)
        text = self._text(np.zeros((mask.size, self.config.d_model), np.float32))
        codes = np.zeros(self.config.image_length, np.int32)
        for prefix in self._prefix_lengths:
            self._read(text, mask, codes, prefix)
        one = self._row(text, mask, codes, 0, self._blank_cache)
        blanks = {}
        for shape in product(self._counts, self._lengths):
            rows = _write_row(self._blank(*shape), np.int32(0), one)
            drawing = draw_next(self.config, self._weights, _drawing(rows, self._images(shape[0], [])))
            blanks[shape] = _arrays(drawing)
        for length in self._lengths:
            for before, after in permutations(self._counts, 2):
                _take_rows(blanks[before, length], np.zeros(after, np.int32))
        for count in self._counts:
            for before, after in permutations(self._lengths, 2):
                _with_length(blanks[count, before], after)
        jax.block_until_ready(blanks)

    def _fit(self, length: int) -> None:
        """Brings jobs that have joined onto the device, and the shape to the smallest that holds all of them."""
        count = next(count for count in self._counts if count >= self.num_taken)
        rows = self._resized(count, next(known for known in self._lengths if known >= length))
        taken = {row for seat in self._seats for row in seat.rows}
        free = iter(row for row in range(count) if row not in taken)
        for seat in self._seats:
            if not seat.rows:
                seat.rows = tuple(next(free) for _ in seat.job.texts)
                for row, text in zip(seat.rows, seat.job.texts, strict=True):
                    rows = _write_row(rows, np.int32(row), self._new_row(seat.job, text))
        who = count, [(seat, seat.rows) for seat in self._seats]
        images = self._drawing.images if who == self._wired else self._images(count, self._seats)
        self._drawing, self._wired = _drawing(rows, images), who

    def _resized(self, count: int, length: int) -> RowArrays:
        rows = _arrays(self._drawing)
        length_before = self._drawing.state.cache[0].keys.shape[2]
        if length < length_before:
            rows = _with_length(rows, length)
        if count != self._drawing.codes.shape[0]:
            stay = [seat for seat in self._seats if seat.rows]
            kept = [row for seat in stay for row in seat.rows]
            rows = _take_rows(rows, np.array(kept + [0] * (count - len(kept)), np.int32))
            places = iter(range(count))
            for seat in stay:
                seat.rows = tuple(next(places) for _ in seat.rows)
        if length > length_before:
            rows = _with_length(rows, length)
        return place_rows(self._mesh, rows)

    def _images(self, count: int, seats: list[Seat]) -> Images:
        missing = count - len(seats)
        ends = np.array([(seat.rows[0], seat.rows[-1]) for seat in seats] + [(0, 0)] * missing, np.int32)
        each = [seat.job.sampling for seat in seats] + [sampling_params(1, num_codes=1, seeds=[0])] * missing
        of_row = np.zeros(count, np.int32)
        for image, seat in enumerate(seats):
            of_row[list(seat.rows)] = image
        sampling = jax.tree.map(lambda *values: np.concatenate(values), *each)
        wired = {"row": ends[:, 0], "uncond": ends[:, 1], "sampling": sampling, "of_row": of_row}
        # Where no bit may depend on the company, all are drawn, always.
        wired["count"] = None if self.is_deterministic else np.int32(len(seats))
        return place_rows(self._mesh, Images(**jax.tree.map(jnp.asarray, wired)))

    def _new_row(self, job: CheckedJob, text: Text) -> RowArrays:
        keys_values = self._texts.pop(text.key, None)
        if keys_values is None:
            keys_values = self._text(text.states)
        self._texts[text.key] = keys_values
        while len(self._texts) > self.max_rows // 2 + 1:  # as many requests as there can be images, and no text at all
            self._texts.popitem(last=False)
        position = job.prefix_length
        cache = self._blank_cache
        if position:
            length = next(known for known in self._prefix_lengths if known >= position)
            cache = self._read(keys_values, text.mask, job.codes, length)
        return self._row(keys_values, text.mask, job.codes, position, cache)

    def _text(self, states: np.ndarray) -> tuple[KeysValues, ...]:
        made = _text_keys_values(self.config, self._weights, states[None].astype(self._dtype))
        return place_rows(self._mesh, made)

    def _read(self, text: tuple[KeysValues, ...], mask: np.ndarray, codes: np.ndarray, length: int):
        """The cache that the first `length` codes leave; those that are to be drawn do not matter yet."""
        prefix = np.maximum(codes[None, :length], 0)
        read = _read_prefix(self.config, self._weights, text, mask[None].astype(bool), prefix)
        return place_rows(self._mesh, read)

    def _row(self, text: tuple[KeysValues, ...], mask: np.ndarray, codes: np.ndarray, position: int, cache):
        state = DecodeState(
            position=jnp.asarray(np.array([position], np.int32)),
            cache=cache,
            text=text,
            text_mask=jnp.asarray(mask[None].astype(bool)),
        )
        return place_rows(self._mesh, (state, jnp.asarray(codes[None]), jnp.zeros((1, codes.size), bool)))

    def _blank(self, count: int, length: int) -> RowArrays:
        """Rows that nobody has: at their end, with nothing to look at."""
        config, text_length = self.config, self.config.max_text_length
        state = DecodeState(
            position=jnp.full(count, config.image_length, jnp.int32),
            cache=empty_cache(config, count, length, self._dtype),
            text=empty_cache(config, count, text_length, self._dtype),
            text_mask=jnp.ones((count, text_length), bool),
        )
        shape = count, config.image_length
        return place_rows(self._mesh, (state, jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool)))


def _drawing(rows: RowArrays, images: Images) -> Drawing:
    state, codes, near_ties = rows
    return Drawing(state=state, codes=codes, near_ties=near_ties, images=images)


def _arrays(drawing: Drawing) -> RowArrays:
    return drawing.state, drawing.codes, drawing.near_ties


_text_keys_values = partial(jax.jit, static_argnums=0)(text_keys_values)


@partial(jax.jit, static_argnums=0)
def _read_prefix(config, weights, text, text_mask, codes):
    """As long as any cache, so that one program writes them all."""
    missing = config.image_length - codes.shape[1]
    read = read_prefix(config, weights, text, text_mask, codes)
    return jax.tree.map(lambda leaf: jnp.pad(leaf, ((0, 0), (0, 0), (0, missing), (0, 0))), read)


@partial(jax.jit, donate_argnums=0)
def _write_row(rows, row, one):
    one = _with_length(one, rows[0].cache[0].keys.shape[2])
    return jax.tree.map(lambda all, new: jax.lax.dynamic_update_slice_in_dim(all, new, row, 0), rows, one)


@jax.jit
def _take_rows(rows, which):
    return jax.tree.map(lambda leaf: leaf[which], rows)


@partial(jax.jit, static_argnums=1)
def _with_length(rows, length):
    def fit(leaf):
        missing = length - leaf.shape[2]
        if missing <= 0:
            return leaf[:, :, :length]
        return jnp.pad(leaf, ((0, 0), (0, 0), (0, missing), (0, 0)))

    state, *others = rows
    return replace(state, cache=jax.tree.map(fit, state.cache)), *others
