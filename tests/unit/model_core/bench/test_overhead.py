"""The engine and the bare loop do the same work."""

from model_core.bench.overhead import bench_overhead


def test_both_draw_as_many_images(round_machine, small_models):
    report = bench_overhead("mini", [1, 2], deterministic=True, repeats=2)
    assert report.ways == ("bare loop", "engine")
    assert [one.what for one in report.comparisons] == ["1 at a time, s", "2 at a time, s"]
    assert all(one.first > 0 and one.second > 0 for one in report.comparisons)
