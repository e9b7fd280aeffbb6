"""What an aggregator with colluders tries, and which check it meets; and what no check stops."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from secure_compute.errors import (
    BadSignatureError,
    FaultyPartyError,
    LocalProtocolError,
    PeerProtocolError,
    RefusedRequestError,
    RosterError,
)
from secure_compute.threshold import ciphertext, keyholder, opening, party, pieces, pool, residues
from secure_compute.threshold.ciphertext import Relayed
from secure_compute.threshold.joint import JointKey
from secure_compute.threshold.listing import Commitment, certify, listing
from secure_compute.threshold.memory import party_from_bytes, party_to_bytes
from secure_compute.threshold.params import MODULUS, PLAIN_MODULUS, PRIMES
from secure_compute.threshold.party import Party
from secure_compute.threshold.ring import DATA, KEY
from tests.joined import HOLDERS, PARTIES, ROSTER, Asked, answered, ask, make_key
from tests.masked import roster, signing_key

FOUR = PARTIES[:4]
ROWS = {name: [1000 + place, -7, 0] for place, name in enumerate(FOUR)}


@pytest.fixture(scope="module")
def asked():
    return answered(make_key(3, 2), ROWS)


def submitted(made=None, names=FOUR, **changes):
    made = made or make_key(3, 2)
    asked = Asked(made, ask(made, names, cells=3, **changes))
    for name in names:
        asked.submit(name, ROWS[name])
    return asked


def committed(question, name, wires):
    """What a colluder commits to, by whatever means it made the ciphertexts."""
    hashes = tuple(
        ciphertext.digest(wire, question.digest, name, chunk) for chunk, wire in enumerate(wires)
    )
    said = Commitment(question=question.digest, party=name, chunks=hashes)
    return said.signed(signing_key(name).sign)


def seeds(made, coalition):
    found = {}
    for name in coalition:
        for piece in made.holders[name].key(made.terms.digest).pieces:
            found[piece.place] = piece
    return found


def product(second, piece, terms):
    secret = DATA.constant(DATA.forward(DATA.lift(pieces._secret(piece, terms))))
    return DATA.inverse(DATA.multiply(DATA.forward(second), secret))


def reads(candidate, row):
    """Whether this is close to a plaintext at all, or even holds the row."""
    opened, distance = opening.scale(candidate)
    return distance < 0.3 or opened[:3].tolist() == list(row)


def tries(made, asked, coalition, victim):
    """Every sum of what a coalition can put beside one party's ciphertext, and what it reads."""
    held = seeds(made, coalition)
    ct = ciphertext.from_bytes(asked.ciphertexts[victim][0])
    total = asked.totals()[0]
    given = {
        part.place: residues.from_bytes(part.wire, PRIMES)
        for name in made.terms.parties
        for part in asked.partials(name, [total])
    }
    products = [product(ct[1], piece, made.terms) for piece in held.values()]
    strangers = [given[place] for place in sorted(set(given) - set(held))]
    others = [
        DATA.negate(ciphertext.from_bytes(asked.ciphertexts[name][0])[0])
        for name in asked.ciphertexts
        if name != victim
    ]
    everything = [*products, *strangers, *others[:1]]
    for size in range(len(everything) + 1):
        for some in combinations(everything, size):
            made_up = ct[0]
            for item in some:
                made_up = DATA.add(made_up, item)
            yield reads(made_up, ROWS[victim])


@pytest.mark.parametrize(("holders", "threshold"), [(3, 2), (3, 3)])
def test_no_coalition_of_aggregator_and_t_minus_1_keyholders_reads_a_ciphertext(
    holders, threshold, asked
):
    made = make_key(holders, threshold)
    asked = asked if made is asked.made else answered(made, ROWS)
    for coalition in combinations(made.terms.parties, threshold - 1):
        assert not any(tries(made, asked, coalition, FOUR[0]))


def test_the_same_search_reads_it_with_t_keyholders(asked):
    assert any(tries(asked.made, asked, HOLDERS[:2], FOUR[0]))


# The joint key


def test_a_substituted_joint_key_is_noticed_by_every_party():
    made, other = make_key(3, 2), make_key(3, 2, 1)
    asked = Asked(made, ask(made, FOUR, key=other.joint.digest, cells=3))
    with pytest.raises(PeerProtocolError, match="another key than"):
        asked.submit(FOUR[0], ROWS[FOUR[0]])
    with pytest.raises(PeerProtocolError, match="another key than"):
        Asked(made, ask(made, FOUR, cells=3)).submit(FOUR[0], ROWS[FOUR[0]], other.joint)


def test_a_key_with_one_part_swapped_is_another_key():
    made = make_key(3, 2)
    swapped = JointKey(made.terms, ("00" * 32, *made.joint.parts[1:]), made.joint.public)
    with pytest.raises(PeerProtocolError, match="another key than"):
        Asked(made, ask(made, FOUR, cells=3)).submit(FOUR[0], ROWS[FOUR[0]], swapped)


def test_keyholders_bind_no_question_under_another_key(asked):
    other = make_key(3, 2, 1)
    with pytest.raises(PeerProtocolError, match="another key than"):
        keyholder.bind(
            other.holders[HOLDERS[0]],
            ROSTER,
            other.terms.digest,
            asked.listed,
            tuple(asked.endorsements.values()),
        )


def test_a_key_serves_one_query_at_the_party_and_at_the_keyholder(asked):
    later = ask(asked.made, FOUR, query="q2", cells=3)
    with pytest.raises(RefusedRequestError, match="a key is used once"):
        party.submit(
            asked.parties[FOUR[0]],
            ROSTER,
            later,
            asked.made.joint,
            [1, 2, 3],
            signing_key(FOUR[0]).sign,
        )
    again = answered(asked.made, ROWS, query="q2")
    bound = asked.bind(HOLDERS[0])
    with pytest.raises(RefusedRequestError, match="a key is used once"):
        again.bind(HOLDERS[0], bound)


def test_yesterdays_ciphertext_rerandomised_is_garbage_today():
    yesterday, today = answered(make_key(3, 2), ROWS), submitted(make_key(3, 2, 1))
    old = ciphertext.from_bytes(yesterday.ciphertexts[FOUR[0]][0])
    fresh = ciphertext.from_bytes(today.ciphertexts[FOUR[3]][0])
    mixed = ciphertext.to_bytes(DATA.add(old, fresh))
    today.commitments[FOUR[3]] = committed(today.question, FOUR[3], [mixed])
    today.ciphertexts[FOUR[3]] = (mixed,)
    for name in FOUR[:3]:
        today.endorse(name)
    with pytest.raises(PeerProtocolError, match="more noise"):
        today.open(HOLDERS[:2])


# Lists


def test_a_second_list_of_a_query_is_refused_by_parties_and_keyholders():
    whole, without = submitted(), submitted()
    for name in FOUR:
        whole.endorse(name)
    smaller = [whole.commitments[name] for name in FOUR[:3]]
    with pytest.raises(RefusedRequestError, match="another list"):
        whole.endorse(FOUR[0], smaller)
    bound = whole.bind(HOLDERS[0])
    # What only liars could bring about: the same query, other signatures by everybody.
    for name in FOUR:
        without.endorse(name)
    with pytest.raises(RefusedRequestError, match="a query has one"):
        without.bind(HOLDERS[0], bound)
    other = make_key(3, 2, 1)
    with pytest.raises(RefusedRequestError, match="a query has one"):
        elsewhere = answered(other, ROWS)
        state = replace(other.holders[HOLDERS[0]], queries=bound.queries)
        elsewhere.bind(HOLDERS[0], state)


def test_what_is_expected_is_the_only_list_and_opens_nothing_until_it_is_certified():
    whole, without = submitted(), submitted()
    name = HOLDERS[0]
    for party_ in FOUR:
        whole.endorse(party_)
        without.endorse(party_)
    key = whole.made.terms.digest
    expecting = keyholder.expect(whole.made.holders[name], ROSTER, key, whole.listed)
    assert keyholder.expect(expecting, ROSTER, key, whole.listed) == expecting
    with pytest.raises(RefusedRequestError, match="no such list is bound"):
        whole.partials(name, whole.totals(), expecting)
    with pytest.raises(RefusedRequestError, match="a query has one"):
        without.bind(name, expecting)
    second = answered(make_key(3, 2), ROWS, query="q2")
    with pytest.raises(RefusedRequestError, match="a key is used once"):
        second.bind(name, expecting)
    assert whole.bind(name, expecting) == whole.bind(name)


def test_two_lists_never_both_find_a_quorum():
    for count in range(4, 11):
        for colluding in range(1, 3):
            try:
                question = ask(make_key(5, 3), PARTIES[:count], colluding=colluding)
            except PeerProtocolError:
                continue
            honest_at_most = count + colluding  # colluders sign both
            assert 2 * question.quorum > honest_at_most


def test_a_list_without_a_quorum_is_not_bound_nor_revealed_to(asked):
    few = list(asked.endorsements.values())[: asked.question.quorum - 1]
    with pytest.raises(PeerProtocolError, match="signed this list and 3 must"):
        certify(asked.listed, few)
    with pytest.raises(PeerProtocolError, match="signed this list and 3 must"):
        certify(asked.listed, few + few)
    name = FOUR[0]
    said = tuple(asked.commitments.values())
    with pytest.raises(PeerProtocolError, match="signed this list and 3 must"):
        party.reveal(asked.parties[name], asked.question, said, few, asked.ciphertexts[name])
    with pytest.raises(PeerProtocolError, match="signed this list and 3 must"):
        state, terms = asked.made.holders[HOLDERS[0]], asked.made.terms
        keyholder.bind(state, ROSTER, terms.digest, asked.listed, few)


def test_a_key_that_was_not_made_to_the_end_opens_nothing(asked):
    """A holder that has every commitment and has not shown its parts: nobody has this key yet."""
    state, terms = asked.made.holders[HOLDERS[0]], asked.made.terms
    halfway = pool.with_key(state, replace(state.key(terms.digest), shown=False))
    with pytest.raises(PeerProtocolError, match="not made to the end"):
        asked.bind(HOLDERS[0], halfway)


def test_nothing_is_revealed_on_another_list_than_was_signed_here():
    asked = submitted()
    smaller = [asked.commitments[name] for name in FOUR[:3]]
    asked.endorse(FOUR[0], smaller)
    for name in FOUR[1:]:
        asked.endorse(name)
    del asked.endorsements[FOUR[0]]
    with pytest.raises(RefusedRequestError, match="another list of this query was signed here"):
        asked.reveal(FOUR[0])


def test_who_signed_no_list_reveals_on_the_certified_one_and_signs_no_other():
    asked, late = submitted(), FOUR[0]
    for name in FOUR[1:]:
        asked.endorse(name)
    assert asked.reveal(late) == asked.ciphertexts[late]
    with pytest.raises(RefusedRequestError, match="another list of this query was signed here"):
        asked.endorse(late, [asked.commitments[name] for name in FOUR[:3]])
    asked.endorse(late)


def test_signatures_count_for_their_own_list_question_and_signer(asked):
    said = list(asked.endorsements.values())
    forged = replace(said[0], party=FOUR[1])
    with pytest.raises(BadSignatureError):
        certify(asked.listed, [forged, *said[1:]])
    other = replace(said[0], listing="00" * 32).signed(signing_key(FOUR[0]).sign)
    with pytest.raises(PeerProtocolError, match="another list"):
        certify(asked.listed, [other, *said[1:]])
    smaller = listing(asked.question, list(asked.commitments.values())[:3])
    outside = replace(said[3], listing=smaller.digest).signed(signing_key(FOUR[3]).sign)
    with pytest.raises(PeerProtocolError, match="not on"):
        certify(smaller, [outside])


def test_a_list_holds_ours_as_we_made_it():
    asked = submitted()
    rest = [asked.commitments[name] for name in FOUR[1:]]
    with pytest.raises(RefusedRequestError, match="another ciphertext of ours, or none"):
        asked.endorse(FOUR[0], rest)


def test_a_small_list_is_no_list():
    asked = submitted()
    with pytest.raises(PeerProtocolError, match="2 organisations take part and 3 must"):
        listing(asked.question, [asked.commitments[name] for name in FOUR[:2]])
    stricter = submitted(minimum=4)
    with pytest.raises(PeerProtocolError, match="3 organisations take part and 4 must"):
        listing(stricter.question, [stricter.commitments[name] for name in FOUR[:3]])


def test_two_commitments_of_one_party_name_it():
    asked = submitted()
    two = committed(asked.question, FOUR[0], asked.ciphertexts[FOUR[1]])
    with pytest.raises(FaultyPartyError, match="two parts"):
        listing(asked.question, [*asked.commitments.values(), two])


def test_commitments_are_to_this_question_by_its_cohort(asked):
    other = ask(asked.made, FOUR, query="q2", cells=3)
    foreign = committed(other, FOUR[0], asked.ciphertexts[FOUR[0]])
    with pytest.raises(PeerProtocolError, match="another question"):
        listing(asked.question, [foreign, *list(asked.commitments.values())[1:]])
    stranger = committed(asked.question, PARTIES[7], asked.ciphertexts[FOUR[0]])
    with pytest.raises(PeerProtocolError, match="not of this question's cohort"):
        listing(asked.question, [stranger, *asked.commitments.values()])


# Ciphertexts


def test_anothers_hash_cannot_be_committed_to_unseen(asked):
    """A colluder that repeats a victim's hash has bound itself to bytes that do not exist."""
    hashes = asked.commitments[FOUR[0]].chunks
    copied = replace(asked.commitments[FOUR[3]], chunks=hashes).signed(signing_key(FOUR[3]).sign)
    listed = listing(asked.question, [*[asked.commitments[n] for n in FOUR[:3]], copied])
    shown = {name: asked.ciphertexts[name][0] for name in FOUR}
    shown[FOUR[3]] = shown[FOUR[0]]
    with pytest.raises(FaultyPartyError, match=FOUR[3]):
        ciphertext.add(listed, 0, shown)


def test_another_ciphertext_than_certified_is_refused(asked):
    shown = {name: asked.ciphertexts[name][0] for name in FOUR}
    spoilt = bytearray(shown[FOUR[2]])
    spoilt[123_456] ^= 1
    for wire in (bytes(spoilt), shown[FOUR[1]], bytes(len(spoilt)), b""):
        with pytest.raises(FaultyPartyError, match=f"{FOUR[2]} or the way here"):
            ciphertext.add(asked.listed, 0, shown | {FOUR[2]: wire})
    with pytest.raises(PeerProtocolError, match=f"{FOUR[1]} is missing"):
        ciphertext.add(asked.listed, 0, {n: w for n, w in shown.items() if n != FOUR[1]})
    with pytest.raises(LocalProtocolError, match="no chunk"):
        ciphertext.add(asked.listed, 1, shown)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda wire: wire[: ciphertext.HALF] + bytes(ciphertext.HALF), "nothing is hidden"),
        (lambda wire: wire[:-1], "bytes"),
        (lambda wire: wire + b"\0", "bytes"),
        (lambda wire: b"\xff" * 7 + wire[7:], "below its prime"),
        (lambda wire: wire[:-7] + b"\xff" * 7, "below its prime"),
    ],
)
def test_what_is_no_ciphertext_names_who_committed_to_it(asked, spoil, why):
    bad = spoil(asked.ciphertexts[FOUR[3]][0])
    said = committed(asked.question, FOUR[3], [bad])
    listed = listing(asked.question, [*[asked.commitments[n] for n in FOUR[:3]], said])
    shown = {name: asked.ciphertexts[name][0] for name in FOUR} | {FOUR[3]: bad}
    with pytest.raises(FaultyPartyError, match=f"{FOUR[3]} committed to no ciphertext: .*{why}"):
        ciphertext.add(listed, 0, shown)


def test_ciphertexts_that_cancel_are_not_summed(asked):
    wires = {name: asked.ciphertexts[name][0] for name in FOUR[:3]}
    total = sum(ciphertext.from_bytes(wire) for wire in wires.values())
    opposite = np.stack([DATA.negate(half) for half in total % DATA.modulus])
    opposite[0] = 0
    bad = ciphertext.to_bytes(opposite)
    said = committed(asked.question, FOUR[3], [bad])
    listed = listing(asked.question, [*[asked.commitments[n] for n in FOUR[:3]], said])
    with pytest.raises(PeerProtocolError, match="cancel"):
        ciphertext.add(listed, 0, wires | {FOUR[3]: bad})


def test_a_keyholder_opens_its_own_sum_alone(asked):
    """The type of a relayed sum is another one, and nothing of another list is answered."""
    bound, name = asked.bind(HOLDERS[0]), asked.made.terms.digest
    sign = signing_key(HOLDERS[0]).sign
    smaller = listing(asked.question, list(asked.commitments.values())[:3])
    shown = {said.party: asked.ciphertexts[said.party][0] for said in smaller.commitments}
    with pytest.raises(RefusedRequestError, match="no such list"):
        keyholder.partial(bound, name, ciphertext.add(smaller, 0, shown), 0, sign)
    relayed = Relayed(asked.listed, 0, asked.totals()[0].ciphertext)
    with pytest.raises(LocalProtocolError, match="added up here"):
        keyholder.partial(bound, name, relayed, 0, sign)


# Parties


def test_a_query_is_answered_once_and_the_same_list_signed_again():
    asked = submitted()
    name = FOUR[0]
    with pytest.raises(RefusedRequestError, match="this query was answered"):
        asked.submit(name, ROWS[name])
    asked.endorse(name)
    first = asked.endorsements[name]
    asked.parties[name] = party_from_bytes(party_to_bytes(asked.parties[name]))
    asked.endorse(name)
    assert asked.endorsements[name] == first
    different = ask(asked.made, FOUR, cells=3, minimum=4)
    with pytest.raises(RefusedRequestError, match="asked differently"):
        party.endorse(
            asked.parties[name],
            different,
            tuple(asked.commitments.values()),
            signing_key(name).sign,
        )
    with pytest.raises(PeerProtocolError, match="nothing was submitted"):
        Party(me=name).answer("q1")


def test_only_what_was_committed_to_is_revealed():
    asked = submitted()
    for name in FOUR:
        asked.endorse(name)
    asked.ciphertexts[FOUR[0]] = asked.ciphertexts[FOUR[1]]
    with pytest.raises(LocalProtocolError, match="not the ciphertexts"):
        asked.reveal(FOUR[0])


def test_a_value_beyond_the_bound_is_refused_and_nothing_is_promised():
    asked = Asked(make_key(3, 2), ask(make_key(3, 2), FOUR, cells=1, reach=10))
    with pytest.raises(LocalProtocolError, match="beyond the bound"):
        asked.submit(FOUR[0], [11])
    asked.submit(FOUR[0], [-10])


def test_a_question_of_another_roster_or_identity_is_refused():
    made = make_key(3, 2)
    other, me = roster((*HOLDERS, *PARTIES), digest="cd" * 32), FOUR[0]
    with pytest.raises(RosterError, match="another federation or roster"):
        party.submit(
            Party(me=me), other, ask(made, FOUR), made.joint, [0] * 5, signing_key(me).sign
        )
    swapped = tuple(
        replace(ROSTER.find(name), key=signing_key("mallory").verify_key)
        if name == FOUR[3]
        else ROSTER.find(name)
        for name in FOUR
    )
    with pytest.raises(RosterError, match=f"another identity for {FOUR[3]}"):
        Asked(made, ask(made, FOUR, cohort=swapped)).submit(FOUR[0], [0] * 5)
    with pytest.raises(PeerProtocolError, match="not of this question's cohort"):
        Asked(made, ask(made, FOUR)).submit(PARTIES[8], [0] * 5)


def test_a_key_that_the_colluders_could_open_is_refused():
    made = make_key(3, 2)
    asked = Asked(made, ask(made, PARTIES, colluding=2))
    with pytest.raises(PeerProtocolError, match="higher threshold"):
        asked.submit(PARTIES[0], [0] * 5)


@pytest.mark.parametrize(
    "change",
    [
        {"colluding": 0},
        {"parties": PARTIES[:2]},
        {"parties": PARTIES[:3], "colluding": 3},
        {"minimum": 11},
        {"colluding": True},
        {"cells": 0},
        {"reach": 0},
        {"reach": 2**193},
    ],
)
def test_questions_that_protect_nobody_are_refused(change):
    with pytest.raises(PeerProtocolError):
        ask(make_key(3, 2), **change)


def test_two_nodes_of_one_organisation_are_one():
    two = roster(PARTIES, organisation=lambda name: "acme" if name < "node-02" else name)
    with pytest.raises(PeerProtocolError, match="one organisation"):
        ask(make_key(3, 2), cohort=two.identities)


# What is not protected


def test_known_gap_a_malformed_ciphertext_shown_to_a_colluding_recipient_tells_the_key():
    """SPEC.md, "What is not protected": no proof of plaintext knowledge. An honest recipient sees
    the noise and refuses; one that colludes with the party reads the joint secret from it.
    """
    asked = submitted()
    liar, victim, shift = FOUR[3], FOUR[0], 104
    ct = ciphertext.from_bytes(asked.ciphertexts[liar][0])
    ct[1, :, 0] = (ct[1, :, 0] + np.array([(1 << shift) % p for p in PRIMES])) % PRIMES
    bad = ciphertext.to_bytes(ct)
    asked.ciphertexts[liar] = (bad,)
    asked.commitments[liar] = committed(asked.question, liar, [bad])
    for name in FOUR[:3]:
        asked.endorse(name)
    with pytest.raises(PeerProtocolError, match="more noise"):
        asked.open(HOLDERS[:2])
    total = asked.totals()[0]
    opened = total.ciphertext[0]
    for part in {p.place: p for n in HOLDERS[:2] for p in asked.partials(n, [total])}.values():
        opened = DATA.add(opened, residues.from_bytes(part.wire, PRIMES))
    units = [(MODULUS // p) * pow(MODULUS // p, -1, p) for p in PRIMES]
    secret = []
    for column in opened.T.tolist():
        x = sum(r * u for r, u in zip(column, units, strict=True)) % MODULUS
        rest = x - (PLAIN_MODULUS * x + MODULUS // 2) // MODULUS * MODULUS // PLAIN_MODULUS
        secret.append(round(rest / 2**shift))
    stolen = ciphertext.from_bytes(asked.ciphertexts[victim][0])
    lifted = DATA.constant(DATA.forward(DATA.lift(np.array(secret))))
    read = DATA.add(stolen[0], DATA.inverse(DATA.multiply(DATA.forward(stolen[1]), lifted)))
    assert opening.scale(read)[0][:3].tolist() == ROWS[victim]


def test_keys_of_all_pieces_together_are_the_joint_key():
    made = make_key(3, 2)
    held = seeds(made, HOLDERS[:3])
    total = KEY.lift(np.zeros(8192, dtype=np.int64))
    for piece in held.values():
        total = KEY.add(
            total, residues.from_bytes(pieces.public_part(piece, made.terms), KEY.primes)
        )
    assert (total == made.joint.public).all()
