"""Keys made by the keyholders alone: commitments before parts, seeds that everybody checks."""

from dataclasses import replace

import numpy as np
import pytest

from secure_compute.canonical import digest_bytes
from secure_compute.errors import (
    BadSignatureError,
    FaultyPartyError,
    LocalProtocolError,
    PeerProtocolError,
    RefusedRequestError,
    RosterError,
    RoundUsedError,
)
from secure_compute.threshold import joint, pieces, pool, residues
from secure_compute.threshold.joint import KeyCommitment
from secure_compute.threshold.params import KEY_PRIMES
from secure_compute.threshold.pieces import Piece
from secure_compute.threshold.ring import KEY
from secure_compute.threshold.terms import Terms
from tests.joined import EPOCH, HOLDERS, begin, commit, join, make_key, terms_of
from tests.masked import make_epoch, signing_key
from tests.seeded import SeededEntropy


@pytest.mark.parametrize(
    ("holders", "threshold", "count"), [(2, 2, 2), (3, 2, 3), (5, 3, 10), (7, 4, 35), (7, 7, 7)]
)
def test_any_t_hold_every_piece_and_fewer_miss_one(holders, threshold, count):
    from itertools import combinations

    terms = terms_of(holders, threshold)
    assert len(terms.pieces) == count

    def held(group):
        return {place for name in group for place in terms.held_by(name)}

    assert all(len(held(g)) == count for g in combinations(terms.parties, threshold))
    for group in combinations(terms.parties, threshold - 1):
        missed = set(range(count)) - held(group)
        assert len(missed) == 1
        assert not set(terms.pieces[missed.pop()]) & set(group)


@pytest.mark.parametrize(("holders", "threshold"), [(1, 1), (3, 1), (3, 4), (3, 0)])
def test_thresholds_that_protect_nobody_are_refused(holders, threshold):
    with pytest.raises(PeerProtocolError, match="keyholders"):
        terms_of(holders, threshold)


def test_eight_keyholders_are_too_many():
    epoch = make_epoch([f"k{i}" for i in range(8)])
    with pytest.raises(PeerProtocolError, match="2 to 7"):
        Terms.of(epoch, keyholders=[m.party for m in epoch.members], threshold=4, serial=0)


def test_two_keyholders_of_one_organisation_are_one():
    epoch = make_epoch(HOLDERS[:3], organisation=lambda name: "acme")
    with pytest.raises(PeerProtocolError, match="one organisation"):
        Terms.of(epoch, keyholders=HOLDERS[:3], threshold=2, serial=0)


def test_everybody_adds_up_the_same_key():
    made = make_key(3, 2)
    want = sum(residues.from_bytes(wire, KEY_PRIMES) for wire in made.shown.values())
    assert (made.joint.public == want % KEY.modulus).all()
    again = joint.assemble(made.terms, made.commitments[::-1], made.shown)
    assert again.digest == made.joint.digest
    assert {state.key(made.terms.digest).digest for state in made.holders.values()} == {
        made.joint.digest
    }
    assert pool.ready(made.holders[HOLDERS[0]]) == (made.terms.digest,)


def test_another_number_is_another_key():
    one, other = make_key(3, 2), make_key(3, 2, 1)
    assert one.terms.digest != other.terms.digest
    assert not (one.joint.uniform == other.joint.uniform).any(axis=1).all()
    seed = Piece(0, bytes(32))
    assert pieces.public_part(seed, one.terms) != pieces.public_part(seed, other.terms)


def test_no_part_is_shown_before_every_commitment_is_here():
    terms = terms_of(3, 2)
    states, deals = begin(terms)
    said = commit(terms, states, deals)
    first = HOLDERS[0]
    with pytest.raises(PeerProtocolError, match="has not committed"):
        pool.show(states[first], terms.digest)
    states[first] = pool.gather(states[first], said[1])
    with pytest.raises(PeerProtocolError, match=f"{HOLDERS[2]} has not committed"):
        pool.show(states[first], terms.digest)
    states[first] = pool.gather(states[first], said[2])
    _, shown = pool.show(states[first], terms.digest)
    assert sorted(shown) == [0, 1]


def test_a_rogue_part_that_cancels_the_others_misses_its_commitment():
    made = make_key(3, 2)
    others = sum(residues.from_bytes(made.shown[place], KEY_PRIMES) for place in (0, 1))
    rogue = residues.to_bytes(KEY.negate(others % KEY.modulus), KEY_PRIMES)
    with pytest.raises(FaultyPartyError, match="another part") as why:
        joint.assemble(made.terms, made.commitments, {**made.shown, 2: rogue})
    assert why.value.parties == (made.terms.pieces[2][0],)


def test_a_part_needs_the_signature_of_every_holder_of_its_piece():
    made = make_key(3, 2)
    other = digest_bytes(b"another part")
    last = made.commitments[2]
    forged = replace(last, parts=(other, *last.parts[1:])).signed(signing_key(HOLDERS[2]).sign)
    with pytest.raises(FaultyPartyError, match="two hashes for one piece"):
        joint.agreed(made.terms, (*made.commitments[:2], forged))
    with pytest.raises(FaultyPartyError, match="two sets"):
        joint.agreed(made.terms, (*made.commitments, forged))
    unsigned = replace(forged, signature=last.signature)
    with pytest.raises(BadSignatureError):
        joint.agreed(made.terms, (*made.commitments[:2], unsigned))
    with pytest.raises(PeerProtocolError, match="has not committed"):
        joint.agreed(made.terms, made.commitments[:2])


def test_a_commitment_is_for_one_key_and_its_own_pieces():
    made, other = make_key(3, 2), make_key(3, 2, 1)
    with pytest.raises(PeerProtocolError, match="another key"):
        joint.agreed(made.terms, other.commitments)
    short = replace(made.commitments[0], parts=made.commitments[0].parts[:1])
    with pytest.raises(PeerProtocolError, match="another key"):
        joint.verify(made.terms, short.signed(signing_key(HOLDERS[0]).sign))
    stranger = KeyCommitment(key=made.terms.digest, keyholder="node-00", parts=())
    with pytest.raises(PeerProtocolError, match="no keyholder"):
        joint.verify(made.terms, stranger)


def test_a_missing_or_malformed_part_is_no_key():
    made = make_key(3, 2)
    with pytest.raises(PeerProtocolError, match="part 1 of a key is missing"):
        joint.assemble(made.terms, made.commitments, {0: made.shown[0], 2: made.shown[2]})


def test_a_dealer_that_deals_two_seeds_is_named():
    terms = terms_of(3, 2)
    states, deals = begin(terms)
    _, again = begin(terms, seed=9)
    second = HOLDERS[1]
    deal = next(d for d in deals if d.receiver == second)
    twice = next(d for d in again if d.receiver == second and d.place == deal.place)
    state = pool.receive(pool.receive(states[second], deal), deal)
    with pytest.raises(FaultyPartyError, match=f"{HOLDERS[0]} dealt one piece twice"):
        pool.receive(state, twice)


def test_seeds_that_differ_between_holders_are_seen_at_the_commitments():
    terms = terms_of(3, 2)
    states, deals = begin(terms)
    pair = dict(states[HOLDERS[0]].pairs)[HOLDERS[1]]
    box = pieces.deal(Piece(0, b"x" * 32), terms, pair, HOLDERS[0], HOLDERS[1], SeededEntropy(3))
    said = commit(terms, states, [replace(d, box=box) if d.place == 0 else d for d in deals])
    for one in said:
        states[HOLDERS[0]] = pool.gather(states[HOLDERS[0]], one)
    with pytest.raises(FaultyPartyError) as why:
        pool.show(states[HOLDERS[0]], terms.digest)
    assert why.value.parties == HOLDERS[:2]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"box": b"\0" * 60}, FaultyPartyError),
        ({"box": b"\0" * 59}, PeerProtocolError),
        ({"place": 1}, PeerProtocolError),  # made by the first holder for the third
        ({"sender": "holder-2"}, PeerProtocolError),
        ({"sender": "nobody"}, PeerProtocolError),
        ({"receiver": "holder-2"}, PeerProtocolError),
        ({"key": "00" * 32}, PeerProtocolError),
    ],
)
def test_a_piece_counts_from_its_maker_for_its_holder(change, error):
    terms = terms_of(3, 2)
    states, deals = begin(terms)
    deal = next(d for d in deals if d.receiver == HOLDERS[1] and d.place == 0)
    with pytest.raises(error):
        pool.receive(states[HOLDERS[1]], replace(deal, **change))


def test_a_sealed_piece_of_one_key_opens_in_no_other():
    terms, other = terms_of(3, 2), terms_of(3, 2, 1)
    _, deals = begin(terms)
    late, _ = begin(other)
    deal = next(d for d in deals if d.receiver == HOLDERS[1])
    with pytest.raises(FaultyPartyError):
        pool.receive(late[HOLDERS[1]], replace(deal, key=other.digest))


def test_nobody_commits_before_every_piece_came_nor_twice():
    terms = terms_of(3, 2)
    states, deals = begin(terms)
    sign = signing_key(HOLDERS[1]).sign
    with pytest.raises(PeerProtocolError, match=f"{HOLDERS[0]} has not dealt piece 0"):
        pool.commit(states[HOLDERS[1]], terms.digest, sign)
    said = commit(terms, states, deals)
    after, again = pool.commit(states[HOLDERS[1]], terms.digest, sign)
    assert (after, again) == (states[HOLDERS[1]], said[1])


def test_a_forged_commitment_does_not_take_the_place_of_a_real_one():
    terms = terms_of(3, 2)
    states, deals = begin(terms)
    said = commit(terms, states, deals)
    forged = replace(said[1], parts=said[0].parts)
    with pytest.raises(BadSignatureError):
        pool.gather(states[HOLDERS[0]], forged)
    state = pool.gather(states[HOLDERS[0]], said[1])
    two = forged.signed(signing_key(HOLDERS[1]).sign)
    with pytest.raises(FaultyPartyError, match="two sets"):
        pool.gather(state, two)


def test_a_number_is_used_once():
    state, _ = pool.begin(join(HOLDERS[0]), terms_of(3, 2, 4), SeededEntropy(1))
    for serial in (4, 3):
        with pytest.raises(RoundUsedError):
            pool.begin(state, terms_of(3, 2, serial), SeededEntropy(1))
    pool.begin(state, terms_of(3, 2, 5), SeededEntropy(1))


def test_terms_of_another_roster_or_without_us_are_refused():
    other = make_epoch(HOLDERS[:3], digest="cd" * 32)
    foreign = Terms.of(other, keyholders=HOLDERS[:3], threshold=2, serial=0)
    with pytest.raises(RosterError):
        pool.begin(join(HOLDERS[0]), foreign, SeededEntropy(1))
    with pytest.raises(PeerProtocolError, match="no keyholder"):
        pool.begin(join(HOLDERS[5]), terms_of(3, 2), SeededEntropy(1))
    swapped = EPOCH.find(HOLDERS[0])
    fake = replace(
        terms_of(3, 2), keyholders=(replace(swapped, key="11" * 32), *terms_of(3, 2).keyholders[1:])
    )
    with pytest.raises(RosterError, match="another identity"):
        pool.begin(join(HOLDERS[1]), fake, SeededEntropy(1))


def test_a_fresh_key_is_kept_and_a_broken_one_may_go():
    made = make_key(3, 2)
    with pytest.raises(RefusedRequestError, match="kept"):
        pool.retire(made.holders[HOLDERS[0]], made.terms.digest)
    terms = terms_of(3, 2)
    states, _ = begin(terms)
    gone = pool.retire(states[HOLDERS[0]], terms.digest)
    assert gone.key(terms.digest).pieces == ()
    with pytest.raises(RoundUsedError):
        pool.begin(gone, terms, SeededEntropy(1))


def test_seeds_do_not_print():
    made = make_key(3, 2)
    state = made.holders[HOLDERS[0]]
    seeds = [piece.seed for piece in state.key(made.terms.digest).pieces]
    shown = repr(state) + repr(state.keys[0].pieces[0])
    assert all(seed.hex() not in shown and repr(seed) not in shown for seed in seeds)
    with pytest.raises(LocalProtocolError, match="32 bytes"):
        Piece(0, b"short")


def test_secrets_errors_and_parts_of_pieces_are_their_own():
    made = make_key(3, 2)
    state = made.holders[HOLDERS[0]].key(made.terms.digest)
    secrets = [pieces._secret(piece, made.terms) for piece in state.pieces]
    same = Piece(1, state.pieces[0].seed)
    assert not np.array_equal(secrets[0], secrets[1])
    assert not np.array_equal(secrets[0], pieces._secret(same, made.terms))
