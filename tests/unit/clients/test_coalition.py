"""An aggregator and t − 1 keyholders, with every file they own: what they can read, and cannot.

The same steps succeed with a second keyholder's files: a test that could not find anything would
pass as well.
"""

import re
import sqlite3
from functools import cache
from itertools import combinations

import numpy as np
import pytest

import clients.node
from federation.joint_keys import unpack
from federation.sealed_answers import Origin, unseal
from secure_compute.canonical import digest_bytes
from secure_compute.errors import SecureComputeError
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.threshold import ciphertext, opening, pieces, residues
from secure_compute.threshold.params import PLAIN_MODULUS, PRIMES
from secure_compute.threshold.pieces import Piece
from secure_compute.threshold.ring import DATA
from tests.asked import FOUR, HOLDERS, PRIVATE, federation
from tests.simulator import AGGREGATOR
from tests.unit.clients.conftest import Table

ROWS = {party: 1000 + place for place, party in enumerate(FOUR)}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A question that was answered and opened, and is not over: every file is still there."""
    with pytest.MonkeyPatch.context() as patch:
        cells = iter(FOUR)

        def of(order, *_):
            return (ROWS[next(cells)],) * 16

        patch.setattr(clients.node, "noised_cells", of)
        folder = tmp_path_factory.mktemp("coalition") / "federation"
        asked = Table(federation(folder), 1).answered()
    for party in HOLDERS:
        asked.open(party)
    assert asked.answer(HOLDERS[:2]) == (sum(ROWS.values()),) * 16
    return asked


def owned(asked, *parties):
    """Every byte that lies with these parties, and every letter that the aggregator carried."""
    simulation = asked.simulation
    folders = [
        simulation.home.aggregator if p == AGGREGATOR else simulation.folder(p) for p in parties
    ]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    carried = [
        asked.package,
        *asked.commitments.values(),
        *asked.endorsements.values(),
        *asked.chunks.values(),
        *asked.boxes.values(),
    ]
    return [*(path.read_bytes() for path in files), *carried]


def keys_in(asked, *parties):
    """Everything of 32 bytes that could be a key: fields of databases, files, and hexadecimal."""
    found = set()
    for data in owned(asked, *parties):
        found |= {bytes.fromhex(text.decode()) for text in re.findall(rb"[0-9a-f]{64}", data)}
        if len(data) == 32:
            found.add(data)
    for party in parties:
        folder = (
            asked.simulation.home.aggregator
            if party == AGGREGATOR
            else asked.simulation.folder(party)
        )
        for path in folder.rglob("*.sqlite"):
            found |= {value for value in blobs(path) if len(value) == 32}
    return found


def blobs(path):
    with sqlite3.connect(path) as db:
        for (table,) in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall():
            for row in db.execute(f'SELECT * FROM "{table}"'):
                yield from (value for value in row if isinstance(value, bytes))


def seeds_in(asked, *parties):
    """The pieces of the question's key that somebody with these files can make."""
    return {
        place: Piece(place, seed)
        for seed in keys_in(asked, *parties)
        for place, part in enumerate(asked.joint.parts)
        if hashed(seed, place, asked.joint.terms) == part
    }


@cache
def hashed(seed, place, terms):
    """What the keyholders committed to, if this is the seed of that piece."""
    return digest_bytes(pieces.public_part(Piece(place, seed), terms))


def opened(asked, wire, known):
    """What a ciphertext opens to with these pieces, and how far from any integer it is."""
    made = ciphertext.from_bytes(wire)
    total = made[0]
    for piece in known.values():
        partial = pieces.partial(piece, asked.joint.terms, made[1])
        total = DATA.add(total, residues.from_bytes(partial, PRIMES))
    return opening.scale(total)


@pytest.fixture(scope="module")
def alone(asked):
    """What the aggregator and one keyholder have of the key."""
    return seeds_in(asked, AGGREGATOR, HOLDERS[0])


def test_the_pieces_of_one_keyholder_are_found_in_its_files(asked, alone):
    assert sorted(alone) == list(asked.joint.terms.held_by(HOLDERS[0]))


@pytest.mark.parametrize("victim", FOUR)
def test_one_keyholder_and_the_aggregator_read_nobodys_ciphertext(asked, alone, victim):
    (wire,) = unpack(asked.chunks[victim])
    for size in range(len(alone) + 1):
        for chosen in combinations(alone, size):
            values, _ = opened(asked, wire, {place: alone[place] for place in chosen})
            assert ROWS[victim] not in values[:16].tolist()
            # Without the missing piece what comes out is spread over all that there is.
            spread = np.abs(values.astype(float)).mean() / (PLAIN_MODULUS / 4)
            assert 0.95 < spread < 1.05


def test_two_keyholders_and_the_aggregator_do_read_it(asked):
    """What the threshold is for: and the proof that the tests above look in the right place."""
    both = seeds_in(asked, HOLDERS[0], HOLDERS[1])
    assert len(both) == len(asked.joint.terms.pieces)
    for victim in FOUR:
        (wire,) = unpack(asked.chunks[victim])
        values, distance = opened(asked, wire, both)
        assert values[:16].tolist() == [ROWS[victim]] * 16
        assert distance < 0.01


def test_partials_open_for_nothing_that_aggregator_and_one_keyholder_own(asked):
    candidates = keys_in(asked, AGGREGATOR, HOLDERS[0])
    assert len(candidates) > 50
    for party in HOLDERS[1:]:
        origin = Origin(asked.order.id, party, asked.listed.digest)
        assert unseal(asked.boxes[party], PRIVATE, origin)
        for key in candidates:
            with pytest.raises(SecureComputeError):
                unseal(asked.boxes[party], AgreementKey(key), origin)


def test_a_colluding_keyholders_own_partials_and_the_sum_open_nothing_either(asked, alone):
    """The sum needs the missing piece as much as any single ciphertext does."""
    total = ciphertext.to_bytes(
        DATA.reduce(sum(ciphertext.from_bytes(unpack(blob)[0]) for blob in asked.chunks.values()))
    )
    values, _ = opened(asked, total, alone)
    assert sum(ROWS.values()) not in values[:16].tolist()


def test_nodes_keep_no_piece_and_no_exact_number_of_another(asked):
    assert seeds_in(asked, *FOUR[:2]) == {}
