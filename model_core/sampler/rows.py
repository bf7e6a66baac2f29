"""The rows that the engine draws, on the device: jobs take rows, all rows go on together, jobs leave between steps.

Shapes come from a short list, all compiled by `warm_up`: how many rows are computed, and how many blocks of keys and
values they have together. Where results must not depend on the company, each list has one entry.
One thread at a time may use it. Knows nothing of threads, queues, deadlines, or who asks.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Int32

from model_core.families.dalle_bart.decoder import (
    DecoderWeights,
    DecodeState,
    block_size,
    blocks_for,
    empty_cache,
    read_prefix,
    text_keys_values,
)
from model_core.families.dalle_bart.layers import BlockTable, KeysValues
from model_core.families.dalle_bart.network import DalleBartConfig
from model_core.sampler.compile_counter import CompileCounter
from model_core.sampler.decode_loop import Drawing, Images, draw_next
from model_core.sampler.sampling import sampling_params
from model_core.sampler.sequence import CheckedJob, SamplerJob, Text, check_job
from model_core.weights.sharding import mesh_of, place_rows

Cache = tuple[KeysValues, ...]

MANY_ROWS = 16


@dataclass(slots=True, eq=False)
class Seat:
    """A job's place.

    Attributes:
      rows: which it has, the conditional one first; none before its first `advance`.
      blocks: which each of its rows has, in the order of its parts.
      codes: as they are after the last `advance`.
      position: so many codes are there from the first on.
      near_ties: which of the codes drawn so far won by less than `sampling.NEAR_TIE`.
    """

    job: CheckedJob
    codes: Int32[np.ndarray, " N"]
    position: int
    near_ties: Bool[np.ndarray, " N"]
    rows: tuple[int, ...] = ()
    blocks: tuple[list[int], ...] = ()


class RowArrays(NamedTuple):
    """What the device keeps of R rows, but for what lies in blocks; as `DecodeState` and `Drawing` have it."""

    position: Int[Array, " R"]
    text: Cache
    text_mask: Bool[Array, "R T"]
    codes: Int[Array, "R N"]
    near_ties: Bool[Array, "R N"]


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
          deterministic: always compute `max_rows` rows and all blocks, so that no bit of a job depends on others.
        """
        self.config, self.num_codes, self.max_rows = config, num_codes, max_rows
        self._parts = blocks_for(config, config.image_length)
        whole = {max_rows: [max_rows * self._parts]}
        self._sizes = whole if deterministic else _sizes(max_rows, self._parts)  # of each count of rows, in blocks
        self.is_deterministic = deterministic
        self._weights = weights
        self._mesh = mesh_of(weights)
        self._dtype = weights.shared["lm_head"]["kernel"].dtype
        self._compiles = CompileCounter()
        self.num_near_ties = 0
        self._seats: list[Seat] = []
        self._texts: OrderedDict[bytes, Any] = OrderedDict()  # the most recently used last
        self._drawing = self._blank(*self._shape_for(2, 0))
        self._seated: Any = None  # what `images` on the device tells of

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
            self._fit(steps)
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
        reads = [self._read(text, mask, codes, part * block_size(self.config)) for part in range(1, self._parts + 1)]
        one = self._row(text, mask, codes, 0)
        for count, sizes in self._sizes.items():
            for size in sizes:
                blank = self._blank(count, size)
                rows = _write_row(_row_arrays(blank), np.int32(0), one)
                cache = _write_blocks(blank.state.cache, _padded([], self._parts, size), reads[-1])
                blank = _drawing(rows, cache, blank.state.table, blank.images)
                jax.block_until_ready(draw_next(self.config, self._weights, blank))
        for before, after in permutations(self._sizes, 2):
            _take(self._blank_rows(before), np.zeros(after, np.int32))
        for before, after in permutations({size for sizes in self._sizes.values() for size in sizes}, 2):
            _take(self._blank_cache(before)[:1], np.zeros(after, np.int32))  # all layers are alike

    def _fit(self, steps: int) -> None:
        """Brings jobs that have joined onto the device, and gives all the blocks that so many steps need.

        The shape becomes the smallest that holds them.
        """
        length = self.config.image_length
        needs = [blocks_for(self.config, min(seat.position + steps, length)) for seat in self._seats]
        total = sum(need * len(seat.job.texts) for seat, need in zip(self._seats, needs, strict=True))
        count, size = self._shape_for(self.num_taken, total)
        rows, cache = self._resized_rows(count), self._resized_cache(size)
        new = [seat for seat in self._seats if not seat.rows]
        self._give_places(count, size, needs)
        for seat in new:
            rows, cache = self._write(rows, cache, seat)
        seated = count, [(seat, seat.rows) for seat in self._seats]
        images = self._drawing.images if seated == self._seated else self._images(count, self._seats)
        self._drawing = _drawing(rows, cache, self._table(count, size, self._seats), images)
        self._seated = seated

    def _shape_for(self, rows: int, blocks: int) -> tuple[int, int]:
        count = next(known for known in self._sizes if known >= rows)
        return count, next(known for known in self._sizes[count] if known >= blocks)

    def _resized_rows(self, count: int) -> RowArrays:
        """The rows that jobs have, as the first of `count`; as they are where there are so many."""
        rows = _row_arrays(self._drawing)
        if count == rows.position.size:
            return rows
        kept = [row for seat in self._seats for row in seat.rows]
        places = iter(range(count))
        for seat in self._seats:
            seat.rows = tuple(next(places) for _ in seat.rows)
        return place_rows(self._mesh, _take(rows, _padded(kept, count)))

    def _resized_cache(self, size: int) -> Cache:
        """The same for blocks."""
        cache = self._drawing.state.cache
        if size == self._drawing.state.table.row.size:
            return cache
        kept = [block for seat in self._seats for blocks in seat.blocks for block in blocks]
        places = iter(range(size))
        for seat in self._seats:
            seat.blocks = tuple([next(places) for _ in blocks] for blocks in seat.blocks)
        return place_rows(self._mesh, _take(cache, _padded(kept, size)))

    def _give_places(self, count: int, size: int, needs: Sequence[int]) -> None:
        """Rows for jobs that have none, and blocks, so many for each row of a job, to all."""
        free_rows = _others(count, [row for seat in self._seats for row in seat.rows])
        free_blocks = _others(size, [block for seat in self._seats for blocks in seat.blocks for block in blocks])
        for seat, need in zip(self._seats, needs, strict=True):
            if not seat.rows:
                seat.rows = tuple(next(free_rows) for _ in seat.job.texts)
                seat.blocks = tuple([] for _ in seat.rows)
            for blocks in seat.blocks:
                blocks += [next(free_blocks) for _ in range(need - len(blocks))]

    def _write(self, rows: RowArrays, cache: Cache, seat: Seat) -> tuple[RowArrays, Cache]:
        """Puts a job that is new into its rows and blocks."""
        job = seat.job
        for row, blocks, text in zip(seat.rows, seat.blocks, job.texts, strict=True):
            keys_values = self._of_text(text)
            one = self._row(keys_values, text.mask, job.codes, job.prefix_length)
            rows = _write_row(rows, np.int32(row), one)
            if job.prefix_length:
                length = blocks_for(self.config, job.prefix_length) * block_size(self.config)
                read = self._read(keys_values, text.mask, job.codes, length)
                none = cache[0].keys.shape[0]
                cache = _write_blocks(cache, _padded(blocks, self._parts, none), read)
        return rows, cache

    def _table(self, count: int, size: int, seats: Sequence[Seat]) -> BlockTable:
        table: dict[str, Any] = {
            "blocks": np.full((count, self._parts), size, np.int32),
            "row": np.zeros(size, np.int32),
            "part": np.full(size, self._parts, np.int32),
        }
        for seat in seats:
            for row, blocks in zip(seat.rows, seat.blocks, strict=True):
                table["blocks"][row, : len(blocks)] = blocks
                table["row"][blocks], table["part"][blocks] = row, np.arange(len(blocks))
        return place_rows(self._mesh, BlockTable(**_to_device(table)))

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
        return place_rows(self._mesh, Images(**_to_device(wired)))

    def _of_text(self, text: Text) -> Cache:
        keys_values = self._texts.pop(text.key, None)
        if keys_values is None:
            keys_values = self._text(text.states)
        self._texts[text.key] = keys_values
        while len(self._texts) > self.max_rows // 2 + 1:  # as many requests as there can be images, and no text at all
            self._texts.popitem(last=False)
        return keys_values

    def _text(self, states: np.ndarray) -> Cache:
        made = _text_keys_values(self.config, self._weights, states[None].astype(self._dtype))
        return place_rows(self._mesh, made)

    def _read(self, text: Cache, mask: np.ndarray, codes: np.ndarray, length: int) -> Cache:
        """Blocks of what the first `length` codes leave; those that are to be drawn do not matter yet."""
        codes = np.pad(codes, (0, max(0, length - codes.size)))  # the last block may be longer than the image
        prefix = np.maximum(codes[None, :length], 0)
        read = _read_prefix(self.config, self._weights, text, mask[None].astype(bool), prefix)
        return place_rows(self._mesh, read)

    def _row(self, text: Cache, mask: np.ndarray, codes: np.ndarray, position: int) -> RowArrays:
        row: dict[str, Any] = {
            "position": np.array([position], np.int32),
            "text_mask": mask[None].astype(bool),
            "codes": codes[None],
            "near_ties": np.zeros((1, codes.size), bool),
        }
        return place_rows(self._mesh, RowArrays(text=text, **row))

    def _blank(self, count: int, size: int) -> Drawing:
        """Rows and blocks that nobody has."""
        rows, cache = self._blank_rows(count), self._blank_cache(size)
        return _drawing(rows, cache, self._table(count, size, []), self._images(count, []))

    def _blank_rows(self, count: int) -> RowArrays:
        """Rows at their end, with nothing to look at."""
        config, text_length = self.config, self.config.max_text_length
        shape = count, config.image_length
        rows = RowArrays(
            position=jnp.full(count, config.image_length, jnp.int32),
            text=empty_cache(config, count, text_length, self._dtype),
            text_mask=jnp.ones((count, text_length), bool),
            codes=jnp.zeros(shape, jnp.int32),
            near_ties=jnp.zeros(shape, bool),
        )
        return place_rows(self._mesh, rows)

    def _blank_cache(self, size: int) -> Cache:
        return place_rows(self._mesh, empty_cache(self.config, size, block_size(self.config), self._dtype))


def _sizes(max_rows: int, parts: int) -> dict[int, list[int]]:
    """Blocks in steps of one for each row; of half a one where there are many rows, and most is to be gained."""
    counts = [*(2**power for power in range(1, max_rows.bit_length()) if 2**power < max_rows), max_rows]
    halves = {count: range(2, 2 * parts + 1, 1 if count == max_rows >= MANY_ROWS else 2) for count in counts}
    return {count: [count * half // 2 for half in halves[count]] for count in counts}


def _others(count: int, taken: Sequence[int]) -> Iterator[int]:
    return iter(sorted(set(range(count)).difference(taken)))


def _padded(numbers: Sequence[int], length: int, padding: int = 0) -> Int32[np.ndarray, " length"]:
    return np.array([*numbers, *[padding] * (length - len(numbers))], np.int32)


def _row_arrays(drawing: Drawing) -> RowArrays:
    state = drawing.state
    return RowArrays(state.position, state.text, state.text_mask, drawing.codes, drawing.near_ties)


def _drawing(rows: RowArrays, cache: Cache, table: BlockTable, images: Images) -> Drawing:
    state = DecodeState(position=rows.position, cache=cache, table=table, text=rows.text, text_mask=rows.text_mask)
    return Drawing(state=state, codes=rows.codes, near_ties=rows.near_ties, images=images)


_to_device = jax.jit(lambda tree: tree)  # takes a fifth of the time that jnp.asarray takes for each leaf


def _take(tree: Any, which: Int32[np.ndarray, " count"]) -> Any:
    """Leaf by leaf: leaves of one shape share a program."""
    return jax.tree.map(lambda leaf: _take_leaf(leaf, which), tree)


_text_keys_values = partial(jax.jit, static_argnums=0)(text_keys_values)
_read_prefix = partial(jax.jit, static_argnums=0)(read_prefix)


@partial(jax.jit, donate_argnums=0)
def _write_row(rows, row, one):
    return jax.tree.map(lambda all, new: jax.lax.dynamic_update_slice_in_dim(all, new, row, 0), rows, one)


@partial(jax.jit, donate_argnums=0)
def _write_blocks(cache, blocks, read):
    return jax.tree.map(lambda all, new: all.at[blocks].set(new, mode="drop"), cache, read)


@jax.jit
def _take_leaf(leaf, which):
    return leaf[which]
