"""A joint question between real nodes, letter by letter: the side of those who hold rows."""

import shutil
import sqlite3
import stat
from dataclasses import replace
from types import SimpleNamespace

import pytest

import clients.node
from clients.copies import Copies
from clients.errors import RefusedWorkError
from clients.ingestion import stamp_of
from clients.judgement import Judge
from clients.queries import preparing
from clients.queries.prepared import Prepared
from clients.settings import load_settings
from federation.joint_keys import Package, pack, unpack
from federation.messages import Kind
from federation.secure_sums import signers
from secure_compute.canonical import digest
from secure_compute.entropy import SystemEntropy
from secure_compute.errors import PeerProtocolError
from secure_compute.primitives.agreement import AgreementKey
from secure_compute.secagg import epoch as epochs
from secure_compute.threshold import ciphertext, scheme
from secure_compute.threshold import pool as pools
from secure_compute.threshold.listing import Commitment, Endorsement
from secure_compute.threshold.memory import party_from_bytes
from secure_compute.threshold.ring import DATA
from secure_compute.threshold.terms import Terms
from tests.asked import FOUR, HOLDERS, Joint, cosigned, federation, question
from tests.simulator import CN, EU, Killed, killed

GONE = "answers.sqlite*"


@pytest.fixture
def fixed(monkeypatch):
    """Every node's cells are its place in the cohort, and nothing else."""

    def cells(order, *_):
        fixed.asked += 1
        return tuple(range(fixed.width(order)))

    fixed = type("Fixed", (), {"asked": 0, "width": staticmethod(width)})()
    monkeypatch.setattr(clients.node, "noised_cells", cells)
    return fixed


def width(order):
    from federation.queries import sensitivity
    from federation.tasks import QueryTask

    return sensitivity.width(QueryTask.from_json(order.parameters).plan)


def state(simulation, party=CN):
    with sqlite3.connect(simulation.folder(party) / "answers.sqlite") as db:
        return party_from_bytes(bytes(db.execute("SELECT state FROM party").fetchone()[0]))


def releases(simulation, party=CN):
    account = simulation.account(party, "orders")
    return 0 if account is None else account.releases


def test_any_two_of_three_keyholders_open_the_same_exact_sum(table, fixed):
    asked = table.answered()
    for party in HOLDERS:
        assert asked.open(party).kind is Kind.QUERY_OPENED
    expected = tuple(len(FOUR) * cell for cell in range(width(asked.order)))
    for pair in (HOLDERS[:2], HOLDERS[1:], HOLDERS[::2]):
        assert asked.answer(pair) == expected
    with pytest.raises(PeerProtocolError, match="a partial of piece"):
        asked.answer(HOLDERS[:1])


def test_an_answer_carries_the_noise_of_every_node(table):
    asked = table.answered()
    for party in HOLDERS[:2]:
        asked.open(party)
    first = asked.answer(HOLDERS[:2])
    again = table.answered()
    for party in HOLDERS[:2]:
        again.open(party)
    assert first != again.answer(HOLDERS[:2])


def test_a_node_answers_from_its_copy_once_there_is_one(table, monkeypatch, tmp_path):
    begun, answered, real = [], [], Prepared.rows
    kept = Copies(tmp_path, 1, lambda work: (work(), begun.append(work)), preparing.prepare)
    monkeypatch.setattr(table.simulation.node(CN), "_copies", kept)
    monkeypatch.setattr(Prepared, "rows", lambda *of: answered.append(of[0]) or real(*of))
    for copied in range(3):
        asked = table.offered()
        assert asked.commit(CN).kind is Kind.QUERY_COMMITTED
        asked.close(CN)
        assert (len(begun), len(answered)) == (1, copied)
    assert {copy.folder.parent for copy in answered} == {tmp_path / "prepared"}


def test_a_start_begins_the_copies(tmp_path, monkeypatch):
    simulation, seen = federation(tmp_path / "federation"), []
    monkeypatch.setattr(Copies, "of", lambda _, contract, *of: seen.append((contract.name, *of)))
    simulation.started(CN)
    settings = load_settings(simulation.folder(CN))
    tables = {name: settings.table(c) for name, c in settings.contracts().items()}
    assert seen == [(name, path, stamp_of(path)) for name, path in tables.items()]


# -- said once, charged once ----------------------------------------------------------------------


def test_each_step_asked_again_gives_the_same_bytes_and_one_charge(table):
    asked, before = table.offered(), releases(table.simulation)
    for step in (asked.commit, asked.endorse, asked.reveal):
        first = {party: step(party).blobs for party in FOUR}
        for party in FOUR:
            again = step(party).blobs
            name = next(n for n in first[party] if n in {"commitment", "endorsement", "chunks"})
            assert again[name] == first[party][name]
    assert releases(table.simulation) == before + 1


def test_it_is_charged_when_the_ciphertexts_leave_and_not_before(table):
    asked, before = table.offered(), releases(table.simulation)
    for step in (asked.commit, asked.endorse):
        for party in FOUR:
            step(party)
    assert releases(table.simulation) == before
    assert asked.order.id in table.simulation.books(CN).open_orders()
    assert asked.reveal(CN).kind is Kind.QUERY_REVEALED
    assert releases(table.simulation) == before + 1
    assert asked.order.id not in table.simulation.books(CN).open_orders()


def test_what_was_never_revealed_is_given_back(table):
    asked, before = table.committed(), releases(table.simulation)
    assert asked.endorse(CN).kind is Kind.QUERY_ENDORSED
    assert asked.close(CN).kind is Kind.CLOSED
    assert releases(table.simulation) == before
    assert asked.order.id not in table.simulation.books(CN).open_orders()
    for party in FOUR[1:]:
        asked.endorse(party)
    assert asked.reveal(CN).kind is Kind.FAILED
    assert releases(table.simulation) == before


def test_one_letter_proposes_a_question_and_asks_for_its_commitment(table):
    asked = table.ask()
    reply = proposed(asked, CN)
    assert reply.kind is Kind.QUERY_COMMITTED and "head" in reply.blobs
    assert asked.order.id in table.simulation.books(CN).open_orders()
    again = proposed(asked, CN)
    assert again.blobs["commitment"] == reply.blobs["commitment"]


def test_what_a_node_refuses_it_does_not_commit_to(table, fixed):
    order, before = question(table.simulation, epsilon="70"), fixed.asked
    asked = Joint(table.simulation, order, table.package())
    reply = proposed(asked, CN)
    assert reply.kind is Kind.REFUSED and reply.body["reasons"]
    assert fixed.asked == before
    assert asked.order.id not in table.simulation.books(CN).open_orders()


def test_ciphertexts_wait_for_the_witnesses_of_the_reservation(table):
    asked, before = table.ask(), releases(table.simulation)
    heads = {}
    for party in FOUR:
        reply = proposed(asked, party)
        asked.commitments[party] = reply.blobs["commitment"]
        heads[party] = reply.blobs["head"]
    for party in FOUR:
        assert asked.endorse(party).kind is Kind.QUERY_ENDORSED
    reply = asked.reveal(CN)
    assert (reply.kind, reply.body["lacks"]) == (Kind.LEDGER_UNSURE, "witness")
    assert releases(table.simulation) == before
    cosigned(table.simulation, CN, heads[CN])
    assert asked.reveal(CN).kind is Kind.QUERY_REVEALED
    assert releases(table.simulation) == before + 1


def proposed(asked, party):
    return asked.ask(Kind.QUERY_COMMIT, party, order=asked._signed(), key=asked.package)


def test_what_is_on_disk_is_its_owners_alone_and_gone_when_the_query_is_over(table):
    asked = table.answered()
    (wire,) = unpack(asked.chunks[CN])
    folder = table.simulation.folder(CN)
    assert any(wire[:64] in path.read_bytes() for path in folder.glob(GONE))
    for path in folder.glob(GONE):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert asked.close(CN).kind is Kind.CLOSED
    with sqlite3.connect(folder / "answers.sqlite") as db:
        left = db.execute("SELECT count(*) FROM chunks WHERE query = ?", (asked.order.id,))
        assert left.fetchone() == (0,)
    assert asked.reveal(CN).kind is Kind.FAILED
    assert asked.endorse(CN).kind is Kind.FAILED
    assert state(table.simulation).answer(asked.order.id).revealed


# -- which key ------------------------------------------------------------------------------------


def assert_nothing_left(table, asked, package, party=CN):
    before = releases(table.simulation, party)
    reply = asked.commit(party, package)
    assert reply.kind is Kind.FAILED
    assert releases(table.simulation, party) == before
    answers = table.simulation.folder(party) / "answers.sqlite"
    if answers.exists() and state_exists(answers):
        assert asked.order.id not in {a.query for a in state(table.simulation, party).answers}


def state_exists(path):
    with sqlite3.connect(path) as db:
        tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
        return "party" in tables and db.execute("SELECT 1 FROM party").fetchone() is not None


def test_a_key_with_a_part_that_the_aggregator_made_is_not_encrypted_under(table, fixed):
    asked = table.offered()
    good, other = Package.read(asked.package), Package.read(table.package())
    own = other.parts[0]  # a part whose piece somebody knows
    cases = [
        replace(good, parts=(own, *good.parts[1:])),
        replace(good, parts=good.parts[1:]),
        replace(good, parts=(*good.parts, own)),
        replace(good, parts=(good.parts[1], good.parts[0], good.parts[2])),
        replace(good, parts=(good.parts[0][:-1], *good.parts[1:])),
        replace(good, commitments=good.commitments[1:]),
        replace(good, commitments=other.commitments),
        replace(good, terms=other.terms),
    ]
    for package in cases:
        assert_nothing_left(table, asked, package.to_bytes())
    for blob in (b"", b"\0" * 64, asked.package[:-1], asked.package + b"\0"):
        assert_nothing_left(table, asked, blob)
    assert fixed.asked == 0  # no row was touched for any of them
    assert asked.commit(CN).kind is Kind.QUERY_COMMITTED


def resigned(table, package, signers, **changes):
    """A key of other terms whose commitments are signed by whoever plays along."""
    terms = replace(package.terms, **changes)
    said = []
    for commitment in package.commitments:
        moved = replace(commitment, key=terms.digest)
        if commitment.keyholder in signers:
            moved = moved.signed(table.simulation.key(commitment.keyholder).sign)
        said.append(moved)
    return Package(terms, tuple(said), package.parts).to_bytes()


def test_a_key_of_other_keyholders_or_a_lower_threshold_is_not_encrypted_under(table):
    asked = table.offered()
    good = Package.read(asked.package)
    swapped = replace(
        good.terms.keyholders[2], identity=table.simulation.key(HOLDERS[0]).verify_key
    )
    for changes in (
        {"roster": "00" * 32},
        {"federation": "elsewhere"},
        {"serial": 999},  # signed by all but one
        {"keyholders": (*good.terms.keyholders[:2], swapped)},
        {"keyholders": good.terms.keyholders[:2]},
        {"threshold": 3},
    ):
        assert_nothing_left(table, asked, resigned(table, good, HOLDERS[:2], **changes))


@pytest.mark.parametrize("holders", [HOLDERS[:2], (CN, EU, FOUR[2])])
def test_a_key_that_others_than_the_rosters_keyholders_made_is_not_encrypted_under(table, holders):
    """It is sound in itself: made to the end, and signed by everybody who holds a piece of it."""
    asked = table.offered()
    assert_nothing_left(table, asked, made_by(table.simulation, holders))
    assert asked.commit(CN).kind is Kind.QUERY_COMMITTED


def made_by(simulation, holders):
    roster, secrets = (
        signers(simulation.roster),
        {h: AgreementKey(bytes.fromhex(digest(h))) for h in holders},
    )
    signed = [
        epochs.signed(epochs.advertise(roster, 1, h, secrets[h]), simulation.key(h).sign)
        for h in holders
    ]
    epoch = epochs.gather(roster, 1, signed)
    terms = Terms.of(epoch, keyholders=holders, threshold=2, serial=0)
    states, deals, parts = {}, [], {}
    for h in holders:
        states[h], dealt = pools.begin(pools.join(epoch, h, secrets[h]), terms, SystemEntropy())
        deals += dealt
    for deal in deals:
        states[deal.receiver] = pools.receive(states[deal.receiver], deal)
    said = []
    for h in holders:
        states[h], one = pools.commit(states[h], terms.digest, simulation.key(h).sign)
        said.append(one)
    for h in holders:
        for one in said:
            states[h] = pools.gather(states[h], one)
        parts |= pools.show(states[h], terms.digest)[1]
    return Package(terms, tuple(said), tuple(parts[at] for at in sorted(parts))).to_bytes()


@pytest.mark.parametrize("line", ["threshold", "colluding"])
def test_a_node_that_wants_more_takes_no_key_that_too_few_open(table, line):
    simulation, asked = table.simulation, table.offered()
    path = simulation.folder(EU) / "node.toml"
    kept = path.read_text()
    more = kept.replace("threshold = 2", "threshold = 3")
    path.write_text(more if line == "threshold" else "colluding = 2\n" + kept)
    try:
        simulation.kill(EU)
        assert getattr(load_settings(simulation.folder(EU)), line) in {2, 3}
        later = table.ask()
        later.offer(EU)
        assert_nothing_left(table, later, later.package, EU)
    finally:
        path.write_text(kept)
        simulation.kill(EU)
    assert asked.commit(CN).kind is Kind.QUERY_COMMITTED


def test_a_key_serves_one_query_and_a_query_has_one_key(table):
    asked = table.committed()
    second = table.ask(asked.package)
    second.offer(CN)
    assert_nothing_left(table, second, asked.package)
    before = releases(table.simulation)
    assert asked.commit(CN, table.package()).kind is Kind.FAILED
    assert releases(table.simulation) == before
    first = asked.commitments[CN]
    assert asked.commit(CN).blobs["commitment"] == first


def test_an_order_without_a_sealing_key_is_not_answered(table):
    asked = table.ask()
    bare = {k: v for k, v in asked.order.parameters.items() if k != "sealing"}
    asked.order = replace(asked.order, parameters=bare)
    asked.offer(CN)
    assert_nothing_left(table, asked, asked.package)


def test_without_an_offer_nothing_is_answered(table):
    asked = table.ask()
    for step in (asked.commit, asked.endorse, asked.reveal):
        asked.commitments = {CN: b"x"}
        asked.endorsements = {CN: b"x"}
        assert step(CN).kind is Kind.FAILED


# -- one list -------------------------------------------------------------------------------------


def smaller(asked):
    return [asked.commitments[party] for party in FOUR[:3]]


def test_no_second_list_is_signed(table):
    asked = table.committed()
    first = asked.endorse(CN).blobs["endorsement"]
    assert asked.endorse(CN, smaller(asked)).kind is Kind.FAILED
    table.simulation.restart(CN)
    assert asked.endorse(CN, smaller(asked)).kind is Kind.FAILED
    assert asked.endorse(CN).blobs["endorsement"] == first


def test_a_list_without_ours_or_of_too_few_or_forged_is_not_signed(table):
    asked = table.committed()
    theirs = [asked.commitments[party] for party in FOUR[1:]]
    mine = asked.commitments[CN]
    forged = replace(Commitment.read(asked.commitments[EU]), chunks=("00" * 32,))
    liar = forged.signed(table.simulation.key(EU).sign)
    instead = replace(Commitment.read(mine), chunks=("00" * 32,))
    for said in (
        theirs,
        [mine, theirs[0]],
        [mine, forged.to_bytes(), *theirs[1:]],
        [mine, *theirs, liar.to_bytes()],
        [instead.signed(table.simulation.key(CN).sign).to_bytes(), *theirs],
        [mine, mine, mine],
        [mine, *theirs[:1], b"\0" * 99],
    ):
        assert asked.endorse(CN, said).kind is Kind.FAILED
    assert asked.ask(Kind.QUERY_ENDORSE, CN, commitments=b"").kind is Kind.FAILED
    assert asked.ask(Kind.QUERY_ENDORSE, CN).kind is Kind.FAILED
    assert asked.endorse(CN).kind is Kind.QUERY_ENDORSED


def test_nothing_is_revealed_without_a_quorums_signatures(table):
    asked = table.committed()
    for party in FOUR:
        asked.endorse(party)
    good = list(asked.endorsements.values())
    other = replace(Endorsement.read(good[1]), listing="00" * 32)
    liar = other.signed(table.simulation.key(FOUR[1]).sign)
    for signed in (good[:2], [good[0]] * 3, [*good[:2], liar.to_bytes()], [*good[:2], bytes(99)]):
        assert asked.reveal(CN, signed).kind is Kind.FAILED
    assert asked.ask(Kind.QUERY_REVEAL, CN).kind is Kind.FAILED
    assert asked.reveal(CN, good[:3]).kind is Kind.QUERY_REVEALED


def test_nothing_is_revealed_before_a_list_was_shown(table):
    asked = table.committed()
    for party in FOUR[1:]:
        asked.endorse(party)
    assert asked.reveal(CN).kind is Kind.FAILED
    assert asked.endorse(CN).kind is Kind.QUERY_ENDORSED
    assert asked.reveal(CN).kind is Kind.QUERY_REVEALED


# -- kills and copies -----------------------------------------------------------------------------


def test_a_restart_before_the_list_signs_none_and_reveals_on_the_certified_one(table, fixed):
    asked = table.committed()
    table.simulation.restart(CN)
    for party in FOUR[1:]:
        asked.endorse(party)
    assert asked.endorse(CN).kind is Kind.FAILED  # the folder may have signed another list
    for party in FOUR:
        assert asked.reveal(party).kind is Kind.QUERY_REVEALED
    for party in HOLDERS[:2]:
        asked.open(party)
    assert asked.answer(HOLDERS[:2])[1] == len(FOUR)


def test_a_restart_between_list_and_revealing_goes_on(table):
    asked = table.committed()
    for party in FOUR:
        asked.endorse(party)
    for party in FOUR:
        table.simulation.restart(party)
    first = {party: asked.reveal(party).blobs["chunks"] for party in FOUR}
    for party in FOUR:
        table.simulation.restart(party)
        assert asked.reveal(party).blobs["chunks"] == first[party]
    assert asked.open(HOLDERS[0]).kind is Kind.QUERY_OPENED


def test_a_restart_after_the_commitment_repeats_it_and_makes_no_other(table):
    asked, before = table.offered(), releases(table.simulation)
    first = asked.commit(CN).blobs["commitment"]
    table.simulation.restart(CN)
    assert asked.commit(CN).blobs["commitment"] == first
    assert asked.commit(CN, table.package()).kind is Kind.FAILED
    assert releases(table.simulation) == before + 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_in_the_commitment_says_nothing_else_afterwards(table, moment):
    """Whatever is repeated is what was promised; what was open at the start is over and paid."""
    simulation, asked, before = table.simulation, table.offered(), releases(table.simulation)
    simulation.crash(CN, "outbox", "keep", moment)
    assert killed(lambda: asked.commit(CN))
    promised = state(simulation).answer(asked.order.id).commitment
    simulation.restart(CN)
    assert asked.commit(CN).blobs["commitment"] == promised.to_bytes()
    assert asked.order.id not in simulation.books(CN).open_orders()
    assert releases(simulation) == before + 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_in_the_revealing_is_paid_for_once_and_reveals_the_same(table, moment):
    simulation, asked, before = table.simulation, table.endorsed(), releases(table.simulation)
    simulation.crash(CN, "books", "settle", moment)
    assert killed(lambda: asked.reveal(CN))
    simulation.restart(CN)
    (wire,) = unpack(asked.reveal(CN).blobs["chunks"])
    (promised,) = state(simulation).answer(asked.order.id).commitment.chunks
    assert ciphertext.digest(wire, asked.question.digest, CN, 0) == promised
    assert releases(simulation) == before + 1


def test_what_the_law_refuses_by_now_is_not_revealed_or_charged(table, monkeypatch):
    asked, before = table.endorsed(), releases(table.simulation)

    def refuse(*_):
        raise RefusedWorkError("no longer permitted")

    with monkeypatch.context() as patch:
        patch.setattr(Judge, "still", refuse)
        assert asked.reveal(CN).kind is Kind.FAILED
    assert releases(table.simulation) == before
    assert asked.reveal(CN).kind is Kind.QUERY_REVEALED


def put_aside(simulation, tmp_path, name="aside"):
    kept = tmp_path / name
    kept.mkdir()
    for path in simulation.folder(CN).glob(GONE):
        shutil.copy(path, kept)
    return kept


def put_back(simulation, kept):
    for path in simulation.folder(CN).glob(GONE):
        path.unlink()
    for path in kept.iterdir():
        shutil.copy(path, simulation.folder(CN))


@pytest.mark.parametrize("restarted", [False, True])
def test_answers_put_back_sign_no_second_list(table, tmp_path, restarted):
    asked = table.committed()
    kept = put_aside(table.simulation, tmp_path)
    assert asked.endorse(CN).kind is Kind.QUERY_ENDORSED
    put_back(table.simulation, kept)
    assert state(table.simulation).answer(asked.order.id).endorsed == ""
    if restarted:
        table.simulation.restart(CN)
    assert asked.endorse(CN, smaller(asked)).kind is Kind.FAILED


def test_answers_put_back_to_before_the_commitment_know_nothing(table, tmp_path):
    asked = table.offered()
    kept = put_aside(table.simulation, tmp_path)
    before = releases(table.simulation)
    for party in FOUR:
        asked.commit(party)
    table.simulation.kill(CN)
    put_back(table.simulation, kept)
    assert asked.commit(CN).blobs["commitment"] == asked.commitments[CN]  # as it was kept
    assert asked.endorse(CN).kind is Kind.FAILED
    assert asked.commit(CN, table.package()).kind is Kind.FAILED
    assert releases(table.simulation) == before + 1


def test_answers_that_the_books_do_not_know_are_not_revealed(table, monkeypatch):
    asked = table.committed()
    for party in FOUR:
        asked.endorse(party)
    books = table.simulation.node(CN)._books
    with monkeypatch.context() as patch:
        patch.setattr(books, "open_orders", list)
        assert asked.endorse(CN).kind is Kind.FAILED
        assert asked.reveal(CN).kind is Kind.FAILED
    assert asked.reveal(CN).kind is Kind.QUERY_REVEALED


def test_what_was_promised_is_on_disk_before_it_is_said(table, monkeypatch):
    from clients.answer_store import AnswerStore

    asked = table.committed()
    real = AnswerStore.change

    def dying(self, step):
        real(self, step)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(AnswerStore, "change", dying)
        assert killed(lambda: asked.endorse(CN))
    promised = state(table.simulation).answer(asked.order.id)
    assert (promised.endorsed, promised.revealed) == (asked.listed.digest, False)
    for party in FOUR[1:]:
        asked.endorse(party)
    with monkeypatch.context() as patch:
        patch.setattr(AnswerStore, "change", dying)
        assert killed(lambda: asked.reveal(CN))
    assert state(table.simulation).answer(asked.order.id).revealed


def test_an_answer_that_failed_leaves_no_log_beside_the_file(tmp_path):
    from clients.answer_store import AnswerStore

    def step(_):
        raise Killed

    asked = SimpleNamespace(question=SimpleNamespace(query="q"))
    with pytest.raises(Killed):
        AnswerStore(tmp_path / "answers.sqlite", "a").answer(asked, step)
    assert [path.name for path in tmp_path.iterdir()] == ["answers.sqlite"]


def test_an_expired_query_is_over(table):
    asked = table.committed()
    for party in FOUR:
        asked.endorse(party)
    judge = table.simulation.node(CN)._answers._judge
    later = replace(judge, now=lambda: float(asked.order.expires))
    table.simulation.node(CN)._answers._judge = later
    assert asked.reveal(CN).kind is Kind.FAILED
    table.simulation.node(CN)._answers._judge = judge
    assert asked.reveal(CN).kind is Kind.FAILED


# -- what a party could show ----------------------------------------------------------------------


def test_yesterdays_ciphertext_rerandomised_opens_to_nothing(table, fixed):
    """A party that was given another's old ciphertext adds its own to it, under today's key."""
    yesterday = table.answered()
    (old,) = unpack(yesterday.chunks[EU])
    today = table.committed()
    joint = today.joint
    nothing = today.question.layout.spread([0] * width(today.order))[0]
    fresh = scheme.encrypt(nothing, joint.public, joint.uniform)
    mixed = ciphertext.to_bytes(DATA.add(ciphertext.from_bytes(old), fresh))
    hashed = ciphertext.digest(mixed, today.question.digest, CN, 0)
    said = Commitment(question=today.question.digest, party=CN, chunks=(hashed,))
    today.commitments[CN] = said.signed(table.simulation.key(CN).sign).to_bytes()
    for party in FOUR[1:]:
        assert today.endorse(party).kind is Kind.QUERY_ENDORSED
    for party in FOUR[1:]:
        today.reveal(party)
    today.chunks[CN] = pack([mixed])
    for party in HOLDERS[:2]:
        assert today.open(party).kind is Kind.QUERY_OPENED
    with pytest.raises(PeerProtocolError, match="more noise"):
        today.answer(HOLDERS[:2])


def test_a_party_cannot_commit_to_anothers_ciphertext(table):
    """Its hash takes the party: who repeats a hash has nothing to reveal under it."""
    asked = table.committed()
    theirs = Commitment.read(asked.commitments[EU])
    said = replace(theirs, party=CN).signed(table.simulation.key(CN).sign)
    asked.commitments[CN] = said.to_bytes()
    for party in FOUR[1:]:
        asked.endorse(party)
    for party in FOUR[1:]:
        asked.reveal(party)
    asked.chunks[CN] = asked.chunks[EU]
    reply = asked.open(HOLDERS[0])
    assert reply.kind is Kind.FAILED


def test_a_question_is_derived_from_the_order_alone(table):
    asked = table.ask()
    question = asked.question
    assert question.query == asked.order.id
    assert question.recipient == asked.order.proposer
    assert question.parties == tuple(sorted(FOUR))
    assert question.colluding == asked.joint.terms.threshold - 1
    other = Joint(table.simulation, replace(asked.order, minimum=4), asked.package)
    assert other.question.digest != question.digest
