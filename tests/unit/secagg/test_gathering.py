"""The aggregator's side: what is wrong is named, and never becomes part of a sum."""

from dataclasses import replace

import numpy as np
import pytest

from secure_compute.errors import (
    BadSignatureError,
    FaultyPartyError,
    LocalProtocolError,
    PeerProtocolError,
)
from secure_compute.secagg import aggregator, sharing, unmasking
from secure_compute.secagg.aggregator import Gathering, Phase
from secure_compute.secagg.messages import Kind, statement
from tests.masked import cohort, names, play, signing_key, vectors, wanted

ME = "node-000"


def resigned(terms, message, content, survivors=()):
    """The same party signs something else: a fault, and no forgery."""
    said = statement(terms, message.kind, message.party, survivors, content)
    return replace(message, content=content, signature=signing_key(message.party).sign(said))


def flipped(content, at):
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


def until(made, inputs, phase, missing=()):
    """A round up to `phase`, with the requests that are then asked."""
    state, asked = Gathering(terms=made.terms), ()
    for party, vector in inputs.items():
        if party not in missing:
            state, asked = aggregator.receive(state, made.submit(party, vector))
    if missing:
        state, asked = aggregator.close(state)
    while state.phase is not phase:
        for party, request in asked:
            state, asked = aggregator.receive(state, made.answer(party, request))
    return state, asked


# -- arriving --------------------------------------------------------------------------------------


def test_an_upload_is_taken_once_and_a_second_one_is_named():
    made = cohort(4)
    state = Gathering(terms=made.terms)
    message = made.submit(ME, np.zeros(5, np.int64))
    state, asked = aggregator.receive(state, message)
    assert aggregator.receive(state, message) == (state, ())
    other = resigned(made.terms, message, flipped(message.content, -1))
    with pytest.raises(FaultyPartyError, match="two different answers") as told:
        aggregator.receive(state, other)
    assert told.value.parties == (ME,)
    assert not asked


@pytest.mark.parametrize("ring_bits", [16, 20, 32])
def test_an_upload_of_another_form_is_named(ring_bits):
    made = cohort(4, ring_bits=ring_bits, dimension=3)
    state = Gathering(terms=made.terms)
    message = made.submit(ME, np.zeros(3, np.int64))
    bad = [message.content[:-1], message.content + b"\0", message.content[:60], b""]
    if ring_bits == 20:
        bad.append(message.content[:-1] + b"\xff")
    for content in bad:
        with pytest.raises(FaultyPartyError, match="uploaded no vector") as told:
            aggregator.receive(state, resigned(made.terms, message, content))
        assert told.value.parties == (ME,)


def test_forged_replayed_foreign_and_early_messages_change_nothing():
    made = cohort(4)
    state = Gathering(terms=made.terms)
    message = made.submit(ME, np.zeros(5, np.int64))
    for forged in (
        replace(message, party="node-001"),
        replace(message, content=flipped(message.content, 40)),
        replace(message, signature=bytes(64)),
    ):
        with pytest.raises(BadSignatureError):
            aggregator.receive(state, forged)
    for terms in (
        replace(made.terms, round=1),
        replace(made.terms, session="order-2"),
        replace(made.terms, roster="0" * 64),
        replace(made.terms, parameters=replace(made.terms.parameters, threshold=4)),
    ):
        with pytest.raises(BadSignatureError):
            aggregator.receive(Gathering(terms=terms), message)
    with pytest.raises(PeerProtocolError, match="cohort"):
        aggregator.receive(state, replace(message, party="stranger"))
    with pytest.raises(PeerProtocolError, match="not yet asked"):
        aggregator.receive(state, made.answer(ME, made.request(Kind.CERTIFY, names(4))))


def test_what_comes_late_is_left():
    made = cohort(5, 1)
    inputs = vectors(made)
    late = made.submit(ME, inputs[ME])
    state, _ = until(made, inputs, Phase.REVEALING, missing=[ME])
    assert aggregator.receive(state, late) == (state, ())
    reveal = made.answer(ME, made.request(Kind.REVEAL, names(5)))
    with pytest.raises(PeerProtocolError, match="not among the survivors"):
        aggregator.receive(state, reveal)


def test_a_survivor_set_that_is_signed_says_nothing_else():
    made = cohort(4)
    state, _ = until(made, vectors(made), Phase.CERTIFYING)
    message = made.answer(ME, made.request(Kind.CERTIFY, names(4)))
    with pytest.raises(FaultyPartyError, match="more than a set"):
        aggregator.receive(state, resigned(made.terms, message, b"x", names(4)))
    with pytest.raises(BadSignatureError):
        aggregator.receive(state, replace(message, party="node-001"))


# -- phase A ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 40, -1])
def test_a_wrong_pair_seed_is_named_and_its_sender_treated_as_silent(at):
    made = cohort(7, 1)
    inputs = vectors(made)
    state, asked = until(made, inputs, Phase.REVEALING, missing=["node-006"])
    for party, request in asked:
        message = made.answer(party, request)
        if party == ME:
            wrong = resigned(made.terms, message, flipped(message.content, at), state.survivors)
            with pytest.raises(FaultyPartyError, match="other pair seeds") as told:
                aggregator.receive(state, wrong)
            assert told.value.parties == (ME,)
        else:
            state, _ = aggregator.receive(state, message)
    state, asked = aggregator.close(state)
    assert state.dropped == (ME, "node-006")
    while state.phase is not Phase.OPENED:
        for party, request in asked:
            state, asked = aggregator.receive(state, made.answer(party, request))
    result = aggregator.combine(state, made.expand)
    assert np.array_equal(result.values, wanted(made, inputs, result))


def test_seeds_for_another_number_of_parties_are_named():
    made = cohort(7, 1)
    state, asked = until(made, vectors(made), Phase.REVEALING, missing=["node-006"])
    message = made.answer(*asked[0])
    for content in (message.content[:-32], message.content + bytes(32), message.content[:-1], b""):
        with pytest.raises(FaultyPartyError, match="another number"):
            aggregator.receive(state, resigned(made.terms, message, content, state.survivors))


# -- phase B ---------------------------------------------------------------------------------------


def test_a_wrong_noise_layer_is_named():
    made = cohort(7, 1)
    state, asked = until(made, vectors(made), Phase.OPENING)
    message = made.answer(*asked[0])
    for at in (-1, -40):
        wrong = resigned(made.terms, message, flipped(message.content, at), state.survivors)
        with pytest.raises(FaultyPartyError, match="other noise layers") as told:
            aggregator.receive(state, wrong)
        assert told.value.parties == (ME,)
    for content in (message.content[:-32], message.content[:-1], message.content + bytes(32), b""):
        with pytest.raises(FaultyPartyError, match="another number of shares"):
            aggregator.receive(state, resigned(made.terms, message, content, state.survivors))
    no_share = b"\xff" * 32 + message.content[32:]
    with pytest.raises(FaultyPartyError, match="own share that is none"):
        aggregator.receive(state, resigned(made.terms, message, no_share, state.survivors))


def openings(made, inputs, change):
    """A round whose answers in B pass through `change(party, message, survivors)`."""
    state, asked = until(made, inputs, Phase.OPENING)
    for party, request in asked:
        message = change(made.answer(party, request), state.survivors)
        if message is not None:
            state, _ = aggregator.receive(state, message)
    return state if state.phase is Phase.OPENED else aggregator.close(state)[0]


def test_a_wrong_key_for_one_share_is_a_dispute_and_others_open_it():
    made = cohort(7, 1)
    inputs = vectors(made)

    def change(message, survivors):
        if message.party != ME:
            return message
        return resigned(made.terms, message, flipped(message.content, 32), survivors)

    result = aggregator.combine(openings(made, inputs, change), made.expand)
    assert result.disputes == (("node-001", ME),)
    assert np.array_equal(result.values, wanted(made, inputs, result))


def test_a_dispute_that_leaves_too_few_shares_names_both():
    made = cohort(4, 1)

    def change(message, survivors):
        if message.party == "node-003":
            return None
        if message.party != ME:
            return message
        return resigned(made.terms, message, flipped(message.content, 32), survivors)

    with pytest.raises(FaultyPartyError, match="do not open") as told:
        aggregator.combine(openings(made, vectors(made), change), made.expand)
    assert told.value.parties == ("node-001", ME)


def test_a_dealer_of_wrong_shares_is_named(monkeypatch):
    made = cohort(4, 1)
    inputs = vectors(made)
    state, asked = Gathering(terms=made.terms), ()
    honest = sharing.split
    for party, vector in inputs.items():
        if party == "node-002":
            monkeypatch.setattr(sharing, "split", lambda s, *rest: honest(s ^ 1, *rest))
        else:
            monkeypatch.setattr(sharing, "split", honest)
        state, asked = aggregator.receive(state, made.submit(party, vector))
    while state.phase is not Phase.OPENED:
        for party, request in asked:
            state, asked = aggregator.receive(state, made.answer(party, request))
    with pytest.raises(FaultyPartyError, match="another mask than it committed to") as told:
        aggregator.combine(state, made.expand)
    assert told.value.parties == ("node-002",)
    given_up = aggregator.abandon(state, str(told.value))
    assert "node-002" in given_up.reason
    assert aggregator.requests(given_up) == ()
    with pytest.raises(LocalProtocolError):
        aggregator.combine(given_up, made.expand)


def test_a_wrong_own_share_is_the_dealers_fault():
    made = cohort(4, 1)

    def change(message, survivors):
        if message.party != ME:
            return message
        return resigned(made.terms, message, flipped(message.content, 31), survivors)

    with pytest.raises(FaultyPartyError, match="another mask") as told:
        aggregator.combine(openings(made, vectors(made), change), made.expand)
    assert told.value.parties == (ME,)


def test_a_damaged_box_in_a_signed_upload_is_a_dispute_with_its_dealer():
    made = cohort(4, 1)
    inputs = vectors(made)
    state, asked = Gathering(terms=made.terms), ()
    for party, vector in inputs.items():
        message = made.submit(party, vector)
        if party == ME:
            message = resigned(made.terms, message, flipped(message.content, 32))
        state, asked = aggregator.receive(state, message)
    while state.phase is not Phase.OPENED:
        for party, request in asked:
            state, asked = aggregator.receive(state, made.answer(party, request))
    result = aggregator.combine(state, made.expand)
    assert result.disputes == ((ME, "node-001"),)
    assert np.array_equal(result.values, wanted(made, inputs, result))


# -- patience --------------------------------------------------------------------------------------


def test_a_phase_goes_on_with_enough_and_asks_only_those_who_are_missing():
    made = cohort(7, 1)
    state, asked = until(made, vectors(made), Phase.CERTIFYING)
    assert [party for party, _ in asked] == list(names(7))
    for party, request in asked[:5]:
        assert not state.is_enough
        state, _ = aggregator.receive(state, made.answer(party, request))
    assert state.is_enough
    assert [party for party, _ in aggregator.requests(state)] == list(names(7)[5:])
    state, asked = aggregator.close(state)
    assert state.phase is Phase.OPENING
    assert [party for party, _ in asked] == list(names(7))
    assert {len(request.certificate) for _, request in asked} == {5}


def test_an_ended_round_asks_nothing_and_takes_nothing():
    made = cohort(4)
    state = play(made, vectors(made))
    message = state.openings[0]
    assert aggregator.receive(state, message) == (state, ())
    assert aggregator.close(state) == (state, ())
    assert aggregator.requests(state) == ()
    assert state.waiting_for == ()


def test_a_withdrawal_is_silence():
    made = cohort(4)
    state, _ = until(made, vectors(made), Phase.CERTIFYING)
    assert aggregator.receive(state, made.withdraw(ME)) == (state, ())


def test_a_round_without_uploads_is_abandoned():
    made = cohort(4)
    state, asked = aggregator.close(Gathering(terms=made.terms))
    assert state.phase is Phase.ABANDONED
    assert asked == ()
    assert "0 parties answered while collecting, 3 must" in state.reason


def test_messages_of_those_who_dropped_out_do_not_enter_the_sum():
    made = cohort(7, 1)
    inputs = vectors(made)
    silent = {Kind.UPLOAD: {"node-006"}, Kind.REVEAL: {ME}}
    state = play(made, inputs, silent)
    assert ME in {message.party for message in state.uploads}
    result = unmasking.unmask(
        state.terms, state.survivors, state.uploads, state.reveals, state.openings, made.expand
    )
    assert ME not in result.survivors
    assert np.array_equal(result.values, wanted(made, inputs, result))
