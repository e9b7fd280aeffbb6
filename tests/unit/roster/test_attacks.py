"""The aggregator has every key of its own, and the authority that signs certificates; it tries.

It carries the roster to a running node, in letters that it signs itself. Whatever it made up is
refused with a sentence in the node's log, the node's ledger says who offered it, and the node goes
on with what it had.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace

import pytest

from experiments.founding import AGGREGATOR, certify
from experiments.ordering import sign
from federation.envelopes import Envelope
from federation.ledger.entries import Entry, EntryKind
from federation.membership import Member
from federation.messages import Kind
from federation.roster_chain import (
    Admit,
    Change,
    Rekey,
    Remove,
    change_statement,
    extended,
    found_roster,
    founding_statement,
    open_roster,
    pin_of,
)
from policies.parties import Jurisdiction, PartyId, Role
from secure_compute import canonical
from secure_compute.primitives.signature import SigningKey
from tests.rosters import key
from tests.simulator import CN, EU, UK, US, Simulation, sealed_letter

SYBILS = tuple(PartyId(f"warehouse-x{number}") for number in range(5))
OWN = PartyId("warehouse-own")
"""A node of the aggregator's own organisation, which two members let in."""


class Attack:
    """What an aggregator can put together."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.pin = simulation.home.pin
        self.wire = (simulation.folder(CN) / "roster.bin").read_bytes()
        self.keys: dict[PartyId, SigningKey] = {
            member.party: simulation.key(member.party) for member in simulation.roster.members
        }

    def signed(self, wire: bytes, change: Change, *by: PartyId) -> dict[PartyId, bytes]:
        """Genuine signatures of members over a change."""
        said = change_statement(open_roster(wire, self.pin), change)
        return {party: self.keys[party].sign(said) for party in by}

    def grown(self, change: Change, *by: PartyId) -> bytes:
        """A chain with one epoch more that is as it should be."""
        return extended(self.wire, self.pin, change, self.signed(self.wire, change, *by))

    def forged(self, change: Change, words: Mapping[PartyId, bytes]) -> bytes:
        """A chain with one epoch more, whatever is under it."""
        said = change_statement(open_roster(self.wire, self.pin), change)
        link = {
            "statement": canonical.decode(said),
            "signatures": {party: word.hex() for party, word in words.items()},
        }
        chain = canonical.decode(self.wire)
        assert isinstance(chain, list)
        return canonical.encode([*chain, link])

    def offer(self, chain: bytes) -> Envelope:
        """What the node in CN answers to it."""
        node = self.simulation.node(CN)
        return self.simulation.read(node.answer(sealed_letter(self.simulation, CN, chain)))


@pytest.fixture
def attack(simulation):
    return Attack(simulation)


@pytest.fixture
def fails(attack, caplog):
    """Nothing of what is offered is taken, and the node says why and who it was."""

    def offered(chain: bytes, said: str, reason: str = "unsigned") -> None:
        before = (attack.simulation.folder(CN) / "roster.bin").read_bytes()
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            assert attack.offer(chain).kind is Kind.FAILED
        (line,) = (r.getMessage() for r in caplog.records if r.name == "clients.rosters")
        assert line.startswith(f"a roster that {AGGREGATOR} offers is refused: ")
        assert said in line
        assert (attack.simulation.folder(CN) / "roster.bin").read_bytes() == before
        entry = of_rosters(attack.simulation)[-1]
        assert entry.kind is EntryKind.ROSTER_REFUSED
        assert entry.body == {
            "party": AGGREGATOR,
            "digest": canonical.digest_bytes(chain),
            "reason": reason,
        }

    return offered


def of_rosters(simulation: Simulation) -> list[Entry]:
    """What the node in CN wrote down of rosters."""
    kinds = {EntryKind.ROSTER_CHANGED, EntryKind.ROSTER_REFUSED}
    return [entry for entry in simulation.books(CN).entries() if entry.kind in kinds]


def entrant(party: PartyId, organisation: str) -> Member:
    identity = key(party).verify_key
    return Member(party, organisation, Role.WAREHOUSE, Jurisdiction.EU, identity)


def test_it_substitutes_a_members_key(attack, fails):
    new = key("the aggregator's own")
    change = Rekey(EU, new.verify_key)
    said = change_statement(attack.simulation.roster, change)
    own = attack.keys[AGGREGATOR].sign(said)
    fails(
        attack.forged(change, {EU: new.sign(said), AGGREGATOR: own}),
        f"0 of 2 organisations signed for a new key of {EU}",
    )
    fails(attack.forged(change, {EU: new.sign(said) + own}), f"the key that {EU} has there")


def test_it_enrols_five_sybils_with_good_certificates(attack, fails, simulation):
    certify(simulation.home.folder, SYBILS)
    assert (simulation.home.node(SYBILS[0]) / "keys" / "stream.crt").exists()
    wire = attack.wire
    for number, party in enumerate(SYBILS):
        change = Admit(entrant(party, f"Storage {number}"))
        said = change_statement(open_roster(wire, attack.pin), change)
        own = {party: key(party).sign(said), AGGREGATOR: attack.keys[AGGREGATOR].sign(said)}
        fails(
            attack.forged(change, own),
            f"0 of 2 organisations signed for admitting {party}",
        )
    order = replace(simulation.query(cohort=(CN, EU, UK)), cohort=(CN, EU, UK, *SYBILS))
    reply = simulation.ask(Kind.OFFER, CN, order.id, order=sign(simulation.home, order))
    assert "'warehouse-x0' is not on the roster" in str(reply.body)


def test_it_has_sybils_sign_for_sybils(attack, fails):
    change = Admit(entrant(SYBILS[0], "Storage"))
    said = change_statement(attack.simulation.roster, change)
    words = {party: key(party).sign(said) for party in SYBILS[:3]}
    fails(attack.forged(change, words), "'warehouse-x1', who is no member at epoch 1")


def test_it_serves_last_months_roster(attack, fails, simulation):
    late = entrant(PartyId("warehouse-br"), "Santos")
    attack.keys[late.party] = key(late.party)
    attack.offer(attack.grown(Admit(late), CN, US, late.party))
    fails(
        attack.wire,
        "the roster offered ends at epoch 1 and this party is at 2 already",
        "older",
    )
    assert of_rosters(simulation)[0].kind is EntryKind.ROSTER_CHANGED


def test_it_forks_an_epoch(attack, fails):
    one, other = (entrant(PartyId(f"warehouse-{n}"), f"Storage {n}") for n in ("br", "jp"))
    attack.keys |= {m.party: key(m.party) for m in (one, other)}
    attack.offer(attack.grown(Admit(one), CN, US, one.party))
    fails(
        attack.grown(Admit(other), CN, US, other.party),
        "the roster offered has another epoch 2 than this one, and both are signed",
        "forked",
    )


def test_it_founds_the_federation_anew(attack, fails, simulation):
    keys = {member.party: key(member.party) for member in simulation.roster.members}
    members = tuple(
        Member(m.party, m.organisation, m.role, m.jurisdiction, keys[m.party].verify_key)
        for m in simulation.roster.members
    )
    statement = founding_statement(simulation.roster.federation, members, 1)
    wire = found_roster(statement, {party: k.sign(statement) for party, k in keys.items()})
    assert pin_of(wire) != attack.pin
    fails(wire, "it is of another federation, or somebody founded it anew")


def test_it_drops_members_to_shrink_quorums(attack, fails, simulation):
    quorum = simulation.node(CN)._witnessing._quorum
    for party in (EU, UK):
        change = Remove(party)
        words = attack.signed(attack.wire, change, AGGREGATOR)
        fails(
            attack.forged(change, words),
            f"0 of 2 organisations signed for removing {party}",
        )
    for party in (EU, UK, US):
        attack.wire = simulation.suspend(party)
    attack.offer(attack.wire)
    simulation.restart(CN)
    assert simulation.node(CN)._witnessing._quorum == quorum


def test_it_has_two_members_of_one_organisation_sign(attack, fails, simulation):
    second = entrant(PartyId("warehouse-cn2"), simulation.roster.find(CN).organisation)
    attack.keys[second.party] = key(second.party)
    attack.wire = attack.grown(Admit(second), EU, US, second.party)
    attack.offer(attack.wire)
    change = Admit(entrant(SYBILS[0], "Storage"))
    attack.keys[SYBILS[0]] = key(SYBILS[0])
    words = attack.signed(attack.wire, change, CN, second.party, SYBILS[0])
    fails(
        attack.forged(change, words),
        f"1 of 2 organisations signed for admitting {SYBILS[0]}",
    )


def test_it_counts_its_own_organisation(attack, fails, simulation):
    own = entrant(OWN, simulation.roster.find(AGGREGATOR).organisation)
    attack.keys[OWN] = key(OWN)
    attack.wire = attack.grown(Admit(own), EU, US, OWN)
    attack.offer(attack.wire)
    change = Admit(entrant(SYBILS[0], "Storage"))
    attack.keys[SYBILS[0]] = key(SYBILS[0])
    words = attack.signed(attack.wire, change, CN, OWN, AGGREGATOR, SYBILS[0])
    fails(
        attack.forged(change, words),
        f"the word of {AGGREGATOR}, {OWN} does not count",
    )


def test_it_replays_signatures_of_another_federation(attack, fails):
    members = attack.simulation.roster.members
    statement = founding_statement("elsewhere", members, 1)
    words = {party: secret.sign(statement) for party, secret in attack.keys.items()}
    elsewhere = open_roster(found_roster(statement, words), pin_of(statement))
    change = Admit(entrant(SYBILS[0], "Storage"))
    said = change_statement(elsewhere, change)
    keys = attack.keys | {SYBILS[0]: key(SYBILS[0])}
    replayed = {party: keys[party].sign(said) for party in (CN, US, SYBILS[0])}
    fails(attack.forged(change, replayed), "not signed by the key that")
    foreign = canonical.encode(
        {
            "statement": canonical.decode(said),
            "signatures": {party: word.hex() for party, word in replayed.items()},
        }
    )
    fails(attack.wire[:-1] + b"," + foreign + b"]", "was signed for another place")


def test_it_sends_what_is_no_roster(attack, fails):
    fails(b"no roster", "the roster is no chain of epochs", "malformed")


def test_it_puts_an_older_roster_into_the_folder(attack, simulation):
    late = entrant(PartyId("warehouse-br"), "Santos")
    attack.keys[late.party] = key(late.party)
    attack.offer(attack.grown(Admit(late), CN, US, late.party))
    (simulation.folder(CN) / "roster.bin").write_bytes(attack.wire)
    with pytest.raises(Exception, match="the ledger beside it has epoch 2: an older copy was put"):
        simulation.restart(CN)


def test_it_floods_a_node_with_rosters(attack, simulation):
    for number in range(40):
        assert attack.offer(b"no roster %d" % number).kind is Kind.FAILED
        assert attack.offer(b"no roster %d" % number).kind is Kind.FAILED
    assert [entry.kind for entry in of_rosters(simulation)] == [EntryKind.ROSTER_REFUSED] * 16


def test_somebody_elses_letter_brings_no_roster(attack, simulation):
    letter = sealed_letter(simulation, CN, attack.wire, sender=EU)
    with pytest.raises(Exception, match="is not the aggregator"):
        simulation.node(CN).answer(letter)
