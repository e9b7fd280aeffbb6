"""Fixtures of the tests of this folder."""

import pytest

from federation.messages import Kind
from tests.witnessing import ENOUGH, offered, words


@pytest.fixture
def order(simulation):
    return simulation.training()


@pytest.fixture
def accepted(simulation, order):
    """An order that a node accepted, and the head that it wants cosigned."""
    reply = offered(simulation, order, seen=words(simulation, *ENOUGH))
    assert reply.kind is Kind.ACCEPTED
    return reply.blobs["head"]
