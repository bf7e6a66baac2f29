import asyncio

import numpy as np
import pytest

from deployments.flow.previews import Previews, fill


def test_codes_to_come_repeat_the_last_whole_row():
    codes = np.array([1, 2, 3, 4, 5, -1, -1, -1, -1], np.int32)
    filled, num_codes = fill(codes, 3)
    assert num_codes == 3
    assert filled.tolist() == [1, 2, 3, 4, 5, 3, 1, 2, 3]
    assert filled.dtype == codes.dtype


@pytest.mark.parametrize("fixed", [3, 5, 8])
def test_fixed_codes_further_down_stay(fixed: int):
    codes = np.array([1, 2, 3, -1, -1, -1, -1, -1, -1], np.int32)
    codes[fixed] = 7
    filled, num_codes = fill(codes, 3)
    assert (filled[fixed], num_codes) == (7, 3)
    assert (filled >= 0).all()


def test_a_whole_picture_is_left_as_it_is():
    codes = np.arange(4, dtype=np.int32)
    filled, num_codes = fill(codes, 2)
    assert num_codes == 4
    assert filled.tolist() == [0, 1, 2, 3]


def test_rows_need_not_be_as_long_as_the_picture_is_high():
    filled, num_codes = fill(np.array([1, 2, 3, -1, -1, -1, -1, -1], np.int32), 2)
    assert num_codes == 2
    assert filled.tolist() == [1, 2, 3, 2, 1, 2, 1, 2]


def test_what_is_repeated_is_the_last_row_that_is_whole():
    filled, num_codes = fill(np.array([1, 2, 3, 4, 5, -1, -1, -1], np.int32), 2)
    assert num_codes == 4
    assert filled.tolist() == [1, 2, 3, 4, 5, 4, 3, 4]


def test_a_preview_that_nobody_has_read_yet_is_the_only_one_of_its_image():
    async def check() -> None:
        async def decode(codes: np.ndarray) -> np.ndarray:
            return codes

        async with Previews(decode, 1) as previews:
            for known in (1, 2):
                previews.offer(0, np.where(np.arange(4) < known, 7, -1))
                await asyncio.gather(*previews._tasks.values())
            previews.close()
            first = await previews.next()
            assert first is not None and first.num_codes == 1
            assert await previews.next() is None

    asyncio.run(check())
