import pytest

from deployments import host


@pytest.mark.parametrize(
    ("address", "loopback"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False)]
)
def test_loopback(address: str, loopback: bool):
    assert host.is_loopback(address) == loopback


def test_a_free_port_is_free():
    assert host.is_free("127.0.0.1", host.free_port())
