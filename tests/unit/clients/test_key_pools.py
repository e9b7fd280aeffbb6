"""Keys made ahead by real keyholders: what they repeat, what they refuse, what a kill leaves."""

import sqlite3
import stat
from dataclasses import replace

import pytest

from clients.key_pool import MOST_SERIALS
from clients.key_store import MOST_POOLS, KeyStore
from federation.envelopes import seal
from federation.joint_keys import pack, unpack
from federation.messages import Kind
from federation.secure_sums import epoch_number, signers
from secure_compute.canonical import digest
from secure_compute.errors import PeerProtocolError
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.secagg import epoch as epochs
from secure_compute.threshold.joint import KeyCommitment
from secure_compute.threshold.memory import keyholder_from_bytes
from secure_compute.threshold.pool import Deal
from tests.asked import HOLDERS, Pool
from tests.simulator import CN

ONE, TWO, THREE = HOLDERS


@pytest.fixture
def pool(table, request):
    return Pool(table.simulation, digest(request.node.name), serials=(3, 7))


def until(pool, step):
    """The pool, with every keyholder through all steps before the one of that name."""
    for each in pool.steps():
        if each.__name__ == step:
            return pool
        for party in HOLDERS:
            each(party)
    return pool


def files(simulation, party):
    return [path for path in simulation.folder(party).rglob("keys.sqlite*") if path.is_file()]


def state(simulation, pool, party=ONE):
    with sqlite3.connect(simulation.folder(party) / "keys.sqlite") as db:
        row = db.execute("SELECT state FROM pools WHERE id = ?", (pool.id,)).fetchone()
    return keyholder_from_bytes(row[0])


def test_everybody_adds_up_the_same_key(table, pool):
    pool.made()
    for serial in pool.serials:
        joint = pool.package(serial).assemble(table.simulation.roster)
        for party in HOLDERS:
            held = state(table.simulation, pool, party)
            assert held.key(joint.terms.digest).digest == joint.digest


@pytest.mark.parametrize("step", ["join", "begin", "commit", "show"])
def test_what_is_asked_again_is_said_again(pool, step):
    until(pool, step)
    ask = getattr(pool, step)
    first = {party: ask(party).blobs for party in HOLDERS}
    assert all(first.values())
    assert {party: ask(party).blobs for party in HOLDERS} == first


@pytest.mark.parametrize("step", ["begin", "commit", "show"])
def test_a_restart_after_any_step_says_the_same(table, pool, step):
    until(pool, step)
    ask = getattr(pool, step)
    first = ask(ONE).blobs
    table.simulation.restart(ONE)
    assert ask(ONE).blobs == first
    names = [each.__name__ for each in pool.steps()]
    for each in pool.steps()[names.index(step) :]:
        for party in HOLDERS:
            assert each(party).kind is not Kind.FAILED
    pool.package(7).assemble(table.simulation.roster)


def test_a_pool_is_begun_by_the_process_that_joined_it(table, pool):
    until(pool, "begin")
    table.simulation.restart(ONE)
    assert pool.begin(ONE).kind is Kind.FAILED
    Pool(table.simulation, digest("another")).made()


def test_a_pool_is_begun_once(table, pool):
    until(pool, "begin")
    first = pool.begin(ONE).blobs
    other = replace(pool, serials=(3, 8))
    assert other.begin(ONE).kind is Kind.FAILED
    table.simulation.restart(ONE)
    assert other.begin(ONE).kind is Kind.FAILED
    assert pool.join(ONE).kind is Kind.FAILED
    assert pool.begin(ONE).blobs == first


@pytest.mark.parametrize(
    "serials", [(), (1, 1), (2, 1), (-1,), (True,), tuple(range(MOST_SERIALS + 1)), ("1",)]
)
def test_impossible_numbers_begin_nothing(pool, serials):
    until(pool, "begin")
    pool.serials = serials
    assert pool.begin(ONE).kind is Kind.FAILED


@pytest.mark.parametrize("name", ["", "ab", "ab" * 33])
def test_an_id_that_is_none_is_not_joined(table, name):
    assert Pool(table.simulation, name).join(ONE).kind is Kind.FAILED


def forged(simulation, pool, party, signer):
    """An agreement key for `party` that another chose."""
    secret = AgreementKey(bytes([7]) * 32)
    said = epochs.advertise(signers(simulation.roster), epoch_number(pool.id), party, secret)
    return epochs.signed(said, simulation.key(signer).sign).to_bytes()


def test_an_epoch_has_the_keys_of_all_keyholders_and_nobody_else(table, pool):
    until(pool, "begin")
    good, chosen = dict(pool.keys), forged(table.simulation, pool, TWO, ONE)
    data_node = forged(table.simulation, pool, CN, CN)
    for keys in (
        {ONE: good[ONE], THREE: good[THREE]},
        good | {TWO: chosen},
        good | {CN: data_node},
        {ONE: good[ONE], TWO: good[TWO], CN: data_node},
        good | {TWO: good[TWO][:-1]},
        {},
    ):
        pool.keys = dict(keys)
        assert pool.begin(ONE).kind is Kind.FAILED
    pool.keys = good
    assert pool.begin(ONE).kind is Kind.KEYS_DEALT


def test_a_piece_that_was_changed_or_dealt_for_another_key_is_refused(table, pool):
    until(pool, "commit")
    good = list(pool.deals)
    at = next(i for i, deal in enumerate(good) if deal.receiver == TWO)
    flipped = replace(good[at], box=bytes([good[at].box[0] ^ 1]) + good[at].box[1:])
    moved = replace(good[at], key=pool.terms(7).digest)
    lost = [deal for deal in good if deal.receiver != TWO]
    for deals in ([*lost, flipped], [*lost, moved], lost):
        pool.deals = deals
        assert pool.commit(TWO).kind is Kind.FAILED
    pool.deals = good
    assert pool.commit(TWO).kind is Kind.KEYS_COMMITTED


def test_nobody_shows_a_part_before_all_have_committed_and_agree(table, pool):
    until(pool, "show")
    good = list(pool.commitments)
    mine = [said for said in good if said.keyholder != THREE]
    theirs = next(said for said in good if said.keyholder == THREE)
    other = replace(theirs, parts=("00" * 32, *theirs.parts[1:]))
    liar = other.signed(table.simulation.key(THREE).sign)
    unsigned = replace(theirs, signature=bytes(64))
    rest = [said for said in good if said.keyholder == THREE and said != theirs]
    for said in (mine, [*mine, *rest], [*mine, *rest, unsigned], [*mine, *rest, liar]):
        pool.commitments = said
        assert pool.show(ONE).kind is Kind.FAILED
    pool.commitments = good
    assert pool.show(ONE).kind is Kind.KEYS_SHOWN
    assert pool.show(TWO).kind is Kind.KEYS_SHOWN


@pytest.mark.parametrize("step", ["join", "begin", "commit", "show"])
def test_only_keyholders_make_keys(pool, step):
    until(pool, step)
    assert getattr(pool, step)(CN).kind is Kind.FAILED


def test_a_process_that_nobody_vouches_for_begins_no_key(table, pool):
    until(pool, "join")
    table.simulation.kill(ONE)
    node = table.simulation.started(ONE)
    reply = node.answer(table.simulation.letter(Kind.KEYS_JOIN, ONE, pool.id))
    pool.keys[ONE] = table.simulation.read(reply).blobs["key"]
    for party in (TWO, THREE):
        pool.join(party)
    keys = pack(list(pool.keys.values()))
    body = {"serials": [3]}
    wire = table.simulation._question(Kind.KEYS_BEGIN, ONE, body, pool.id, 0, {"keys": keys})
    reply = table.simulation.read(node.answer(wire))
    assert (reply.kind, reply.body["lacks"]) == (Kind.LEDGER_UNSURE, "seen")
    table.simulation.node(ONE)
    assert table.simulation.read(node.answer(wire)).kind is Kind.KEYS_DEALT


def test_what_a_keyholder_keeps_is_its_owners_alone_and_nothing_of_it_leaves(table, pool):
    pool.made()
    held = state(table.simulation, pool)
    secrets = [piece.seed for key in held.keys for piece in key.pieces]
    secrets += [pair for _, pair in held.pairs]
    said = pack([*pool.keys.values(), *(deal.to_bytes() for deal in pool.deals)])
    said += pack([one.to_bytes() for one in pool.commitments]) + pack([*pool.parts.values()])
    assert secrets
    for secret in secrets:
        assert secret not in said
        assert secret.hex().encode() not in said
    for path in files(table.simulation, ONE):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_secret_of_an_epoch_is_never_written(table, pool):
    until(pool, "begin")
    kept = table.simulation.node(ONE)._keys._pool._joined[pool.id].secret.seed
    pool.made()
    for path in table.simulation.folder(ONE).rglob("*"):
        if path.is_file():
            assert kept not in path.read_bytes()
            assert kept.hex().encode() not in path.read_bytes()


@pytest.mark.parametrize("kind", [Kind.KEYS_COMMIT, Kind.KEYS_SHOW])
def test_a_pool_that_was_not_begun_answers_nothing(table, pool, kind):
    blobs = {"deals": b"", "commitments": b""}
    assert table.simulation.ask(kind, ONE, pool.id, **blobs).kind is Kind.FAILED


@pytest.mark.parametrize("step", ["begin", "commit", "show"])
@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b"\xff" * 9])
def test_a_letter_that_is_garbage_changes_nothing(table, pool, step, spoil):
    until(pool, step)
    part = {"begin": "keys", "commit": "deals", "show": "commitments"}[step]
    carried = {
        "begin": pool.keys.values(),
        "commit": [deal.to_bytes() for deal in pool.deals if deal.receiver == TWO],
        "show": [said.to_bytes() for said in pool.commitments],
    }[step]
    kind = {"begin": Kind.KEYS_BEGIN, "commit": Kind.KEYS_COMMIT, "show": Kind.KEYS_SHOW}[step]
    assert pool.ask(kind, TWO, **{part: spoil(pack(list(carried)))}).kind is Kind.FAILED
    assert pool.ask(kind, TWO).kind is Kind.FAILED
    assert getattr(pool, step)(TWO).kind is not Kind.FAILED


def test_a_signed_letter_of_somebody_else_begins_nothing(table, pool):
    from clients.errors import RefusedWorkError
    from federation.envelopes import Envelope

    letter = Envelope(Kind.KEYS_JOIN, TWO, ONE, pool.id)
    with pytest.raises(RefusedWorkError):
        table.simulation.node(ONE).answer(seal(letter, table.simulation.key(TWO)))


def test_the_oldest_pool_is_given_up_when_there_are_too_many(table, pool, tmp_path):
    pool.made()
    held = state(table.simulation, pool)
    store = KeyStore(tmp_path / "keys.sqlite")
    first = held.keys[0].terms.digest
    store.begin("pool 0", "asked", held, b"deals")
    assert store.pool_of(first) == "pool 0"
    for number in range(1, MOST_POOLS + 1):
        store.begin(f"pool {number}", "asked", replace(held, keys=()), b"")
    assert store.begun("pool 0") is None
    assert store.begun("pool 1") is not None
    with pytest.raises(Exception, match="holds nothing of that key"):
        store.pool_of(first)


def test_packed_parts_are_read_back_or_refused():
    from federation.errors import MalformedMessageError

    parts = [b"", b"one", b"two" * 99]
    assert unpack(pack(parts)) == parts
    assert unpack(b"") == []
    for bad in (b"\0", b"\0\0\0\x02a", b"\xff\xff\xff\xff" + b"a" * 99, pack(parts)[:-1]):
        with pytest.raises(MalformedMessageError):
            unpack(bad)
    with pytest.raises(MalformedMessageError):
        unpack(bytes(4) * 4097)


def test_a_deal_or_commitment_that_is_none_is_refused():
    for read in (Deal.read, KeyCommitment.read):
        for wire in (b"", b"{}", bytes(64) + b"{}", bytes(100)):
            with pytest.raises(PeerProtocolError):
                read(wire)
