"""Two ways in turns: medians of both, and of the ratios of each round."""

from model_core.bench.comparison import compared, in_turns


def test_the_ratio_is_the_median_of_the_rounds():
    one = compared("time, s", [(1.0, 3.0), (2.0, 2.0), (4.0, 8.0)])
    assert (one.first, one.second, one.ratio) == (2.0, 3.0, 2.0)


def test_ways_begin_in_turn():
    order = []

    def way(name, value):
        def measure():
            order.append(name)
            return value

        return measure

    assert in_turns(way("a", 1.0), way("b", 2.0), 3) == [(1.0, 2.0)] * 3
    assert order == ["a", "b", "b", "a", "a", "b"]
