"""The reporter of energy."""

import pytest

from deployments.telemetry import energy


def test_a_replica_starts_where_nothing_measures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(energy, "find_meter", lambda: None)
    energy.report()
