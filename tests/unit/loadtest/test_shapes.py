import pytest

from loadtest.shapes import SHAPES, diurnal, ramp, spike, step

SHARES = [place / 100 for place in range(101)]


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_stays_between_nothing_and_the_peak_and_reaches_it(name: str):
    values = [SHAPES[name](share) for share in SHARES]
    assert min(values) >= 0 and max(values) == pytest.approx(1.0)


def test_each_is_what_its_name_says():
    assert {step(share) for share in SHARES} == {0.0, 1.0}
    assert [ramp(0.2), ramp(0.6), ramp(1.0)] == pytest.approx([0.5, 0.5, 0.0])
    assert sum(spike(share) == 1.0 for share in SHARES) == 10
    assert diurnal(0.0) == diurnal(1.0) == pytest.approx(0.0)
