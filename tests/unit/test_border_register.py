"""The rule a node's ledger names for a letter: personal is whoever a contract names anywhere."""

import dataclasses

import pytest

from policies.contracts import FurtherUnit
from policies.parties import Jurisdiction
from tests.simulator import CN, Simulation


@pytest.mark.parametrize(("kind", "free"), [("customer", False), ("order", False), (None, True)])
def test_a_person_among_the_further_units_makes_a_letter_personal(
    simulation: Simulation, kind: str | None, free: bool
) -> None:
    node = simulation.node(CN)
    recorder, contracts = node._recorder, dict(node._judge.contracts)
    demand = contracts["demand"]
    assert demand.unit.kind == "commercial"
    buyers = FurtherUnit(
        kind=kind or "commercial",  # type: ignore[arg-type]
        columns=demand.unit.columns,
        subjects="buyers",
        limit=demand.limit,
    )
    recorder.began({**contracts, "demand": dataclasses.replace(demand, also=(buyers,))})
    order = simulation.training()
    reply = dataclasses.make_dataclass("Letter", ["recipient"])(simulation.home.analyst)
    assert simulation.roster.find(reply.recipient).jurisdiction is not Jurisdiction.CN
    assert (recorder._rule(reply, order) == "CN-FREE") is free
    assert recorder._rule(reply, None) == "CN-FREE"  # a letter without figures
    unknown = dataclasses.replace(order, contract="of another time")
    assert recorder._rule(reply, unknown) != "CN-FREE"
