"""The decoder's bench decodes what it is asked to."""

from model_core.bench.decoder import bench_decoder


def test_twice_the_images_are_twice_the_arithmetic(round_machine, small_models):
    one, two = bench_decoder("mini", [1, 2], repeats=1).measurements
    assert (one.images, two.images) == (1, 2)
    assert one.seconds > 0
    assert 1.9 < two.limit_s / one.limit_s < 2.1
