"""What XLA compiles is counted, for the thread that watches and while it watches."""

import threading

import jax
import jax.numpy as jnp

from model_core.sampler.compile_counter import CompileCounter


def test_only_new_programs_of_the_watching_thread_count():
    counter = CompileCounter()
    double = jax.jit(lambda x: 2 * x)
    one, three = jnp.ones(1), jnp.ones(3)

    def elsewhere() -> None:
        jax.jit(lambda x: x - 5)(one).block_until_ready()

    with counter.watch():
        double(one).block_until_ready()
        assert counter.count == 1
        double(one + 0).block_until_ready()
        known = counter.count
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert counter.count == known
    double(three).block_until_ready()
    assert counter.count == known
