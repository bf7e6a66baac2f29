import pytest

from deployments.errors import Overloaded, ShuttingDown
from deployments.gateway.admission import MAX_RETRY_AFTER_S, Admission


class Clock:
    """Stands still until told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_places_are_given_back_whatever_happens():
    admission = Admission(4, 4)
    with admission.admit(3):
        assert admission.pending_images == 3
    with pytest.raises(RuntimeError), admission.admit(4):
        raise RuntimeError
    assert admission.pending_images == 0


def test_what_does_not_fit_is_refused_and_holds_no_place():
    admission = Admission(4, 4)
    with admission.admit(3):
        said = "3 images are waiting to be drawn, and 4 may; there is room for 1, and this request wants 2"
        with pytest.raises(Overloaded, match=said), admission.admit(2):
            pass
        with admission.admit(1):
            assert admission.pending_images == 4
        assert admission.pending_images == 3


def test_the_wait_follows_the_pace_and_the_room_that_is_missing():
    def wait_after(seconds_an_image: float, missing: int = 1) -> int:
        clock = Clock()
        admission = Admission(10, 10, clock)
        for _ in range(20):
            with admission.admit(1):
                clock.now += seconds_an_image
        with admission.admit(10), pytest.raises(Overloaded) as refused, admission.admit(missing):
            pass
        return refused.value.retry_after_s

    assert wait_after(2.0) == 2
    assert wait_after(2.0, missing=10) == 20
    assert wait_after(0.001) == 1
    assert wait_after(1000.0) == MAX_RETRY_AFTER_S


def test_images_that_are_drawn_side_by_side_count_together():
    clock = Clock()
    admission = Admission(10, 10, clock)
    for _ in range(20):
        with admission.admit(5), admission.admit(5):
            clock.now += 10.0
    with admission.admit(10), pytest.raises(Overloaded) as refused, admission.admit(10):
        pass
    assert refused.value.retry_after_s == pytest.approx(10, abs=5)  # ten images in ten seconds


def test_a_closed_door_keeps_who_is_in():
    admission = Admission(4, 4)
    with admission.admit(1):
        admission.close()
        with pytest.raises(ShuttingDown, match="being stopped"), admission.admit(1):
            pass
        assert admission.pending_images == 1
    assert admission.pending_images == 0


def test_batch_work_takes_nobodys_place():
    admission = Admission(4, 6)
    with admission.admit(6, is_batch=True):
        with (
            pytest.raises(Overloaded, match="6 batch images are waiting to be drawn, and 6 may"),
            admission.admit(1, True),
        ):
            pass
        with admission.admit(4):
            assert admission.pending_images == 10
            with pytest.raises(Overloaded, match="4 images are waiting"), admission.admit(1):
                pass
    assert admission.pending_images == 0
    admission.limit(1, 1)
    for is_batch in (False, True):
        with pytest.raises(Overloaded), admission.admit(2, is_batch):
            pass
