"""Signals kept until something may be broken off."""

import os
import signal
import threading

import jax
import jax.numpy as jnp
import pytest

from model_core.training.signals import signals_kept

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def handlers() -> list:
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_becomes_a_question_and_the_second_one_is_obeyed(number: signal.Signals):
    obeyed, before = [], signal.getsignal(number)
    signal.signal(number, lambda *_: obeyed.append(1))
    try:
        with signals_kept() as interrupted:
            assert not interrupted()
            os.kill(os.getpid(), number)
            assert interrupted() and not obeyed
            os.kill(os.getpid(), number)
            assert obeyed
    finally:
        signal.signal(number, before)


def test_signals_mean_again_what_they_meant_before():
    before = handlers()
    with signals_kept(), signals_kept():
        assert handlers() != before
    assert handlers() == before
    with signals_kept() as interrupted:
        assert not interrupted()


def test_what_came_before_the_inner_one_began_is_not_lost():
    with signals_kept():
        os.kill(os.getpid(), signal.SIGTERM)
        with signals_kept() as interrupted:
            assert interrupted()


def test_nothing_is_raised_in_the_middle_of_tracing():
    def stopped_here(x: jax.Array) -> jax.Array:
        os.kill(os.getpid(), signal.SIGTERM)
        return x + 1

    with signals_kept() as interrupted:
        assert jax.eval_shape(stopped_here, jnp.zeros(3)).shape == (3,)
        assert interrupted()


def test_another_thread_takes_no_signals():
    before, seen = handlers(), []

    def work() -> None:
        with signals_kept() as interrupted:
            seen.append((handlers(), interrupted()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=60)
    assert seen == [(before, False)]
