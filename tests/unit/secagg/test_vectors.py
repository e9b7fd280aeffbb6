"""Pinned bytes: the product, a second implementation and the files agree to the last one."""

import json

import numpy as np
import pytest

from secure_compute import errors
from secure_compute.errors import LocalProtocolError
from secure_compute.secagg import aggregator
from secure_compute.secagg.aggregator import Gathering, Phase
from secure_compute.secagg.messages import Message, Request
from secure_compute.secagg.params import Parameters
from tests.masked import cohort, names
from tests.secagg_reference import FOLDER, make
from tests.seeded import SeededEntropy


def read(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def by_name(rows):
    return pytest.mark.parametrize("case", rows, ids=[row["name"] for row in rows])


def cohort_of(case):
    made = cohort(
        case["n"], case["c"], threshold=case["t"], ring_bits=case["ring_bits"],
        dimension=case["dimension"], session=case["session"], number=case["round"],
    )  # fmt: skip
    made.entropy = SeededEntropy(case["entropy"])
    return made


def test_the_second_implementation_makes_the_files():
    made = make()
    assert made == {name: read(name) for name in made}


@by_name(read("good"))
def test_a_round_byte_by_byte(case):
    made = cohort_of(case)
    assert made.terms.digest == case["terms"]
    state, asked, wires = Gathering(terms=made.terms), (), {}
    for party, wire in zip(
        [name for name in names(case["n"]) if name not in case["missing"]],
        case["upload"],
        strict=True,
    ):
        message = made.submit(party, np.array(case["inputs"][party], np.int64))
        assert message.to_bytes(made.terms).hex() == wire
        state, asked = aggregator.receive(state, Message.read(bytes.fromhex(wire), made.terms))
    if case["missing"]:
        state, asked = aggregator.close(state)
    for phase, request in zip(("reveal", "certify", "open"), case["requests"], strict=True):
        if phase == "reveal" and not case["missing"]:
            continue
        assert {one.to_bytes().hex() for _, one in asked} == {request}
        wires[phase] = []
        for party, _ in asked:
            message = made.answer(party, Request.read(bytes.fromhex(request)))
            wires[phase].append(message.to_bytes(made.terms).hex())
            state, asked = aggregator.receive(state, message)
        assert wires[phase] == case[phase]
    assert state.phase is Phase.OPENED
    assert aggregator.combine(state, made.expand).values.tolist() == case["sum"]


@by_name(read("bad_requests"))
def test_a_node_refuses(case):
    made = cohort_of(read("good")[2])
    made.submit("node-000", np.zeros(made.terms.dimension, np.int64))
    before = made.nodes["node-000"]
    with pytest.raises(getattr(errors, case["error"])) as told:
        made.answer("node-000", Request.read(bytes.fromhex(case["wire"])))
    assert type(told.value).__name__ == case["error"]
    assert made.nodes["node-000"] == before


@by_name(read("bad_messages"))
def test_an_aggregator_refuses(case):
    made = cohort_of(read("good")[2])
    state = Gathering(terms=made.terms)
    with pytest.raises(getattr(errors, case["error"])) as told:
        aggregator.receive(state, Message.read(bytes.fromhex(case["wire"]), made.terms))
    assert type(told.value).__name__ == case["error"]


@by_name(read("bad_parameters"))
def test_nobody_constructs(case):
    numbers = {name: number for name, number in case.items() if name != "name"}
    with pytest.raises(LocalProtocolError, match="protect nobody"):
        Parameters(**numbers)
