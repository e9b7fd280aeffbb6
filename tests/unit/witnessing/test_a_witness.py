"""A node as a witness of others."""

import dataclasses
import shutil
import threading
from contextlib import suppress

import pytest

from experiments.founding import AGGREGATOR
from federation.envelopes import Envelope, seal
from federation.errors import RolledBackError
from federation.ledger import notes, witness
from federation.ledger.entries import EntryKind
from federation.ledger.notes import origin_of
from federation.ledger.witness import WitnessRequest
from federation.messages import Kind
from federation.riding import pack, pack_cosigned, unpack, unpack_cosigned
from policies.parties import PartyId
from tests.simulator import (
    CN,
    EU,
    KEYHOLDERS,
    OTHER_SHOP,
    SHOP,
    UK,
    US,
    killed,
)
from tests.witnessing import put_back, round_with


def shown(simulation, head, owner=CN, to=EU):
    """What a witness says to a head: its line, or None."""
    letter = simulation.letter(Kind.LEDGER_WITNESS, to, "", heads=pack({owner: head}))
    reply = simulation.read(simulation.node(to).answer(letter))
    assert reply.kind is Kind.LEDGER_COSIGNED
    said = unpack_cosigned(reply.blobs["cosigned"]) if "cosigned" in reply.blobs else {}
    return said.get(WitnessRequest.from_bytes(head).note)


def test_a_witness_cosigns_what_continues_what_it_saw_last(simulation, order, accepted):
    lines = shown(simulation, accepted)
    note = WitnessRequest.from_bytes(accepted).note
    name = origin_of(simulation.roster.federation, EU)
    key = simulation.roster.find(EU).identity
    assert witness.open_cosignature(note, lines[name], name, key) <= simulation.now()
    (entry,) = [e for e in simulation.books(EU).entries() if e.kind is EntryKind.CHECKPOINT_SEEN]
    assert entry.body["origin"] == origin_of(simulation.roster.federation, CN)
    round_with(simulation, order, cosigned=pack_cosigned({note: lines}))
    rest = simulation.cosign(CN, accepted, (US, *KEYHOLDERS[:2], SHOP, OTHER_SHOP))
    assert round_with(simulation, order, cosigned=rest).kind is Kind.TRAIN_UPDATE
    later = simulation.node(CN)._witnessing.head()["head"]
    assert shown(simulation, later) is not None
    assert shown(simulation, accepted) is None  # an older head than it has seen


def test_a_witness_does_not_cosign_without_a_proof_from_what_it_saw(simulation, order, accepted):
    assert shown(simulation, accepted) is not None
    simulation.books(CN).note(simulation.books(CN).entries()[0])
    later = WitnessRequest.from_bytes(simulation.node(CN)._witnessing.head()["head"])
    bare = dataclasses.replace(later, proofs={})
    assert shown(simulation, bare.to_bytes()) is None
    assert shown(simulation, later.to_bytes()) is not None


def test_two_heads_of_one_size_are_not_both_cosigned(simulation, tmp_path, order, accepted):
    assert shown(simulation, accepted) is not None
    books = simulation.books(CN)
    simulation.kill(CN)
    fork = shutil.copytree(simulation.folder(CN), tmp_path / "fork")
    books.note(books.entries()[0])
    one = books.request().to_bytes()
    assert shown(simulation, one) is not None
    put_back(simulation, CN, fork)
    other = simulation.books(CN)
    other.note(other.entries()[1])
    two = other.request().to_bytes()
    assert simulation.books(CN).head().size == books.head().size
    assert shown(simulation, two) is None


def test_a_head_that_comes_late_or_is_none_fails_no_letter(simulation, order, accepted):
    later = simulation.node(CN)._witnessing
    books = simulation.books(CN)
    books.note(books.entries()[0])
    newer = later.head()["head"]
    assert shown(simulation, newer) is not None
    good = WitnessRequest.from_bytes(simulation.node(UK)._witnessing.head()["head"])
    heads = {CN: accepted, UK: good.to_bytes(), US: b"garbage", PartyId("nobody"): accepted}
    letter = simulation.letter(Kind.LEDGER_WITNESS, EU, "", heads=pack(heads))
    reply = simulation.read(simulation.node(EU).answer(letter))
    assert reply.kind is Kind.LEDGER_COSIGNED
    assert set(unpack_cosigned(reply.blobs["cosigned"])) == {good.note}
    assert "forked" not in reply.blobs  # it came late, and that is all


def fork(simulation, tmp_path):
    """A ledger that was put back and continued otherwise: a prefix and two continuations of it."""
    simulation.node(CN)
    prefix = simulation.books(CN).request().to_bytes()
    copy = shutil.copytree(simulation.folder(CN), tmp_path / "prefix")
    books = simulation.books(CN)
    books.note(*[books.entries()[0]] * 3)
    one = books.request().to_bytes()
    put_back(simulation, CN, copy)
    books = simulation.books(CN)
    books.note(*[books.entries()[1]] * 7)
    return prefix, one, books.request().to_bytes()


def test_two_continuations_at_the_same_moment_are_not_both_cosigned(simulation, tmp_path):
    """Both letters look at what was seen last before either has written anything down."""
    prefix, *forks = fork(simulation, tmp_path)
    assert shown(simulation, prefix) is not None
    node, started, said = simulation.node(EU), threading.Barrier(2), {}
    real = witness.examine

    def slowly(*arguments):
        found = real(*arguments)
        with suppress(threading.BrokenBarrierError):
            started.wait(1)
        return found

    def show(head):
        letter = simulation.letter(Kind.LEDGER_WITNESS, EU, "", heads=pack({CN: head}))
        said[head] = simulation.read(node.answer(letter))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(witness, "examine", slowly)
        threads = [threading.Thread(target=show, args=(head,)) for head in forks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [reply.kind for reply in said.values()] == [Kind.LEDGER_COSIGNED] * 2
    assert sum("cosigned" in reply.blobs for reply in said.values()) == 1


def test_a_log_that_forked_is_shown_what_it_signed_and_ends(simulation, tmp_path):
    prefix, one, two = fork(simulation, tmp_path)
    assert shown(simulation, one) is not None
    letter = simulation.letter(Kind.LEDGER_WITNESS, EU, "", heads=pack({CN: two}))
    reply = simulation.read(simulation.node(EU).answer(letter))
    size = notes.read(WitnessRequest.from_bytes(one).note).checkpoint.size
    assert reply.body["missing"] == {CN: size} and not {"cosigned", "forked"} & set(reply.blobs)
    proven = simulation.books(CN).request([size]).to_bytes()
    letter = simulation.letter(Kind.LEDGER_WITNESS, EU, "", heads=pack({CN: proven}))
    reply = simulation.read(simulation.node(EU).answer(letter))
    assert unpack(reply.blobs["forked"]) == {CN: WitnessRequest.from_bytes(one).note.encode()}
    assert "cosigned" not in reply.blobs
    simulation.kill(CN)
    own = {EU: WitnessRequest.from_bytes(prefix).note.encode(), UK: b"garbage"}
    ask = simulation.letter(Kind.LEDGER_WITNESS, CN, "", forked=pack(own))
    simulation.started(CN).answer(ask)
    assert simulation.started(CN).ended is None  # it continues that one
    signed = {EU: WitnessRequest.from_bytes(one).note.encode()}
    ask = simulation.letter(Kind.LEDGER_WITNESS, CN, "", forked=pack(signed))
    assert simulation.read(simulation.started(CN).answer(ask)).kind is Kind.FAILED
    assert isinstance(simulation.started(CN).ended, RolledBackError)


def test_a_witness_that_is_not_sure_of_itself_cosigns_nothing(simulation, accepted):
    """A copy of a witness put back would cosign what it refused before."""
    simulation.kill(EU)
    letter = simulation.letter(Kind.LEDGER_WITNESS, EU, "", heads=pack({CN: accepted}))
    reply = simulation.read(simulation.started(EU).answer(letter))
    assert reply.kind is Kind.LEDGER_UNSURE and reply.body["lacks"] == "seen"
    origin = origin_of(simulation.roster.federation, CN)
    assert simulation.books(EU).last_seen(origin) is None
    assert shown(simulation, accepted) is not None


def test_sizes_that_a_log_never_had_push_out_none_that_it_had(simulation, accepted):
    node = simulation.node(CN)
    size = simulation.books(CN).head().size
    node._witnessing.show_from([2, size, size + 1, *range(2**62, 2**62 + 99)])
    assert set(WitnessRequest.from_bytes(node._witnessing.head()["head"]).proofs) >= {2}
    assert node._witnessing._wanted == (2,)
    node._witnessing.show_from([2**62])
    assert node._witnessing._wanted == (2,)


def test_a_witness_writes_down_what_it_saw_before_it_signs(simulation, accepted):
    """It is killed before it wrote anything down: then no line of it exists anywhere."""
    node = simulation.node(EU)
    simulation.crash(EU, "books", "vouch", "before")
    letter = simulation.letter(Kind.LEDGER_WITNESS, EU, "", heads=pack({CN: accepted}))
    signed = []
    real = witness.cosign

    def spy(*arguments):
        signed.append(arguments)
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(witness, "cosign", spy)
        assert killed(lambda: node.answer(letter))
    assert signed == []
    simulation.kill(EU)
    simulation.crash(EU, "books", "vouch", "after")
    assert killed(lambda: simulation.node(EU).answer(letter))
    simulation.kill(EU)
    last = simulation.books(EU).last_seen(origin_of(simulation.roster.federation, CN))
    assert last is not None and last.size > 0  # seen, and never said: the safe side


def test_a_witness_says_what_it_saw_last(simulation, accepted):
    assert shown(simulation, accepted) is not None
    simulation.kill(EU)
    body = {"about": {CN: "n0nce", UK: "other"}}
    wire = seal(Envelope(Kind.LEDGER_SEEN, AGGREGATOR, EU, "", 0, body), simulation.key(AGGREGATOR))
    reply = simulation.read(simulation.started(EU).answer(wire))
    said = unpack(reply.blobs["seen"])
    seen = witness.open_seen(said[CN], simulation.roster, "n0nce")
    assert seen.size == notes.read(WitnessRequest.from_bytes(accepted).note).checkpoint.size
    assert seen.root == simulation.books(CN).root_at(seen.size)
    assert witness.open_seen(said[UK], simulation.roster, "other").size == 0


def test_a_head_of_a_stranger_or_of_garbage_is_not_cosigned(simulation, accepted):
    for owner, wire in ((PartyId("stranger"), accepted), (CN, b"garbage"), (UK, accepted)):
        letter = simulation.letter(Kind.LEDGER_WITNESS, EU, "", heads=pack({owner: wire}))
        reply = simulation.read(simulation.node(EU).answer(letter))
        assert "cosigned" not in reply.blobs
    letter = simulation.letter(Kind.LEDGER_WITNESS, EU, "", heads=b"garbage")
    assert simulation.read(simulation.node(EU).answer(letter)).kind is Kind.FAILED
