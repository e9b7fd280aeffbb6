"""Killed between any two messages: what is read back goes on with the same bytes, or withdraws."""

import numpy as np
import pytest

from secure_compute.errors import LocalProtocolError, RoundUsedError
from secure_compute.secagg import aggregator
from secure_compute.secagg.aggregator import Gathering, Phase
from secure_compute.secagg.memory import (
    gathering_from_bytes,
    gathering_to_bytes,
    node_from_bytes,
    node_to_bytes,
)
from secure_compute.secagg.messages import Kind, Message, Request
from tests.masked import cohort, names, speaks, vectors, wanted

SILENT = {Kind.UPLOAD: {"node-006"}, Kind.REVEAL: {"node-005"}}


def play_on_disk(made, inputs, silent, dies):
    """Every message as bytes; whoever `dies(step)` names is read back from its bytes before it.

    Returns the last state of the aggregator and all bytes that were sent, in order.
    """
    wires, step = [], 0
    state, asked = Gathering(terms=made.terms), ()

    def perhaps_die(party):
        nonlocal state, step
        step += 1
        if dies(step):
            made.nodes[party] = node_from_bytes(node_to_bytes(made.nodes[party]))
            state = gathering_from_bytes(gathering_to_bytes(state))

    def send(message):
        nonlocal state, asked
        wire = message.to_bytes(made.terms)
        wires.append(wire)
        state, asked = aggregator.receive(state, Message.read(wire, made.terms))

    for party, vector in inputs.items():
        perhaps_die(party)
        if speaks(party, Kind.UPLOAD, silent):
            send(made.submit(party, vector))
    while state.phase not in (Phase.OPENED, Phase.ABANDONED):
        before = state.phase, state.survivors
        for party, request in asked or aggregator.requests(state):
            wires.append(request.to_bytes())
            perhaps_die(party)
            if speaks(party, request.kind, silent):
                send(made.answer(party, Request.read(wires[-1])))
        if (state.phase, state.survivors) == before:
            state, asked = aggregator.close(state)
    return state, wires


def test_a_kill_between_any_two_messages_changes_not_one_byte():
    for silent in ({}, {Kind.OPEN: {"node-001"}}, SILENT):
        made = cohort(7)
        inputs = vectors(made)
        state, wires = play_on_disk(made, inputs, silent, lambda _: False)
        result = aggregator.combine(state, made.expand)
        assert np.array_equal(result.values, wanted(made, inputs, result))
        for killed in (None, *range(1, 30, 5)):
            again = cohort(7)
            dies = (lambda step, at=killed: step == at) if killed else (lambda _: True)
            other, same = play_on_disk(again, inputs, silent, dies)
            assert same == wires
            assert other == state
            assert again.nodes == made.nodes


def test_an_answer_that_was_lost_is_made_again_whether_or_not_the_state_was_written():
    made = cohort(4)
    for party, vector in vectors(made).items():
        made.submit(party, vector)
    for kind in (Kind.REVEAL, Kind.CERTIFY, Kind.OPEN):
        request = made.request(kind, names(4), names(4) if kind is Kind.OPEN else ())
        written = made.nodes["node-000"]
        lost = made.answer("node-000", request)
        assert made.answer("node-000", request) == lost
        made.nodes["node-000"] = node_from_bytes(node_to_bytes(written))
        assert made.answer("node-000", request) == lost


def test_an_upload_that_was_lost_is_not_made_again():
    made = cohort(4)
    made.submit("node-000", np.zeros(5, np.int64))
    made.nodes["node-000"] = node_from_bytes(node_to_bytes(made.nodes["node-000"]))
    with pytest.raises(RoundUsedError):
        made.submit("node-000", np.zeros(5, np.int64))
    made.withdraw("node-000")


def test_states_of_every_kind_have_one_spelling():
    made = cohort(4)
    states = [made.nodes["node-000"]]
    for party, vector in vectors(made).items():
        made.submit(party, vector)
    for kind in (Kind.REVEAL, Kind.CERTIFY, Kind.OPEN):
        made.answer("node-000", made.request(kind, names(4), names(4) if kind is Kind.OPEN else ()))
        states.append(made.nodes["node-000"])
    for state in states:
        data = node_to_bytes(state)
        assert node_from_bytes(data) == state
        assert node_to_bytes(node_from_bytes(data)) == data


def test_a_damaged_state_is_refused():
    made = cohort(4)
    state, _ = aggregator.receive(
        Gathering(terms=made.terms), made.submit("node-000", np.zeros(5, np.int64))
    )
    data, stored = node_to_bytes(made.nodes["node-000"]), gathering_to_bytes(state)
    for bad in (
        b"", b"{}", data[:-1], data + b" ", data.replace(b'"position":1', b'"position":true'),
        data.replace(b'"v":1', b'"v":2'), data.replace(b'"share":"', b'"share":"zz'),
        data.replace(b'"round":{', b'"round":{"more":1,'), b"[1]",
    ):  # fmt: skip
        with pytest.raises(LocalProtocolError, match="stored state"):
            node_from_bytes(bad)
    for bad in (
        b"", b"\0\0\0\x02{}", stored[:-1], stored + b"\0",
        stored.replace(b"collecting", b"collected"), stored.replace(b'"reason":""', b'"reason":1'),
    ):  # fmt: skip
        with pytest.raises(LocalProtocolError, match="stored state"):
            gathering_from_bytes(bad)
