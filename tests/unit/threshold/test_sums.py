"""A question from end to end: exact, by any quorum, by the same strings."""

from collections import defaultdict
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
)
from secure_compute.threshold import ciphertext, keyholder, opening, pieces, pool
from secure_compute.threshold.memory import keyholder_from_bytes, keyholder_to_bytes
from secure_compute.threshold.params import LARGEST, SLOTS
from tests.joined import HOLDERS, PARTIES, Asked, answered, ask, make_key, resigned
from tests.masked import signing_key

WIDE = 10**25
NO_SUM = r"more noise|below its prime|behind the last cell"


def values(cells=100, reach=10**12):
    """Ten parties' cells with both signs, zeros, and every extreme in one of them."""
    return {
        name: [reach, -reach, 0, *[(-1) ** n * n * 10**9 + place for n in range(3, cells)]]
        for place, name in enumerate(PARTIES)
    }


def plain_sum(rows):
    return tuple(map(sum, zip(*rows.values(), strict=True)))


@pytest.fixture(scope="module")
def asked():
    return answered(make_key(3, 2), values())


@pytest.fixture(scope="module")
def partials(asked):
    totals = asked.totals()
    return [part for name in asked.made.terms.parties for part in asked.partials(name, totals)]


def test_ten_parties_and_two_of_three_keyholders_are_exact(asked):
    for quorum in combinations(HOLDERS[:3], 2):
        assert asked.open(quorum) == plain_sum(values())


def test_ten_parties_and_three_of_five_keyholders_are_exact():
    made = make_key(5, 3)
    asked = answered(made, values())
    totals = asked.totals()
    by_holder = {name: asked.partials(name, totals) for name in made.terms.parties}
    by_piece = defaultdict(set)
    for part in (part for parts in by_holder.values() for part in parts):
        by_piece[part.place].add(part.wire)
    assert len(by_piece) == 10
    assert all(len(wires) == 1 for wires in by_piece.values())  # whoever answers, and with whom
    for quorum in (HOLDERS[:3], HOLDERS[2:5], (HOLDERS[0], HOLDERS[2], HOLDERS[4])):
        found = [part for name in quorum for part in by_holder[name]]
        assert opening.combine(made.terms, totals, found) == plain_sum(values())
    for pair in combinations(made.terms.parties, 2):
        found = [part for name in pair for part in by_holder[name]]
        with pytest.raises(PeerProtocolError, match=r"a partial of piece \d is missing"):
            opening.combine(made.terms, totals, found)


def test_all_of_all_hold_one_piece_each():
    made = make_key(3, 3)
    rows = {name: values()[name] for name in PARTIES[:4]}
    assert answered(made, rows).open(HOLDERS[:3]) == plain_sum(rows)


def test_a_retry_and_a_restart_give_the_same_bytes(asked):
    totals = asked.totals()
    name, terms = HOLDERS[1], asked.made.terms
    bound = asked.bind(name)
    before = asked.partials(name, totals, bound)
    restarted = keyholder_from_bytes(keyholder_to_bytes(bound))
    assert restarted == bound
    assert asked.bind(name, restarted) == bound
    assert asked.partials(name, asked.totals(), restarted) == before
    other = asked.partials(HOLDERS[0], totals)
    assert {p.place: p.wire for p in other}[2 - 1] != before[0].wire  # another piece, another one
    assert {p.wire for p in before if p.place == 0} == {p.wire for p in other if p.place == 0}
    assert terms.held_by(name) == (0, 2)


def test_a_smudge_moves_with_the_ciphertext_and_covers_its_range(asked):
    total = asked.totals()[0]
    key = asked.made.holders[HOLDERS[0]].key(asked.made.terms.digest)
    piece = key.pieces[0]
    second = total.ciphertext[1]
    moved = second.copy()
    moved[:, 0] = (moved[:, 0] + 1) % np.array(opening.PRIMES)
    one, other = (
        opening.residues.from_bytes(pieces.partial(piece, key.terms, c), opening.PRIMES)
        for c in (second, moved)
    )
    # s·1 is the difference of the products: −1, 0 or 1. What is left is two smudges apart.
    units = [(opening.MODULUS // p) * pow(opening.MODULUS // p, -1, p) for p in opening.PRIMES]
    gaps = [
        sum(d * u for d, u in zip(c, units, strict=True)) % opening.MODULUS
        for c in (one - other).T.tolist()
    ]
    sizes = sorted(min(g, opening.MODULUS - g) for g in gaps)
    assert 2**98 < sizes[-1] < 2**99 + 2
    assert 2**96 < sizes[SLOTS // 2] < 2**98


def test_wide_sums_open_through_limbs():
    rows = {name: [WIDE - place, -WIDE, place] for place, name in enumerate(PARTIES)}
    asked = answered(make_key(3, 2), rows, reach=WIDE)
    assert asked.question.layout.limbs == 2
    assert asked.open(HOLDERS[1:3]) == plain_sum(rows)
    assert sum(row[1] for row in rows.values()) < -(2**80)


def test_the_largest_sums_of_one_coefficient_open():
    reach = LARGEST // 3
    rows = {name: [reach, -reach] for name in PARTIES[:3]}
    assert answered(make_key(3, 2), rows, reach=reach).open(HOLDERS[:2]) == (3 * reach, -3 * reach)


def test_cells_of_several_ciphertexts_open_chunk_by_chunk():
    rows = {
        name: [place * n - 9 for n in range(SLOTS + 3)] for place, name in enumerate(PARTIES[:3])
    }
    asked = answered(make_key(3, 2), rows)
    assert asked.question.layout.chunks == 2
    totals = asked.totals()
    found = [p for name in HOLDERS[:2] for p in asked.partials(name, totals)]
    assert opening.combine(asked.made.terms, totals, found) == plain_sum(rows)
    with pytest.raises(PeerProtocolError, match="missing"):
        opening.combine(asked.made.terms, totals, [p for p in found if p.chunk == 0])


def test_who_is_silent_before_the_list_is_left_out_of_it():
    rows = values()
    question_of = sorted(rows)
    asked = Asked(make_key(3, 2), ask(make_key(3, 2), question_of, cells=100))
    for name in PARTIES[:8]:
        asked.submit(name, rows[name])
    for name in PARTIES[:6]:
        asked.endorse(name)
    asked.reveal(PARTIES[0])
    assert asked.question.quorum == 6
    assert asked.open(HOLDERS[:2]) == plain_sum({name: rows[name] for name in PARTIES[:8]})


def test_a_relayed_sum_counts_as_what_the_keyholders_added_up(asked, partials):
    total = asked.totals()[0]
    wire = ciphertext.to_bytes(total.ciphertext)
    terms = asked.made.terms
    said = ciphertext.relayed(asked.listed, 0, wire)
    assert opening.combine(terms, [said], partials) == plain_sum(values())
    moved = total.ciphertext.copy()
    moved[0, :, 0] += 1
    lie = ciphertext.relayed(asked.listed, 0, ciphertext.to_bytes(moved))
    with pytest.raises(FaultyPartyError, match="another list, sum"):
        opening.combine(terms, [lie], partials)


def test_two_partials_of_one_piece_name_both_who_sent_them(asked, partials):
    at = next(i for i, p in enumerate(partials) if p.keyholder == HOLDERS[1] and p.place == 0)
    wire = bytearray(partials[at].wire)
    wire[0] ^= 1
    found = [*partials[:at], resigned(partials[at], wire=bytes(wire)), *partials[at + 1 :]]
    with pytest.raises(FaultyPartyError) as why:
        opening.combine(asked.made.terms, asked.totals(), found)
    assert why.value.parties == (HOLDERS[0], HOLDERS[1])


@pytest.mark.parametrize("place", [6, 60_000, 171_990])
def test_a_wrong_partial_opens_to_a_refusal_and_not_to_a_number(asked, partials, place):
    two = [p for p in partials if p.keyholder == HOLDERS[0]]
    two += [p for p in partials if p.keyholder == HOLDERS[1] and p.place == 2]
    wire = bytearray(two[0].wire)
    wire[place] ^= 0x20
    with pytest.raises(PeerProtocolError, match=NO_SUM):
        opening.combine(
            asked.made.terms, asked.totals(), [resigned(two[0], wire=bytes(wire)), *two[1:]]
        )


def test_a_partial_moved_by_a_whole_unit_is_seen_by_another_holder_alone(asked, partials):
    """SPEC.md, "What is not protected": noise cannot tell a lie that is as large as a value."""
    lie = opening.residues.from_bytes(partials[0].wire, opening.PRIMES)
    unit = opening.MODULUS // opening.PLAIN_MODULUS
    lie[:, 2] = (lie[:, 2] + np.array([5 * unit % p for p in opening.PRIMES])) % opening.PRIMES
    forged = resigned(partials[0], wire=opening.residues.to_bytes(lie, opening.PRIMES))
    liar, piece = forged.keyholder, forged.place
    alone = [p for p in partials if p.place != piece]
    opened = opening.combine(asked.made.terms, asked.totals(), [forged, *alone])
    assert opened[2] == plain_sum(values())[2] + 5
    with pytest.raises(FaultyPartyError, match=liar):
        opening.combine(asked.made.terms, asked.totals(), [forged, *partials[1:]])


@pytest.mark.parametrize(
    "change",
    [
        {"listing": "00" * 32},
        {"question": "00" * 32},
        {"total": "00" * 32},
        {"recipient": "node-00"},
        {"place": 2},  # which this keyholder does not hold
    ],
)
def test_a_partial_is_for_one_sum_one_piece_and_one_recipient(asked, partials, change):
    forged = resigned(partials[0], **change)
    with pytest.raises(FaultyPartyError):
        opening.combine(asked.made.terms, asked.totals(), [forged, *partials[1:]])
    with pytest.raises(BadSignatureError):
        unsigned = replace(partials[0], **change)
        opening.combine(asked.made.terms, asked.totals(), [unsigned, *partials[1:]])


def test_a_retired_key_opens_nothing_more(asked):
    name, terms = HOLDERS[0], asked.made.terms
    gone = pool.retire(asked.bind(name), terms.digest)
    with pytest.raises(LocalProtocolError, match="retired"):
        keyholder.partial(gone, terms.digest, asked.totals()[0], 0, signing_key(name).sign)
    with pytest.raises(PeerProtocolError, match="holds no piece"):
        keyholder.partial(gone, terms.digest, asked.totals()[0], 2, signing_key(name).sign)
    with pytest.raises(RefusedRequestError, match="no such list is bound"):
        keyholder.partial(
            asked.made.holders[name], terms.digest, asked.totals()[0], 0, signing_key(name).sign
        )
