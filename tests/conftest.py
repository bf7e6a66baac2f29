"""What every test runs under: no network, one CPU device, signals as a terminal's programs have them, and jaxtyping's
annotations checked by beartype.

The checks happen in tests only, while JAX traces; in production the annotations cost nothing.
"""

import os
import signal
from collections.abc import Iterator

import jaxtyping
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The tests compile much and compute little.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("GLIBC_TUNABLES", "")  # a setting of the user's: training in this process leaves its allocator

from jaxtyping import install_import_hook

import tests.typechecking  # the hook below looks it up by name

install_import_hook("model_core", f"{tests.typechecking.__name__}.check")  # before anything imports it

# Under nohup, or behind a shell's `&`, some are ignored, which every process that is started inherits.
for number, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Annotations as in production, unchecked: for tests of what a value of the wrong type meets there."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
