"""Fixtures of the tests of this folder."""

import pytest

import clients.node
from tests.joint_questions import width


@pytest.fixture
def fixed(monkeypatch):
    """Every node's cells are its place in the cohort, and nothing else."""

    def cells(order, *_):
        fixed.asked += 1
        return tuple(range(fixed.width(order)))

    fixed = type("Fixed", (), {"asked": 0, "width": staticmethod(width)})()
    monkeypatch.setattr(clients.node, "noised_cells", cells)
    return fixed
