"""Where the recorded goldens are."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of the tiny models and their goldens."""
    return Path(__file__).parent / "fixtures"
