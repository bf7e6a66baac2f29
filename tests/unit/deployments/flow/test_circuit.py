from types import SimpleNamespace

from deployments.flow.circuit import Circuit


def test_only_failures_in_a_row_open_it():
    circuit = Circuit(max_failures=2)
    for _ in range(5):
        circuit.failed()
        circuit.succeeded()
    assert circuit.allows()
    circuit.failed()
    assert circuit.allows()
    circuit.failed()
    assert not circuit.allows()


def test_after_a_while_one_call_tries_and_its_outcome_decides():
    clock = SimpleNamespace(now=100.0)
    circuit = Circuit(max_failures=1, open_s=30, clock=lambda: clock.now)
    circuit.failed()
    clock.now += 29
    assert not circuit.allows()
    clock.now += 1
    assert [circuit.allows(), circuit.allows()] == [True, False]
    circuit.failed()
    clock.now += 29
    assert not circuit.allows()
    clock.now += 1
    assert circuit.allows()
    circuit.succeeded()
    assert [circuit.allows(), circuit.allows()] == [True, True]


def test_a_try_that_never_ends_does_not_keep_it_open_for_ever():
    clock = SimpleNamespace(now=0.0)
    circuit = Circuit(max_failures=1, open_s=30, clock=lambda: clock.now)
    circuit.failed()
    clock.now = 30.0
    assert circuit.allows()
    clock.now = 60.0
    assert circuit.allows()
