"""A secure sum over simulated nodes, for several tests."""

import dataclasses

from experiments.founding import DEMO_SEATS
from federation.secure_sums import (
    pack_keys,
)
from policies.parties import Jurisdiction
from tests.simulator import sum_recipe

EVENT = sum_recipe(nodes=4).event()

LIMITS = {
    "orders": {"epsilon": "6.5", "delta": "1e-6"},
    "demand": {"epsilon": "6.5", "delta": "1e-6"},
}

ONE_LAW = tuple(dataclasses.replace(seat, jurisdiction=Jurisdiction.EU) for seat in DEMO_SEATS)
"""Eight nodes under one law, so that all of them may take part in one sum."""


def holders(simulation):
    return tuple(member.party for member in simulation.home.holders())


def begun(simulation, **changes):
    """An order that all accepted, its keys, and the letter of the first round."""
    order = simulation.summing(**changes)
    replies = {party: simulation.offer(party, order) for party in order.cohort}
    keys = pack_keys([reply.blobs["epoch_key"] for reply in replies.values()])
    return order, keys
