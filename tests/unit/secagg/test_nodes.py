"""A node's own rules: epochs, terms, ids of rounds, masks that are used once, withdrawing."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from secure_compute.errors import (
    BadSignatureError,
    FaultyPartyError,
    LocalProtocolError,
    PeerProtocolError,
    RosterError,
    RoundUsedError,
)
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.secagg import aggregator, node, upload
from secure_compute.secagg.aggregator import Gathering, require_given_back
from secure_compute.secagg.commitments import layer_seed, link_after
from secure_compute.secagg.epoch import EpochKey, agree, gather
from secure_compute.secagg.memory import node_to_bytes
from secure_compute.secagg.messages import Kind, Message, Request, verify
from secure_compute.secagg.params import Parameters
from secure_compute.secagg.ratchet import SEALED_SIZE
from secure_compute.secagg.terms import Terms
from tests.curious import zeros
from tests.masked import (
    agreement_key,
    cohort,
    epoch_key,
    make_epoch,
    names,
    play,
    roster,
    signing_key,
    vectors,
)

ME = "node-000"


def terms_of(epoch, **changes):
    said = {
        "session": "order-1",
        "round": 0,
        "cohort": names(4),
        "parameters": Parameters.least(4, 1),
        "dimension": 5,
        **changes,
    }
    return Terms.of(epoch, **said)


# -- the epoch -------------------------------------------------------------------------------------


def test_both_ends_of_every_pair_share_one_key_and_nobody_else_does():
    epoch = make_epoch(names(5))
    keys = {p: agree(epoch, p, agreement_key(p)) for p in names(5)}
    found = Counter(key for mine in keys.values() for key in mine.values())
    assert all(keys[a][b] == keys[b][a] for a in keys for b in keys if a != b)
    assert len(found) == 10
    assert set(found.values()) == {2}


@pytest.mark.parametrize("what", ["roster", "federation", "number"])
def test_another_roster_federation_or_epoch_is_another_key(what):
    epoch = make_epoch(names(3))
    other = replace(epoch, **{what: 2 if what == "number" else "f" * 64})
    for peer, key in agree(epoch, ME, agreement_key(ME)).items():
        assert agree(other, ME, agreement_key(ME))[peer] != key


def test_a_key_counts_with_its_partys_signature_for_this_roster_and_epoch():
    on = roster(names(3))
    good = [epoch_key(party, on) for party in names(3)]
    assert gather(on, 1, [*good, good[0]]) == make_epoch(names(3))

    def changed(**what):
        return [replace(good[0], **what), *good[1:]]

    aggregators_own = AgreementKey(b"a" * 32).public.hex()
    with pytest.raises(BadSignatureError):
        gather(on, 1, changed(key=aggregators_own))
    with pytest.raises(BadSignatureError):
        gather(on, 1, changed(signature=good[1].signature))
    with pytest.raises(RosterError, match="not on the roster"):
        gather(on, 1, changed(party="stranger"))
    with pytest.raises(RosterError, match="another federation, roster or epoch"):
        gather(on, 1, [epoch_key(ME, roster(names(3), digest="0" * 64)), *good[1:]])
    with pytest.raises(RosterError, match="another federation, roster or epoch"):
        gather(on, 2, good)


def signed(said: EpochKey, **changes) -> EpochKey:
    made = replace(said, **changes)
    return replace(made, signature=signing_key(made.party).sign(made.statement()))


def test_a_party_gives_one_key_of_its_own():
    on = roster(names(3))
    good = [epoch_key(party, on) for party in names(3)]
    other = AgreementKey(b"b" * 32).public.hex()
    with pytest.raises(FaultyPartyError, match="two keys"):
        gather(on, 1, [*good, signed(good[0], key=other)])
    with pytest.raises(FaultyPartyError, match="key of the other") as told:
        gather(on, 1, [good[0], signed(good[1], key=good[0].key)])
    assert set(told.value.parties) == {ME, "node-001"}
    for key in ("zz" * 32, "ab" * 31, good[0].key.upper()):
        with pytest.raises(FaultyPartyError, match="gave no key"):
            gather(on, 1, [signed(good[0], key=key)])
    low_order = [good[0], signed(good[1], key="00" * 32)]
    with pytest.raises(FaultyPartyError, match="agrees on nothing") as told:
        gather(on, 1, low_order)
    assert told.value.parties == ("node-001",)


def test_an_epoch_key_has_one_spelling():
    wire = epoch_key(ME, roster(names(3))).to_bytes()
    assert EpochKey.read(wire).to_bytes() == wire
    for bad in (
        wire[:-1],
        wire + b" ",
        wire.replace(b'"epoch":1', b'"epoch":true'),
        b"",
        wire[64:],
    ):
        with pytest.raises(PeerProtocolError):
            EpochKey.read(bad)


def test_our_own_key_in_the_epoch_is_ours():
    with pytest.raises(LocalProtocolError, match="not the secret"):
        agree(make_epoch(names(3)), ME, AgreementKey(b"c" * 32))


# -- terms -----------------------------------------------------------------------------------------


def test_terms_are_refused_unless_their_numbers_and_names_fit():
    epoch = make_epoch(names(6))
    with pytest.raises(RosterError, match="gave no key"):
        terms_of(epoch, cohort=(*names(3), "stranger"))
    for cohort_, why in ((names(5), "cohort has 5"), (("node-000", *names(3)), "twice")):
        with pytest.raises(PeerProtocolError, match=why):
            terms_of(epoch, cohort=cohort_)
    for change in ({"round": -1}, {"round": 2**63}, {"dimension": 0}, {"dimension": 2**31 + 1}):
        with pytest.raises(PeerProtocolError, match="impossible"):
            terms_of(epoch, **change)
    with pytest.raises(PeerProtocolError, match="integers"):
        terms_of(epoch, round=True)


def test_an_organisation_counts_once_whatever_its_nodes():
    epoch = make_epoch(names(4), organisation=lambda party: "one" if party < "node-002" else party)
    with pytest.raises(PeerProtocolError, match="two nodes of one organisation"):
        terms_of(epoch)


def test_everything_in_the_terms_changes_their_digest():
    epoch = make_epoch(names(5))
    base = terms_of(epoch)
    moved = [
        terms_of(epoch, session="order-2"),
        terms_of(epoch, round=1),
        terms_of(epoch, dimension=6),
        terms_of(epoch, cohort=names(5)[1:]),
        terms_of(epoch, parameters=Parameters.least(4, 2)),
        terms_of(epoch, parameters=Parameters.least(4, 1, 16)),
        terms_of(make_epoch(names(5), digest="1" * 64)),
    ]
    assert len({terms.digest for terms in (base, *moved)}) == len(moved) + 1
    assert Terms.from_json(base.to_json()) == base
    for bad in ({**base.to_json(), "more": 1}, {}, {**base.to_json(), "cohort": [["a"]]}, None):
        with pytest.raises(PeerProtocolError):
            Terms.from_json(bad)


def test_a_round_of_another_epoch_or_key_is_not_begun():
    made = cohort(4)
    foreign = terms_of(make_epoch(names(4), digest="0" * 64))
    with pytest.raises(RosterError, match="another federation, roster or epoch"):
        made.submit(ME, zeros(made), foreign)
    swapped = replace(made.terms.members[3], key=AgreementKey(b"m" * 32).public.hex())
    with pytest.raises(RosterError, match="another key"):
        made.submit(
            ME, zeros(made), replace(made.terms, members=(*made.terms.members[:3], swapped))
        )
    with pytest.raises(PeerProtocolError, match="not of this round's cohort"):
        five = cohort(5)
        five.submit(ME, zeros(made), terms_of(five.nodes[ME].epoch, cohort=names(5)[1:]))


# -- submitting ------------------------------------------------------------------------------------


def test_a_round_is_begun_once_whatever_its_terms():
    made = cohort(4, number=7)
    made.submit(ME, zeros(made))
    before = made.nodes[ME]
    again = [
        made.terms,
        replace(made.terms, session="order-2"),
        replace(made.terms, parameters=Parameters.least(4, 1, 16)),
        replace(made.terms, dimension=9),
        replace(made.terms, round=6),
        replace(made.terms, round=0),
    ]
    for terms in again:
        with pytest.raises(RoundUsedError, match="8 is the next"):
            made.submit(ME, np.zeros(terms.dimension, np.int64), terms)
    with pytest.raises(RoundUsedError, match="new epoch"):
        made.submit(ME, zeros(made), replace(made.terms, round=8 + node.MAX_SKIP + 1))
    assert made.nodes[ME] == before
    made.submit(ME, zeros(made), replace(made.terms, round=8))


@pytest.mark.parametrize(
    "vector",
    [np.zeros(4, np.int64), np.zeros((5, 1), np.int64), np.zeros(5, np.int32), np.zeros(5)],
)
def test_a_vector_of_another_form_is_our_own_mistake(vector):
    made = cohort(4)
    before = made.nodes[ME]
    with pytest.raises(LocalProtocolError, match="5 integers of 64 bits"):
        made.submit(ME, vector)
    with pytest.raises(LocalProtocolError, match="5 integers of 64 bits"):
        node.submit(
            before, made.terms, zeros(made), lambda _, __: vector, made.entropy, made.sign(ME)
        )
    assert made.nodes[ME] == before


def test_the_input_is_left_as_it_was():
    made = cohort(4)
    vector = np.arange(5, dtype=np.int64)
    made.submit(ME, vector)
    assert vector.tolist() == [0, 1, 2, 3, 4]


def test_no_two_masks_share_a_seed():
    """Over parties, rounds, sessions and cohorts: a pair's two ends alone have a seed in common."""
    seeds, five = Counter(), cohort(5)
    rounds = [
        terms_of(five.nodes[ME].epoch, round=number, session=session, cohort=who)
        for number, (session, who) in enumerate(
            [
                ("a", names(4)),
                ("a", names(4)),
                ("b", names(4)),
                ("a", names(5)[1:]),
                ("b", names(4)),
            ]
        )
    ]
    selves, boxes, layers = Counter(), Counter(), Counter()
    for terms in rounds:
        for party in terms.cohort:
            sent = upload.read(terms, five.submit(party, zeros(five), terms))
            now = five.nodes[party].round
            selves[sent.self_commitment] += 1
            layers[layer_seed(terms.digest, now.link, 1)] += 1
            for pair in now.pairs:
                seeds[pair.mask] += 1
                boxes[pair.outgoing] += 1
                boxes[pair.incoming] += 1
    assert set(seeds.values()) == {2}
    assert len(seeds) == 6 * len(rounds)
    assert set(boxes.values()) == {2}
    assert len(boxes) == 2 * len(seeds)
    assert not set(seeds) & set(boxes)
    assert set(selves.values()) == set(layers.values()) == {1}


def test_equal_inputs_are_masked_differently_in_every_upload():
    seen = set()
    for number in range(4):
        made = cohort(3, number=number, dimension=64, seed=5)  # the same entropy each time
        for party in names(3):
            sent = upload.read(made.terms, made.submit(party, zeros(made)))
            seen.add(bytes(sent.vector))
    assert len(seen) == 12


@pytest.mark.parametrize("ring_bits", [16, 20, 32])
def test_masked_uploads_look_uniform(ring_bits):
    """Pearson's χ² over 256 byte values, on inputs that are as far from uniform as can be."""
    made = cohort(4, ring_bits=ring_bits, dimension=80_000)
    uploads = {p: upload.read(made.terms, made.submit(p, zeros(made))) for p in names(4)}
    words = {p: np.frombuffer(sent.vector, np.uint8) for p, sent in uploads.items()}
    for octets in words.values():
        expected = len(octets) / 256
        statistic = float(((np.bincount(octets, minlength=256) - expected) ** 2 / expected).sum())
        assert 255 - 5 * 22.6 < statistic < 255 + 5 * 22.6
    for one, other in ((a, b) for a in words.values() for b in words.values() if a is not b):
        equal = float((one == other).mean())
        assert abs(equal - 1 / 256) < 5 * (1 / 256 / len(one)) ** 0.5


# -- the ratchet -----------------------------------------------------------------------------------


def test_what_a_node_keeps_opens_no_earlier_round():
    made = cohort(4)
    before = made.nodes[ME]
    made.submit(ME, zeros(made))
    first = made.nodes[ME]
    assert not {key for _, key in before.chains} & {key for _, key in first.chains}
    made.submit(ME, zeros(made), replace(made.terms, round=1))
    kept = node_to_bytes(made.nodes[ME]).decode()
    old = [key for state in (before, first) for _, key in state.chains]
    old += [s for p in first.round.pairs for s in (p.mask, p.outgoing, p.incoming)]
    old += [first.round.share, first.round.link]
    assert not [secret for secret in old if secret.hex() in kept]


def test_nodes_that_missed_rounds_meet_again():
    made = cohort(4)
    inputs = vectors(made)
    for number, who in ((0, names(2)), (3, names(1))):
        for party in who:
            made.submit(party, zeros(made), replace(made.terms, round=number))
    made.terms = replace(made.terms, round=5)
    result = aggregator.combine(play(made, inputs), made.expand)
    assert np.array_equal(result.values, sum(inputs.values()))


# -- answers in general ----------------------------------------------------------------------------


def test_a_request_of_another_round_is_refused():
    made = cohort(4)
    request = made.request(Kind.REVEAL, names(4))
    with pytest.raises(PeerProtocolError, match="not the round"):
        made.answer(ME, request)
    made.submit(ME, zeros(made))
    with pytest.raises(PeerProtocolError, match="not the round"):
        made.answer(ME, replace(request, terms="0" * 64))
    made.submit(ME, zeros(made), replace(made.terms, round=1))
    with pytest.raises(PeerProtocolError, match="not the round"):
        made.answer(ME, request)
    with pytest.raises(PeerProtocolError, match="no such thing"):
        made.answer(ME, replace(request, kind=Kind.UPLOAD))


def test_requests_and_messages_have_one_spelling():
    made = cohort(4)
    message = made.submit(ME, zeros(made))
    wire = message.to_bytes(made.terms)
    assert Message.read(wire, made.terms) == message
    for bad in (
        b"",
        wire[:67],
        b"\x02" + wire[1:],
        wire[:1] + b"\x09" + wire[2:],
        wire[:2] + b"\xff" + wire[3:],
    ):
        with pytest.raises(PeerProtocolError):
            Message.read(bad, made.terms)
    request = made.request(Kind.OPEN, names(4), names(3))
    wire = request.to_bytes()
    assert Request.read(wire) == request
    for bad in (
        b"",
        wire[:-1],
        wire + b"\0",
        wire[:3],
        wire.replace(b'"kind":4', b'"kind":5'),
        wire.replace(b'"v":1', b'"v":2'),
    ):
        with pytest.raises(PeerProtocolError):
            Request.read(bad)


def test_what_is_sent_beyond_the_vector_is_counted_to_the_byte():
    for organisations in (3, 8, 10, 100):
        made = cohort(organisations, dimension=3)
        wire = made.submit(ME, zeros(made)).to_bytes(made.terms)
        control = len(wire) - made.terms.parameters.ring.size(3)
        assert (
            control == upload.control_bytes(made.terms) == 100 + SEALED_SIZE * (organisations - 1)
        )
        if organisations >= 8:
            assert control <= 64 * (organisations - 1)


def test_surplus_layers_are_shown_from_the_first_that_is_not_needed():
    made = cohort(8, 1)
    for party in names(8):
        made.submit(party, zeros(made))
    for survivors, shown in ((names(8), 1), (names(7), 2), (names(5), None)):
        again = replace(made, nodes=dict(made.nodes))
        sent = again.answer(ME, again.request(Kind.OPEN, survivors, survivors)).content
        now = again.nodes[ME].round
        assert len(sent) == 32 * (len(survivors) + (2 if shown else 0))
        if shown:
            assert sent[-64:-32] == link_after(now.link, shown - 1)
        for hidden in range(0 if shown is None else shown - 1):
            assert link_after(now.link, hidden) not in sent


# -- giving back -----------------------------------------------------------------------------------


def test_one_who_withdrew_never_answers():
    made = cohort(4)
    made.submit(ME, zeros(made))
    made.answer(ME, made.request(Kind.CERTIFY, names(4)))
    said = made.withdraw(ME)
    verify(made.terms, said)
    assert made.nodes[ME].round is None
    for kind in (Kind.REVEAL, Kind.CERTIFY, Kind.OPEN):
        with pytest.raises(PeerProtocolError):
            made.answer(ME, made.request(kind, names(4), names(4) if kind is Kind.OPEN else ()))
    with pytest.raises(RoundUsedError):
        made.submit(ME, zeros(made))
    assert made.withdraw(ME) == said


def test_one_who_answered_phase_b_does_not_say_that_it_did_not():
    made = cohort(4)
    made.submit(ME, zeros(made))
    made.answer(ME, made.request(Kind.OPEN, names(4), names(4)))
    with pytest.raises(LocalProtocolError, match="cannot be taken back"):
        made.withdraw(ME)
    made.submit(ME, zeros(made), replace(made.terms, round=1))
    with pytest.raises(LocalProtocolError, match="cannot be taken back"):
        made.withdraw(ME)
    made.withdraw(ME, replace(made.terms, round=1))


def test_a_round_that_was_never_begun_is_withdrawn_from_and_never_begun():
    made = cohort(4)
    made.withdraw(ME, replace(made.terms, round=3))
    assert made.nodes[ME].position == 4
    for number in (0, 3):
        with pytest.raises(RoundUsedError):
            made.submit(ME, zeros(made), replace(made.terms, round=number))
    with pytest.raises(RoundUsedError, match="new epoch"):
        made.withdraw(ME, replace(made.terms, round=5 + node.MAX_SKIP))
    made.submit("node-001", zeros(made), replace(made.terms, round=4))
    made.submit(ME, zeros(made), replace(made.terms, round=4))
    pairs = {p.party: p.mask for p in made.nodes[ME].round.pairs}
    assert pairs["node-001"] in {p.mask for p in made.nodes["node-001"].round.pairs}


def test_a_round_is_given_back_against_enough_who_will_not_open_it():
    made = cohort(8, 1)
    for party in names(8):
        made.submit(party, zeros(made))
    said = [made.withdraw(party) for party in names(8)]
    assert made.terms.parameters.dropouts + 1 + 1 == 5
    require_given_back(made.terms, said[:5])
    for few in (said[:4], [*said[:4], said[0]], []):
        with pytest.raises(PeerProtocolError, match="5 must"):
            require_given_back(made.terms, few)
    with pytest.raises(BadSignatureError):
        require_given_back(replace(made.terms, round=1), said)
    with pytest.raises(BadSignatureError):
        require_given_back(made.terms, [*said[:4], replace(said[4], signature=said[5].signature)])
    with pytest.raises(PeerProtocolError, match="something else"):
        require_given_back(made.terms, [*said[:4], replace(said[4], kind=Kind.CERTIFY)])


def test_those_left_cannot_open_a_round_that_was_given_back():
    made = cohort(8, 1)
    inputs = vectors(made)
    state, asked = Gathering(terms=made.terms), ()
    for party, vector in inputs.items():
        state, asked = aggregator.receive(state, made.submit(party, vector))
    require_given_back(made.terms, [made.withdraw(party) for party in names(5)])
    answered = 0
    for party, request in asked:
        try:
            state, _ = aggregator.receive(state, made.answer(party, request))
            answered += 1
        except PeerProtocolError:
            continue
    assert answered == 3
    assert aggregator.close(state)[0].phase is aggregator.Phase.ABANDONED


def test_secrets_do_not_print():
    made = cohort(4)
    made.submit(ME, zeros(made))
    shown = repr(made.nodes[ME])
    now = made.nodes[ME].round
    for secret in (now.share, now.link, now.pairs[0].mask, made.nodes[ME].chains[0][1]):
        assert repr(secret) not in shown
    assert "seed" not in repr(agreement_key(ME))
