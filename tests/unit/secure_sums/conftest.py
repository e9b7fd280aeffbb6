"""Fixtures of the tests of this folder."""

import pytest

from secure_compute import skellam
from tests.secure_sums import LIMITS, ONE_LAW
from tests.simulator import Simulation


@pytest.fixture
def simulation(tmp_path):
    return Simulation(tmp_path / "federation", limits=LIMITS, seats=ONE_LAW)


@pytest.fixture
def drawn(monkeypatch):
    """Every draw of noise, by its variance, in order."""
    draws = []
    real = skellam.draw

    def watched(variance, size, seed):
        draws.append((variance, real(variance, size, seed)))
        return draws[-1][1].copy()

    monkeypatch.setattr(skellam, "draw", watched)
    return draws
