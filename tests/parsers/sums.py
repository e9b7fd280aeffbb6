"""Secure sums: shares, uploads and what is kept of a round."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from federation import (
    secure_sums,
)
from secure_compute.secagg import memory, ratchet, sharing, unmasking, upload
from secure_compute.secagg import messages as sums
from secure_compute.secagg.epoch import EpochKey, Member
from secure_compute.secagg.params import Parameters
from secure_compute.secagg.ring import Ring
from secure_compute.secagg.terms import Terms as SumTerms
from tests import masked
from tests.parsers.making import Parser, objects, of_mapping, of_value


@cache
def _round() -> Any:
    """A cohort, what it uploads, a request to open, an answer to it and states of both sides."""
    from secure_compute.secagg import aggregator

    made = masked.cohort(4, dimension=6)
    state, asked, sent = aggregator.Gathering(terms=made.terms), (), []
    for name, vector in masked.vectors(made).items():
        sent.append(made.submit(name, vector))
        state, asked = aggregator.receive(state, sent[-1])
    requests, openings = [*asked], []
    while state.phase is not aggregator.Phase.OPENED:
        said = [made.answer(name, request) for name, request in asked]
        openings = [message for message in said if message.kind is sums.Kind.OPEN]
        for message in said:
            state, asked = aggregator.receive(state, message)
        requests += asked
    return made, sent, requests, openings, state


def parsers() -> Iterator[Parser]:
    of = "secure_compute.secagg"
    cohort = masked.cohort(4, dimension=6)
    terms = cohort.terms
    sent, asked, opened = (lambda at=at: _round()[at] for at in (1, 2, 3))
    yield Parser((f"{of}.epoch.EpochKey.read",), EpochKey.read, lambda: [epoch_key()])
    yield Parser(
        (f"{of}.epoch.Member.from_json",), of_value(Member.from_json), objects(terms.members[0])
    )
    yield Parser((f"{of}.terms.Terms.from_json",), of_value(SumTerms.from_json), objects(terms))
    yield Parser(
        (f"{of}.params.Parameters.from_json",),
        of_mapping(Parameters.from_json),
        objects(terms.parameters),
    )
    yield Parser(
        (f"{of}.messages.Message.read", f"{of}.upload.read"),
        lambda wire: upload.read(terms, sums.Message.read(wire, terms)),
        lambda: [message.to_bytes(terms) for message in sent()],
    )
    yield Parser(
        (f"{of}.messages.Request.read",),
        sums.Request.read,
        lambda: [request.to_bytes() for _, request in asked()],
    )
    yield Parser(
        (f"{of}.unmasking.read_opening",),
        lambda wire: unmasking.read_opening(terms, sums.Message.read(wire, terms), terms.cohort),
        lambda: [message.to_bytes(terms) for message in opened()],
    )
    yield Parser(
        (f"{of}.memory.node_from_bytes",),
        memory.node_from_bytes,
        lambda: [memory.node_to_bytes(node) for node in _round()[0].nodes.values()],
    )
    yield Parser(
        (f"{of}.memory.gathering_from_bytes",),
        memory.gathering_from_bytes,
        lambda: [memory.gathering_to_bytes(_round()[4])],
    )
    yield Parser(
        (f"{of}.ring.Ring.unpack", f"{of}.ring.Ring.require"),
        lambda data: [Ring(bits).unpack(data, 6) for bits in (20, 32)],
        lambda: [Ring(bits).pack(np.arange(6, dtype=Ring(bits).dtype)) for bits in (20, 32)],
    )
    yield Parser((f"{of}.sharing.from_bytes",), sharing.from_bytes, lambda: [sharing.to_bytes(5)])
    key, head = bytes(32), bytes(32)
    yield Parser(
        (f"{of}.ratchet.open_share", "secure_compute.primitives.sealing.open_sealed"),
        lambda sealed: ratchet.open_share(key, head, "a", "b", sealed),
        lambda: [ratchet.seal_share(key, head, "a", "b", bytes(32))],
    )
    yield Parser(
        ("federation.secure_sums.unpack_keys",),
        secure_sums.unpack_keys,
        lambda: [secure_sums.pack_keys([epoch_key(), b""])],
    )


def epoch_key() -> bytes:
    return masked.epoch_key("node-000", masked.roster(masked.names(4))).to_bytes()
