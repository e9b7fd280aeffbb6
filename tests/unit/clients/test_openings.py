"""What a keyholder demands before it helps to open, and what it says: one list, fixed strings."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from hashlib import sha256

import pytest

from clients.commitments import Commitments
from experiments.ordering import sign as sign_as_analyst
from federation.joint_keys import Package, pack, unpack
from federation.ledger.entries import EntryKind
from federation.messages import Kind
from federation.sealed_answers import Origin, unseal
from secure_compute.errors import PeerProtocolError
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.threshold.ciphertext import HALF, SIZE
from secure_compute.threshold.listing import Commitment, Endorsement, listing
from secure_compute.threshold.memory import keyholder_from_bytes
from tests.asked import FOUR, HOLDERS, PRIVATE, Joint, Pool, cosigned, federation, question
from tests.simulator import CN, EU, killed

ONE, TWO, THREE = HOLDERS
OTHER = AgreementKey(bytes(range(1, 33)))


@pytest.fixture
def asked(table):
    return table.answered()


def bound(simulation, order, party=ONE):
    """What the keyholder's file says is bound to a query."""
    with sqlite3.connect(simulation.folder(party) / "keys.sqlite") as db:
        row = db.execute("SELECT listing FROM openings WHERE query = ?", (order.id,)).fetchone()
    return None if row is None else row[0]


def named(simulation, order, party=ONE):
    """What the keyholder's log says was opened."""
    return [
        entry.body["listing"]
        for entry in simulation.books(party).entries()
        if entry.kind is EntryKind.OPENED and entry.order == order.id
    ]


def endorsed_by(simulation, listed, parties=FOUR):
    """Signatures on a list that its parties never saw: what liars could bring about."""
    made = {}
    for party in parties:
        said = Endorsement(question=listed.question.digest, party=party, listing=listed.digest)
        made[party] = said.signed(simulation.key(party).sign).to_bytes()
    return made


def relisted(simulation, asked, parties=FOUR[:3]):
    """The same question with fewer parties, certified by everybody on it."""
    other = replace(asked)
    other.commitments = {party: asked.commitments[party] for party in parties}
    listed = listing(asked.question, map(Commitment.read, other.commitments.values()))
    other.endorsements = endorsed_by(simulation, listed, parties)
    other.chunks = {party: asked.chunks[party] for party in parties}
    return other


def certified(simulation, asked):
    """Every party of the cohort commits and signs again, for the question as it is now."""
    made = {}
    for party in asked.order.cohort:
        said = Commitment.read(asked.commitments.get(party, asked.commitments[CN]))
        moved = replace(said, party=party, question=asked.question.digest)
        made[party] = moved.signed(simulation.key(party).sign).to_bytes()
    asked.commitments = made
    asked.endorsements = endorsed_by(simulation, asked.listed, tuple(made))


# -- what is answered -----------------------------------------------------------------------------


def test_nothing_is_said_before_the_opening_is_witnessed(table, asked):
    simulation = table.simulation
    reply = asked.open_once(ONE)
    assert (reply.kind, reply.body["lacks"]) == (Kind.LEDGER_UNSURE, "witness")
    assert set(reply.blobs) == {"head"}
    assert bound(simulation, asked.order) == asked.listed.digest
    assert named(simulation, asked.order) == [asked.listed.digest]
    blob = simulation.cosign(ONE, reply.blobs["head"], (CN, EU))
    simulation.node(ONE).answer(simulation.letter(Kind.LEDGER_WITNESS, ONE, "", cosigned=blob))
    assert asked.open_once(ONE).kind is Kind.LEDGER_UNSURE
    cosigned(simulation, ONE, reply.blobs["head"])
    assert asked.open_once(ONE).kind is Kind.QUERY_OPENED


def test_a_list_can_be_bound_ahead_of_its_ciphertexts(table):
    asked = table.endorsed()
    reply = asked.open_once(ONE)
    assert reply.kind is Kind.LEDGER_UNSURE
    cosigned(table.simulation, ONE, reply.blobs["head"])
    assert asked.open_once(ONE).kind is Kind.FAILED
    for party in FOUR:
        asked.reveal(party)
    assert asked.open_once(ONE).kind is Kind.QUERY_OPENED


def test_a_retry_a_restart_and_another_quorum_of_signers_give_the_same_bytes(table, asked):
    def box():  # its digest: to tell where two boxes differ takes pytest hours
        return sha256(asked.open(ONE).blobs["sealed"]).hexdigest()

    first = box()
    assert box() == first
    table.simulation.restart(ONE)
    assert box() == first
    signed = dict(asked.endorsements)
    for away in FOUR:
        asked.endorsements = {party: said for party, said in signed.items() if party != away}
        assert box() == first


def test_two_holders_of_a_piece_say_the_same_string(asked):
    for party in HOLDERS:
        asked.open(party)
    by_place = {}
    for party in HOLDERS:
        for partial in asked.partials(party):
            by_place.setdefault(partial.place, set()).add(partial.wire)
    assert {place: len(wires) for place, wires in by_place.items()} == {0: 1, 1: 1, 2: 1}


def test_the_work_is_shared_out_by_places_and_a_dead_holders_are_asked_of_another(asked):
    def opened(party, places):
        reply = asked.open(party, asked.open_letter(party, {"places": places}))
        return [partial.place for partial in asked.partials(party)] if reply.blobs else reply.kind

    assert opened(ONE, [1]) == [1]
    assert opened(TWO, [2]) == [2]
    assert opened(TWO, [0, 2]) == [0, 2]  # of ONE's, had it died
    assert opened(ONE, [0]) == [0]
    assert opened(THREE, [0]) is Kind.FAILED  # THREE holds the other two
    for bad in ([], [1, 1], [1, 0], [True], ["1"], [99], [-1], 1, "01", {}):
        wire = asked.open_letter(ONE, {"places": bad})
        assert asked.open_once(ONE, wire).kind is Kind.FAILED, bad


# -- for whom -------------------------------------------------------------------------------------


def test_partials_are_sealed_to_the_key_in_the_signed_order_whatever_a_letter_says(asked):
    asked.open(ONE)
    body = {"sealing": OTHER.public.hex(), "recipient": "aggregator"}
    wire = asked.open_letter(ONE, body, sealing=OTHER.public, recipient=b"aggregator")
    reply = asked.open(ONE, wire)
    assert reply.blobs["sealed"] == asked.boxes[ONE]
    assert asked.partials(ONE)
    with pytest.raises(PeerProtocolError):
        asked.partials(ONE, OTHER)
    assert {partial.recipient for partial in asked.partials(ONE)} == {"analyst"}


def test_an_order_that_names_another_sealing_key_is_another_order(table, asked):
    parameters = {**asked.order.parameters, "sealing": OTHER.public.hex()}
    changed = replace(asked.order, parameters=parameters)
    wire = sign_as_analyst(table.simulation.home, asked.order)
    body = sign_as_analyst(table.simulation.home, changed)[64:]
    for order in (wire[:64] + body, sign_as_analyst(table.simulation.home, changed)):
        assert asked.open_once(ONE, asked.open_letter(ONE, order=order)).kind is Kind.FAILED
    renamed = replace(asked, order=changed)
    assert renamed.open_once(ONE).kind is Kind.FAILED  # its parties answered another question


def test_an_order_without_a_sealing_key_is_not_opened(table, asked):
    parameters = {k: v for k, v in asked.order.parameters.items() if k != "sealing"}
    bare = replace(asked, order=replace(asked.order, parameters=parameters))
    certified(table.simulation, bare)
    assert bare.open_once(ONE).kind is Kind.FAILED
    assert bound(table.simulation, bare.order) is None


def test_a_box_opens_for_its_own_order_keyholder_and_list(asked):
    asked.open(ONE)
    box, listed = asked.boxes[ONE], asked.listed.digest
    assert unseal(box, PRIVATE, Origin(asked.order.id, ONE, listed))
    for origin in (
        Origin(asked.order.id, TWO, listed),
        Origin("00" * 32, ONE, listed),
        Origin(asked.order.id, ONE, "00" * 32),
    ):
        with pytest.raises(PeerProtocolError):
            unseal(box, PRIVATE, origin)
    for spoilt in (b"", box[:47], bytes(len(box)), bytes([box[0] ^ 1]) + box[1:], box[:-1]):
        with pytest.raises(PeerProtocolError):
            unseal(spoilt, PRIVATE, Origin(asked.order.id, ONE, listed))


# -- one list, one query, one key -----------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True])
def test_a_second_list_of_a_query_is_never_opened(table, asked, restarted):
    asked.open(ONE)
    smaller = relisted(table.simulation, asked)
    if restarted:
        table.simulation.restart(ONE)
    assert smaller.open(ONE).kind is Kind.FAILED
    assert named(table.simulation, asked.order) == [asked.listed.digest]


def test_a_list_that_was_bound_and_never_answered_is_the_only_one_too(table, asked):
    asked.open_once(ONE)
    table.simulation.restart(ONE)
    smaller = relisted(table.simulation, asked)
    assert smaller.open(ONE).kind is Kind.FAILED
    assert asked.open(ONE).kind is Kind.QUERY_OPENED


@pytest.mark.parametrize("restarted", [False, True])
def test_a_query_is_not_opened_under_two_keys(table, asked, restarted):
    asked.open(ONE)
    if restarted:
        table.simulation.restart(ONE)
    other = replace(asked, package=table.package())
    made = {}
    for party, said in asked.commitments.items():
        moved = replace(Commitment.read(said), question=other.question.digest)
        made[party] = moved.signed(table.simulation.key(party).sign).to_bytes()
    other.commitments = made
    other.endorsements = endorsed_by(table.simulation, other.listed)
    assert other.open(ONE).kind is Kind.FAILED


@pytest.mark.parametrize("restarted", [False, True])
def test_a_key_serves_one_query(table, asked, restarted):
    asked.open(ONE)
    second = table.ask(asked.package)
    made = {}
    for party, said in asked.commitments.items():
        moved = replace(Commitment.read(said), question=second.question.digest)
        made[party] = moved.signed(table.simulation.key(party).sign).to_bytes()
    second.commitments, second.chunks = made, asked.chunks
    second.endorsements = endorsed_by(table.simulation, second.listed)
    if restarted:
        table.simulation.restart(ONE)
    assert second.open(ONE).kind is Kind.FAILED
    assert named(table.simulation, second.order) == []


def test_another_key_opens_nothing(table, asked):
    other = Package.read(table.package()).terms.digest
    for key in (other, "", "0" * 64, 7, None):
        assert asked.open_once(ONE, asked.open_letter(ONE, {"key": key})).kind is Kind.FAILED
    assert bound(table.simulation, asked.order) is None


def test_a_list_is_expected_before_it_is_certified_and_no_other_is_opened(table, asked):
    for _ in range(2):
        assert expected(asked, ONE).kind is Kind.QUERY_BOUND
    assert named(table.simulation, asked.order) == [asked.listed.digest]
    smaller = relisted(table.simulation, asked)
    assert expected(smaller, ONE).kind is Kind.FAILED
    assert smaller.open(ONE).kind is Kind.FAILED
    table.simulation.restart(ONE)
    assert smaller.open(ONE).kind is Kind.FAILED
    assert asked.open(ONE).kind is Kind.QUERY_OPENED


def test_of_a_list_that_is_expected_and_not_certified_nothing_is_opened(table, asked):
    cosigned(table.simulation, ONE, expected(asked, ONE).blobs["head"])
    few = replace(asked, endorsements=dict(list(asked.endorsements.items())[:2]))
    for wire in (few.open_letter(ONE), asked.open_letter(ONE, endorsements=b"")):
        assert asked.open_once(ONE, wire).kind is Kind.FAILED
    assert asked.open_once(ONE).kind is Kind.QUERY_OPENED  # and that was all it lacked


def test_what_is_expected_is_a_list_of_the_order(table, asked):
    other = table.answered()
    for commitments in (b"", pack(list(asked.commitments.values())[:2])):
        assert expected(asked, ONE, commitments=commitments).kind is Kind.FAILED
    said = pack(list(other.commitments.values()))
    assert expected(asked, ONE, commitments=said).kind is Kind.FAILED
    assert bound(table.simulation, asked.order) is None
    assert named(table.simulation, asked.order) == []


def test_a_key_whose_list_was_expected_and_never_opened_is_retired(table, asked):
    assert expected(asked, ONE).kind is Kind.QUERY_BOUND
    assert asked.close(ONE).kind is Kind.CLOSED
    assert asked.open(ONE).kind is Kind.FAILED


def expected(asked, party, **changes):
    """What a keyholder answers to the list while it is being signed."""
    said = pack(list(asked.commitments.values()))
    blobs = {"order": asked._signed(), "commitments": said, **changes}
    body = {"key": Package.read(asked.package).terms.digest}
    simulation = asked.simulation
    letter = simulation._question(Kind.QUERY_BIND, party, body, asked.order.id, 0, blobs)
    return simulation.read(simulation.node(party).answer(letter))


def test_without_a_quorums_signatures_nothing_is_bound(table, asked):
    signed = dict(asked.endorsements)
    few = dict(list(signed.items())[:2])
    for said in (few, {}, {"x": signed[CN], "y": signed[CN], "z": signed[CN]}):
        asked.endorsements = said
        assert asked.open_once(ONE).kind is Kind.FAILED
    forged = Endorsement.read(signed[CN])
    twice = replace(forged, party=EU).to_bytes()
    asked.endorsements = {**few, "z": twice}
    assert asked.open_once(ONE).kind is Kind.FAILED
    assert bound(table.simulation, asked.order) is None
    assert named(table.simulation, asked.order) == []


def test_a_party_that_holds_no_key_opens_nothing(asked):
    for party in (CN, EU):
        assert asked.open_once(party).kind is Kind.FAILED
        assert not (asked.simulation.folder(party) / "keys.sqlite").exists()


# -- what is opened -------------------------------------------------------------------------------


def flipped(blob, at):
    return blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]


def test_only_the_committed_ciphertexts_are_opened(table, asked):
    asked.open_once(ONE)
    cosigned(table.simulation, ONE, asked.open_once(ONE).blobs["head"])
    good = asked.chunks[CN]
    (wire,) = unpack(good)
    zero_c1 = wire[:HALF] + bytes(HALF)
    for chunks in (
        *(pack([flipped(wire, at)]) for at in (0, HALF, SIZE - 1)),
        pack([bytes(SIZE)]),
        pack([zero_c1]),
        pack([b"\xff" * SIZE]),
        asked.chunks[EU],
        pack([wire[:-1]]),
        pack([wire + b"\0"]),
        pack([]),
        b"",
        b"\xff" * 12,
        good[:-1],
    ):
        letter = asked.open_letter(ONE, **{f"of_{CN}": chunks})
        reply = asked.open_once(ONE, letter)
        assert reply.kind is Kind.FAILED
        assert not reply.blobs
    assert asked.open(ONE).kind is Kind.QUERY_OPENED


def test_a_sum_of_anything_else_than_the_list_is_not_made(asked):
    chunks = dict(asked.chunks)
    first = asked.open(ONE).blobs["sealed"]
    del asked.chunks[CN]
    assert asked.open(ONE).kind is Kind.FAILED
    asked.chunks = chunks | {"merchant-uk": chunks[CN]}
    assert asked.open(ONE).blobs["sealed"] == first  # whoever is not on the list is not added


# -- what lies on disk ----------------------------------------------------------------------------


def beside(simulation, party=ONE):
    """Return a connection of somebody else; as long as it is open, nobody folds the log in."""
    db = sqlite3.connect(simulation.folder(party) / "keys.sqlite")
    db.execute("SELECT count(*) FROM pools").fetchone()
    return db


def seeds(simulation, asked, party=ONE):
    name = asked.joint.terms.digest
    with closing(beside(simulation, party)) as db:
        rows = db.execute("SELECT state FROM pools").fetchall()
    for (state,) in rows:
        for key in keyholder_from_bytes(bytes(state)).keys:
            if key.terms.digest == name:
                return [piece.seed for piece in key.pieces]
    raise AssertionError("no such key")


def on_disk(simulation, party=ONE):
    folder = simulation.folder(party)
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("how", ["closed", "expired"])
def test_the_pieces_of_a_key_are_gone_once_its_query_is_over(table, asked, how):
    simulation, sealed = table.simulation, asked.open(ONE).blobs["sealed"]
    held = seeds(simulation, asked)
    assert len(held) == 2
    assert held[0].hex().encode() in on_disk(simulation)
    with closing(beside(simulation)):
        if how == "closed":
            assert asked.close(ONE).kind is Kind.CLOSED
        else:
            simulation.node(ONE)._keys._opener.retire_expired(asked.order.expires)
        assert seeds(simulation, asked) == []
        for seed in held:
            assert seed.hex().encode() not in on_disk(simulation)
            assert seed not in on_disk(simulation)
    assert sealed
    assert asked.open_once(ONE).kind is Kind.FAILED
    assert asked.close(ONE).kind is Kind.CLOSED


def test_the_list_is_bound_and_named_in_the_log_before_anything_is_answered(
    table, asked, monkeypatch
):
    simulation = table.simulation
    simulation.node(ONE)

    def dying(*_):
        from tests.simulator import Killed

        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Commitments, "open", dying)
        assert killed(lambda: asked.open_once(ONE))
    assert bound(simulation, asked.order) == asked.listed.digest
    assert named(simulation, asked.order) == []
    simulation.restart(ONE)
    assert relisted(simulation, asked).open(ONE).kind is Kind.FAILED
    assert asked.open(ONE).kind is Kind.QUERY_OPENED
    assert named(simulation, asked.order) == [asked.listed.digest]


def test_an_opening_that_the_log_cannot_be_told_of_is_not_made(table, asked, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Commitments, "open", full)
        reply = asked.open_once(ONE)
    assert reply.kind is Kind.FAILED
    assert not reply.blobs


@pytest.fixture
def alone(tmp_path):
    """A federation of its own, whose files are put back."""
    simulation = federation(tmp_path / "federation")
    pool = Pool(simulation, serials=(0, 1)).made()
    return Joint(simulation, question(simulation), pool.package(0).to_bytes()), pool


def copy_of(simulation, tmp_path, names):
    simulation.kill(ONE)
    kept = tmp_path / "kept"
    kept.mkdir()
    for path in simulation.folder(ONE).glob(names):
        if path.is_file():
            shutil.copy(path, kept)
    return kept


def put_back(simulation, kept, names):
    simulation.kill(ONE)
    for path in simulation.folder(ONE).glob(names):
        if path.is_file():
            path.unlink()
    for path in kept.iterdir():
        shutil.copy(path, simulation.folder(ONE))


def test_an_old_copy_of_the_keys_is_given_up(alone, tmp_path, caplog):
    asked, pool = alone
    simulation = asked.simulation
    asked.answered()
    kept = copy_of(simulation, tmp_path, "keys.sqlite*")
    asked.open(ONE)
    put_back(simulation, kept, "keys.sqlite*")
    assert bound(simulation, asked.order) is None
    assert relisted(simulation, asked).open(ONE).kind is Kind.FAILED
    assert asked.open(ONE).kind is Kind.FAILED
    assert "old copy" in caplog.text
    later = Joint(simulation, question(simulation), pool.package(1).to_bytes()).answered()
    assert later.open(ONE).kind is Kind.FAILED  # of the same copy: who knows what it served
    assert later.open(TWO).kind is later.open(THREE).kind is Kind.QUERY_OPENED
    assert len(later.answer((TWO, THREE))) == later.question.cells
    fresh = Pool(simulation, "ab" * 32).made()
    third = Joint(simulation, question(simulation), fresh.package().to_bytes()).answered()
    assert third.open(ONE).kind is Kind.QUERY_OPENED


def test_an_old_copy_with_an_opening_that_is_not_over_blocks_no_later_one(alone, tmp_path):
    """Its pieces are given up with it: what was to be deleted at its end is gone already."""
    asked, pool = alone
    simulation = asked.simulation
    asked.answered()
    assert asked.open(ONE).kind is Kind.QUERY_OPENED
    kept = copy_of(simulation, tmp_path, "keys.sqlite*")
    second = Joint(simulation, question(simulation), pool.package(1).to_bytes()).answered()
    assert second.open(ONE).kind is Kind.QUERY_OPENED
    put_back(simulation, kept, "keys.sqlite*")
    fresh = Pool(simulation, "ab" * 32).made()
    third = Joint(simulation, question(simulation), fresh.package().to_bytes()).answered()
    assert third.open(ONE).kind is Kind.QUERY_OPENED
    closed = simulation.letter(Kind.CLOSE, ONE, asked.order.id)
    assert simulation.read(simulation.node(ONE).answer(closed)).kind is Kind.CLOSED


def test_a_folder_put_back_opens_no_second_list(alone, tmp_path):
    """Whatever left, its opening was witnessed: the witnesses find the shorter log."""
    asked, _ = alone
    simulation = asked.simulation
    asked.answered()
    folder = simulation.folder(ONE)
    simulation.kill(ONE)
    shutil.copytree(folder, tmp_path / "kept")
    reply = asked.open_once(ONE)
    head = reply.blobs["head"]
    for party in (*FOUR, TWO, THREE):  # as real witnesses they remember what they cosigned
        heads = pack_heads({ONE: head})
        said = simulation.node(party).answer(
            simulation.letter(Kind.LEDGER_WITNESS, party, "", heads=heads)
        )
        lines = simulation.read(said).blobs["cosigned"]
        simulation.node(ONE).answer(simulation.letter(Kind.LEDGER_WITNESS, ONE, "", cosigned=lines))
    cosigned(simulation, ONE, head)
    assert asked.open_once(ONE).kind is Kind.QUERY_OPENED
    simulation.kill(ONE)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "kept", folder)
    assert relisted(simulation, asked).open_once(ONE).kind is Kind.FAILED
    assert type(simulation._nodes[ONE].ended).__name__ == "RolledBackError"


def pack_heads(heads):
    from federation.riding import pack as pack_parts

    return pack_parts(heads)


# -- which orders ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"code": "00" * 32},
        {"created": 1, "expires": 2},
        {"cohort": (*FOUR[:3], ONE)},
        {"minimum": 2},
        {"kind": "train"},
    ],
)
def test_no_list_is_bound_for_an_order_that_may_not_be_opened(table, asked, changes):
    order = replace(asked.order, **changes)
    changed = replace(asked, order=order)
    certified(table.simulation, changed)
    assert changed.open_once(ONE).kind is Kind.FAILED
    assert bound(table.simulation, order) is None
    assert named(table.simulation, order) == []
